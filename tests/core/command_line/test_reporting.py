"""Results and progress of a command: in words, as paths, as JSON; on a terminal and in a log."""

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

import core.command_line.progress
from core.command_line.alone import check_alone
from core.command_line.arguments import CommandLine
from core.command_line.progress import make_progress
from core.command_line.reporting import report_made, say, status_console
from core.errors import UserError
from core.notice import Notice, notice

app = CommandLine(add_completion=False)
FILES = [Path("take[b] ü.mp4"), Path("take[b] ü.sheet.png")]


@app.command(makes_files=True)
def draw(
    prompt: Annotated[str, typer.Argument()] = "a fox",
    replay: Annotated[str | None, typer.Option()] = None,
    context: typer.Context = None,  # pyright: ignore
) -> None:
    """Draws."""
    if replay:
        check_alone(context, "replay", ())
    say(f"It is {prompt}.")
    notice("The prompt was cut.")
    with make_progress(status_console()) as progress:
        task = progress.add_task("take[b]", total=4)
        progress.advance(task, 2)
        report_made(FILES, "2 frames", {"seed": 3}, status_console())


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, str]]:
    """What `draw` prints on stdout and stderr, where each step of the work is slow."""
    monkeypatch.setattr(core.command_line.progress, "LINE_EVERY", 0.0)

    def run(*arguments: str, **environment: str) -> tuple[str, str]:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            result = CliRunner().invoke(app, [*arguments], env=environment, catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout, result.stderr

    return run


def test_words_are_on_stderr_with_lines_of_progress(run: Callable[..., tuple[str, str]]) -> None:
    with pytest.warns(Notice):
        out, err = run()
    assert out == ""
    assert err.splitlines() == ["It is a fox.", "take[b]: 2 of 4", "take[b] ü.mp4: 2 frames"]


def test_quiet_prints_the_path_alone(run: Callable[..., tuple[str, str]]) -> None:
    assert run("--quiet") == ("take[b] ü.mp4\n", "")
    assert run("--quiet", "--replay", "x")[0] == "take[b] ü.mp4\n"  # which takes no other options


def test_json_is_one_object_on_stdout_and_words_stay_on_stderr(run: Callable[..., tuple[str, str]]) -> None:
    with pytest.warns(Notice):
        out, err = run("--json")
    (line,) = out.splitlines()
    assert json.loads(line) == {"file": str(FILES[0]), "seed": 3, "files": [str(file) for file in FILES]}
    assert err.splitlines() == ["It is a fox.", "take[b]: 2 of 4"]
    with pytest.warns(Notice):
        run()  # the next command reports in words again
    with pytest.raises(UserError, match="--quiet and --json exclude each other"):
        run("--quiet", "--json")


@pytest.mark.parametrize(
    "environment", [{"COLUMNS": "20"}, {"TERM": "dumb"}, {"NO_COLOR": "1"}, {"FORCE_COLOR": ""}]
)
def test_a_log_has_whole_lines_in_plain_text(
    run: Callable[..., tuple[str, str]], environment: dict[str, str]
) -> None:
    prompt = "a fox " * 40
    with pytest.warns(Notice):
        out, err = run(prompt.strip(), **environment)
    assert err.splitlines()[0] == f"It is {prompt.strip()}."
    assert not re.search(r"[\r\x1b\x08]", out + err)
