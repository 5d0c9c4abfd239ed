"""Arguments of commands: paths are expanded, and values that no command can use are refused by their flag."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from typer.testing import CliRunner

from core.command_line.arguments import CommandLine
from core.errors import UserError
from core.io.values import check_processes, check_range, check_seed, check_text, check_value

Folder = Annotated[Path | None, typer.Option(help="A folder.")]
app = CommandLine(add_completion=False)
called: list[dict[str, object]] = []


@app.command()
def draw(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    first_stage: Folder = None,
    between: Annotated[tuple[Path, Path] | None, typer.Option(help="Two pictures.")] = None,
    span: Annotated[tuple[float, float] | None, typer.Option(help="Two numbers.")] = None,
    lora: Annotated[list[str] | None, typer.Option(help="Weights.")] = None,
    rate: Annotated[float, typer.Option("--fps", help="A number.")] = 8.0,
    seed: Annotated[int, typer.Option(help="A number.", min=0)] = 0,
    sampler: Annotated[Literal["ddim", "euler"], typer.Option(help="A name.")] = "ddim",
    name: Annotated[str | None, typer.Option(help="A name.")] = None,
    negative: Annotated[str, typer.Option(help="A prompt.")] = "",
    large: Annotated[bool, typer.Option("--large/--small", help="A size.")] = False,
) -> None:
    """Draws."""
    called.append(dict(locals()))


@app.command()
def other(context: typer.Context, out: Annotated[Path, typer.Option(help="A file.")] = Path("a.png")) -> None:
    """The command of another name."""
    called.append({"out": out, "source": str(context.get_parameter_source("out"))})


def run(*arguments: str) -> dict[str, object]:
    """What a command gets."""
    called.clear()
    result = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return called[0]


def test_arguments_arrive_as_they_are_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    got = run("draw", "a fox\n[/b]", "--first-stage", "~/a", "--between", "~/b", "c", "--span", "0", "1.5")
    assert got == {
        "prompt": "a fox\n[/b]", "first_stage": tmp_path / "a", "between": (tmp_path / "b", Path("c")),
        "span": (0.0, 1.5), "lora": None, "rate": 8.0, "seed": 0, "sampler": "ddim", "large": False,
        "name": None, "negative": "",
    }  # fmt: skip
    got = run(
        "draw",
        "x",
        "--lora",
        "~a",
        "--lora",
        "b@2",
        "--fps",
        "1e9",
        "--sampler",
        "euler",
        "--large",
        "--negative",
        "",
    )
    assert (got["lora"], got["rate"], got["sampler"], got["large"]) == (["~a", "b@2"], 1e9, "euler", True)
    assert run("other")["out"] == Path("a.png")
    assert run("other", "--out", "~/b.png") == {
        "out": tmp_path / "b.png",
        "source": "ParameterSource.COMMANDLINE",
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--first-stage", ""], "--first-stage is empty: give a path."),
        (["--name", ""], "--name is empty: give a value, or leave it out."),
        (["--first-stage", "/dev/zero"], "--first-stage cannot be /dev/zero, which is a device"),
        (["--between", "a", "x" * 256], "--between cannot be xxx"),
        (["--span", "0", "nan"], "--span cannot be nan: give a finite number."),
        (["--fps", "-inf"], "--fps cannot be -inf: give a finite number."),
        (["--fps", "1e999"], "--fps cannot be inf: give a finite number."),
        (["--seed", str(2**63)], "--seed has a number of 64 bits: give one below 2^63."),
        (["--lora", "a", "--lora", "\ud800"], "--lora has the character U+D800, which is no text"),
    ],
)
def test_what_no_command_can_use_is_refused_by_its_flag(arguments: list[str], sentence: str) -> None:
    called.clear()
    result = CliRunner().invoke(app, ["draw", "x", *arguments])
    assert isinstance(result.exception, UserError) and sentence in str(result.exception)
    assert not called


def test_the_help_names_paths() -> None:
    shown = CliRunner().invoke(app, ["draw", "--help"], env={"COLUMNS": "120"}).output.lower()
    assert "<path>" in shown and "a folder." in shown


def test_values_within_files_are_checked_by_their_keys() -> None:
    check_value({"a": [1, 2.5, None, True, "x\ty\n", 2**63 - 1], 3: {}}, "file")
    for value, sentence in (
        ({"a": [1, float("nan")]}, "file: a cannot be nan"),
        ({"a": {"b": -(2**63)}}, "file: a: b has a number of 64 bits"),
        ({"\x07": 1}, r"file has the character U\+0007"),
        (["x" * 10_001], "file has 10001 characters: give at most 10000"),
    ):
        with pytest.raises(UserError, match=sentence):
            check_value(value, "file")


def test_limits_are_in_the_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    for allowed in (1, 8):
        check_processes(allowed)
    for refused in (0, 9, 10**6):
        with pytest.raises(UserError, match=f"cannot be {refused}: this machine has 2 cores, give 1 to 8"):
            check_processes(refused)
    check_range(0.5, 0, 1, "--eta")
    for number in (-0.5, 1000.5, float("nan")):
        with pytest.raises(UserError, match=f"--eta cannot be {number:g}: give a number from 0 to 1,000."):
            check_range(number, 0, 1000, "--eta")
    for seed in (-1, 2**63 - 1):
        with pytest.raises(UserError, match=f"--seed cannot be {seed}: a seed is a whole number from 0"):
            check_seed(seed)
    check_seed(2**63 - 2**31 - 1)
    check_text("a fox\twaving, ü 狐 🦊\n", "the prompt")
