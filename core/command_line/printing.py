"""Printing on a terminal or into a file: text of users is never markup, and lines are not folded."""

import sys

from rich.console import Console
from rich.table import Table

UNLIMITED = 10_000  # letters in a line of a file or a pipe


def make_console(stderr: bool = False) -> Console:
    """Console on stdout or stderr.

    "[b]" and ":fox:" in a prompt or a file name are printed as they are. A line is as long as its text, so
    that its end can be selected or searched; a terminal continues it on the next row.
    """
    file = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=True,
        width=None if file.isatty() else UNLIMITED,
    )


def print_table(console: Console, table: Table) -> None:
    """Prints a table; on a terminal its cells are wrapped to the width."""
    console.print(table, soft_wrap=False)
