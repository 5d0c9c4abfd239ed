"""Exit of the commands: one sentence on stderr for unusable input, and the exit code."""

import sys
from pathlib import Path
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from core.errors import UserError


def run_app(app: typer.Typer) -> NoReturn:
    """Runs a typer application on `sys.argv` and exits the process.

    Exit codes: 0 for success, 2 for unusable input, with one sentence on stderr, 130 after Ctrl-C. Errors of
    the program itself print their traceback.
    """
    name = Path(sys.argv[0]).name
    try:
        code = app(standalone_mode=False)  # returns the code of typer.Exit, or the command's return value
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        code = 2
    except TyperException as error:
        if message := error.format_message():  # empty if typer has printed the help instead
            print(f"{name}: {message}", file=sys.stderr)
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        print(f"{name}: stopped.", file=sys.stderr)
        code = 130
    sys.exit(code if isinstance(code, int) else 0)
