"""How the commands end: one sentence on stderr for input that cannot be used, and the exit code."""

import sys
from pathlib import Path
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from core.errors import UserError


def run_app(app: typer.Typer) -> NoReturn:
    """Runs a typer application on `sys.argv` and exits the process.

    0: done. 2: the input cannot be used; its one sentence is on stderr. 130: stopped with Ctrl-C.
    Errors of the program itself leave their traceback.
    """
    name = Path(sys.argv[0]).name
    try:
        code = app(standalone_mode=False)  # returns the code of typer.Exit, or what the command returned
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        code = 2
    except TyperException as error:
        if message := error.format_message():  # empty where typer has printed the help instead
            print(f"{name}: {message}", file=sys.stderr)
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        print(f"{name}: stopped.", file=sys.stderr)
        code = 130
    sys.exit(code if isinstance(code, int) else 0)
