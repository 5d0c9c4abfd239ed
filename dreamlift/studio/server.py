"""The web application of the studio, and the server that runs it."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from core.errors import UserError
from dreamlift.studio.api import make_api, sentence_of
from dreamlift.studio.guard import LOOPBACK, Guard, Login
from dreamlift.studio.page.layout import mount_page
from dreamlift.studio.studio import Studio


def make_app(studio: Studio, login: Login | None = None, local: bool = True) -> ASGIApp:
    """The page and the API of a studio behind their guard.

    login: that every request needs; None for none. local: whether only this machine reaches the studio; then
    requests under other names are refused.
    """
    app = FastAPI(title="Dreamlift studio", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.include_router(make_api(studio))
    app.add_exception_handler(UserError, sentence_of)
    app.add_exception_handler(StarletteHTTPException, _http_error)
    return Guard(mount_page(app, studio), login, local)


def run_studio(folder: Path, host: str, port: int, login: Login | None) -> None:
    """Serves a studio until Ctrl-C.

    Raises UserError for a folder that is not writable, for an address that cannot be used, and where others
    could reach the studio without a password.
    """
    import uvicorn

    local = host in LOOPBACK
    if not local and login is None:
        raise UserError(f"Others can reach {host}: give --auth USER:PASSWORD with --host.")
    listener = _listen(host, port)
    studio = Studio(folder)
    shown = f"[{host}]" if ":" in host else host
    print(
        f"Dreamlift studio: http://{shown}:{listener.getsockname()[1]}  (files in {folder}; Ctrl-C ends it)",
        flush=True,
    )
    config = uvicorn.Config(
        make_app(studio, login, local), log_level="warning", timeout_graceful_shutdown=2, server_header=False
    )
    logging.getLogger("uvicorn.error").addFilter(_leave_out_ended_connections)
    try:
        uvicorn.Server(config).run([listener])
    finally:
        studio.close()


def _leave_out_ended_connections(entry: logging.LogRecord) -> bool:
    """Filter of uvicorn's log: pages and events that are open when the studio ends are no errors."""
    cancelled = entry.exc_info is not None and isinstance(entry.exc_info[1], asyncio.CancelledError)
    return not cancelled and "graceful shutdown" not in entry.getMessage()


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UserError for an address that cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"Cannot listen at {host}, port {port}: {error.strerror}; give another --port."
        ) from error
    return listener


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    """Errors of HTTP as one sentence, as those of the commands."""
    assert isinstance(error, (HTTPException, StarletteHTTPException))
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)
