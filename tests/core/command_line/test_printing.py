"""Text of users on the console: no markup, no folding."""

import io
import os
import pty
import sys
from contextlib import suppress

import pytest
from rich.console import Console
from rich.table import Table

import core.command_line.progress
from core.command_line.printing import make_console, print_table
from core.command_line.progress import ProgressLines, make_progress
from core.io.text import count_of, too_few

PROMPT = "a [b]fox[/b] [/i] :fox: [link=x] \\[ 'take[b].mp4' " + "and so on " * 40


def test_text_is_printed_letter_by_letter_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    make_console().print(PROMPT)
    make_console(stderr=True).print(PROMPT)
    assert capsys.readouterr() == (PROMPT + "\n", PROMPT + "\n")


def test_tables_in_files_keep_a_cell_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(title="[red]", show_header=False)
    table.add_row("words", PROMPT)
    print_table(make_console(), table)
    printed = capsys.readouterr().out
    assert PROMPT.strip() in printed and "[red]" in printed


def test_a_terminal_of_40_letters_wraps_cells_and_gets_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    table = Table(show_header=False)
    table.add_row("a fox " * 20)
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setenv("COLUMNS", "40")
        console = make_console()
        console.print("x" * 100)
        print_table(console, table)
    printed = b""
    with suppress(OSError), os.fdopen(ours, "rb", buffering=0) as screen:  # the end is an error
        while part := screen.read(10_000):
            printed += part
    lines = printed.decode().splitlines()
    assert lines[0] == "x" * 100
    assert len(lines) > 4 and max(map(len, lines[1:])) == 40


def test_the_name_of_a_file_in_the_progress_bar_is_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=80)
    with make_progress(console) as progress:
        progress.add_task("take[b].mp4 [/x]", total=2)
        progress.refresh()
    assert "take[b].mp4 [/x]" in terminal.getvalue()


def test_one_is_singular() -> None:
    assert [count_of(n, "frame") for n in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]
    assert count_of(2, "process", "processes") == "2 processes"
    assert [too_few(n, "clip") for n in (1, 2)] == ["1 clip is too few", "2 clips are too few"]


def test_a_log_tells_how_long_the_work_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(core.command_line.progress.time, "perf_counter", lambda: now[0])
    log = io.StringIO()
    progress = ProgressLines(Console(file=log, width=20, soft_wrap=True))
    progress.get_time = lambda: now[0]
    task = progress.add_task("a-fox-dancing-in-the-rain.mp4", total=100)
    for _ in range(6):
        now[0] += 20
        progress.advance(task, 10)
    now[0] += 40
    progress.update(task, completed=80)
    # 10 steps take 20 s, and those that are left at that rate:
    assert log.getvalue().splitlines() == [
        "a-fox-dancing-in-the-rain.mp4: 20 of 100, 3 min left",
        "a-fox-dancing-in-the-rain.mp4: 40 of 100, 120 s left",
        "a-fox-dancing-in-the-rain.mp4: 60 of 100, 80 s left",
        "a-fox-dancing-in-the-rain.mp4: 80 of 100, 40 s left",
    ]


def test_a_dumb_terminal_gets_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, lines in (("dumb", True), ("xterm", False)):
        monkeypatch.setenv("TERM", name)
        progress = make_progress(Console(file=io.StringIO(), force_terminal=True))
        assert isinstance(progress, ProgressLines) == lines
