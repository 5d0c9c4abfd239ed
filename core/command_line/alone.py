"""Options that take the place of most others."""

from collections.abc import Collection

import typer

from core.command_line.arguments import REPORTS
from core.errors import UserError


def check_alone(context: typer.Context | None, option: str, others: Collection[str]) -> None:
    """Raises UserError for a parameter given with an option that stands for all but `others`.

    context: of the command line; None where a program calls the command's function, which is not checked.
    """
    for name in context.params if context else ():
        source = context.get_parameter_source(name) if context else None
        given = source is not None and source.name == "COMMANDLINE"
        if given and name not in (option, *others, *REPORTS):
            flag = "PROMPT" if name == "prompt" else f"--{name.replace('_', '-')}"
            raise UserError(f"--{option} takes everything from the record: leave out {flag}.")
