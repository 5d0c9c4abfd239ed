"""`dreamlift studio`: a page in the browser to make clips and objects."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from core.errors import UserError


def studio(
    out: Annotated[
        Path, typer.Option(help="Folder of the clips and objects; created if it is missing.")
    ] = Path("studio"),
    port: Annotated[int, typer.Option(help="Port; 0 takes any that is free.", min=0, max=65535)] = 7860,
    host: Annotated[
        str, typer.Option(help="Address to listen at. Other than this machine's own, it needs --auth.")
    ] = "127.0.0.1",
    auth: Annotated[
        str | None, typer.Option(help="USER:PASSWORD that the page and the API then ask for.")
    ] = None,
) -> None:
    """Opens a page to make clips and objects with, and its HTTP API, on this machine."""
    if importlib.util.find_spec("gradio") is None:
        raise UserError('The studio needs Gradio: install it with pip install "dreamlift[studio]".')
    user, colon, password = (auth or "").partition(":")
    if auth is not None and not (user and colon and password):
        raise UserError("--auth takes a name and a password with a colon between them, as in ada:lovelace.")

    from dreamlift.studio.guard import Login
    from dreamlift.studio.server import run_studio

    run_studio(out, host, port, Login(user, password) if auth else None)
