"""Runs a command: its exit code, one sentence on stderr for unusable input, and Ctrl-C or SIGTERM."""

import io
import os
import re
import select
import sys
from pathlib import Path
from typing import NoReturn, TextIO

import typer
from typer.exceptions import TyperException

from core.command_line.interruption import catch_termination, exit_code
from core.errors import UserError
from core.notice import print_notices

UNUSABLE = 2  # exit codes; those of interruptions are in `core.command_line.interruption`
CLOSED_PIPE = 141  # 128 + SIGPIPE


def run_app(app: typer.Typer) -> NoReturn:
    """Runs a typer application on `sys.argv` and exits the process.

    Exit codes: 0 for success, 2 for unusable input, with one sentence on stderr, 130 after Ctrl-C, 143 after
    SIGTERM, 141 where the reader of the output has gone. Errors of the program itself print their traceback.
    """
    name = Path(sys.argv[0]).name
    for stream in (sys.stdout, sys.stderr):  # an encoding of the terminal may lack letters of a prompt
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(app, name)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_gone():
            raise
        code = CLOSED_PIPE
    sys.exit(code)


def _run(app: typer.Typer, name: str) -> int:
    """Runs the command called `name` and returns its exit code."""
    try:
        with catch_termination():
            print_notices()
            _check_encoding(sys.argv[1:])
            command = typer.main.get_command(app)
            if f"_{name}_COMPLETE".replace("-", "_").upper() in os.environ:  # a key was pressed in a shell
                command.main(prog_name=name)
            # Not `app()`, which turns Ctrl-C into a silent exit, and on Windows expands * and ? in prompts.
            with command.make_context(name, sys.argv[1:]) as context:
                command.invoke(context)
    except typer.Exit as error:
        return error.exit_code
    except UserError as error:
        _print_sentence(name, str(error))
    except TyperException as error:
        if message := error.format_message():  # empty if typer has printed the help instead
            _print_sentence(name, message)
    except (KeyboardInterrupt, typer.Abort) as error:
        _print_sentence(name, "stopped.")
        return exit_code(error)
    except FileNotFoundError:
        if _is_somewhere():
            raise
        _print_sentence(name, "The folder that the command was started in is gone: start it in another one.")
    else:
        return 0
    return UNUSABLE


def _is_somewhere() -> bool:
    """Whether the current folder exists; relative paths have no meaning without."""
    try:
        return os.path.isdir(os.getcwd())
    except FileNotFoundError:
        return False


def _print_sentence(name: str, sentence: str) -> None:
    """Prints a sentence on one line of stderr, whatever line breaks a library has put into it."""
    line = re.sub(r"\s*\n\s*", " ", sentence.strip())
    print(f"{name}: {line}", file=sys.stderr)


def _check_encoding(arguments: list[str]) -> None:
    """Raises UserError for an argument with bytes that are no text, which Python has as lone surrogates."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"The argument {argument!a} is not valid UTF-8 text: type it again, or rename the file."
            ) from error


def _reader_has_gone() -> bool:
    """Whether the pipe behind stdout or stderr is closed; if so, the exit will not try to write there."""
    closed = [stream for stream in (sys.stdout, sys.stderr) if _is_closed(stream)]
    for stream in closed:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
    return bool(closed)


def _is_closed(stream: TextIO) -> bool:
    """Whether nobody reads the pipe behind a stream any more."""
    try:
        stream.flush()
    except BrokenPipeError:
        return True
    if not hasattr(select, "poll"):  # Windows, where text is left to be flushed
        return False
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
