"""Exit codes and the one sentence of a command, whatever ends it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from core.command_line.interruption import Interruption, Terminated, catch_interrupts, exit_code
from core.command_line.run import CLOSED_PIPE, UNUSABLE, run_app
from core.errors import UserError

Result = tuple[int, str, str]
Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, stdout and stderr of a command `draw` that does the work."""

    def run(work: Callable[[str], None], argument: str = "a fox") -> Result:
        app = typer.Typer(add_completion=False)
        app.command()(work)
        monkeypatch.setattr(sys, "argv", ["/usr/bin/draw", argument])
        with pytest.raises(SystemExit) as stop:
            run_app(app)
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capsys.readouterr()

    return run


def test_a_command_that_succeeds_exits_with_0(run: Run) -> None:
    def work(prompt: str) -> None:
        print(prompt)

    assert run(work, "[/b] :fox: *") == (0, "[/b] :fox: *\n", "")


def test_a_folder_that_vanishes_is_one_sentence_and_a_missing_file_of_ours_is_not(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(prompt: str) -> None:
        here.rmdir()
        Path("file").resolve()

    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    code, _, error = run(work)
    assert code == 2 and error.count("\n") == 1 and "started in is gone" in error
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        run(lambda prompt: Path("missing").read_text())


def test_a_sentence_of_several_lines_is_printed_on_one(run: Run) -> None:
    def work(prompt: str) -> None:
        raise UserError("ffmpeg failed:\n  [b] no space\nis left.")

    assert run(work) == (2, "", "draw: ffmpeg failed: [b] no space is left.\n")


def test_unknown_options_are_one_sentence(run: Run) -> None:
    def work(prompt: str) -> None:
        """Never called."""

    code, out, error = run(work, "--[red]")
    assert code == 2 and not out and "--[red]" in error and error.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_work(run: Run, number: signal.Signals, code: int) -> None:
    left: list[str] = []

    def work(prompt: str) -> None:
        try:
            signal.raise_signal(number)
        finally:
            left.append(prompt)

    before = signal.getsignal(signal.SIGTERM)
    assert run(work) == (code, "", "draw: stopped.\n") and left == ["a fox"]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_step_ends_before_the_work_stops(run: Run, number: signal.Signals, code: int) -> None:
    def work(prompt: str) -> None:
        with catch_interrupts() as interrupted:
            assert not interrupted
            signal.raise_signal(number)
            print("saved")
        if interrupted:
            raise interrupted.error()

    assert run(work) == (code, "saved\n", "draw: stopped.\n")


def test_a_second_signal_stops_at_once() -> None:
    noted: list[Interruption] = []
    with pytest.raises(KeyboardInterrupt), catch_interrupts() as interrupted:
        noted.append(interrupted)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal was ignored")
    assert noted[0].number == signal.SIGTERM


def test_an_argument_that_is_no_text_is_refused(run: Run) -> None:
    def work(prompt: str) -> None:
        pytest.fail("the argument was accepted")

    code, out, error = run(work, os.fsdecode(b"caf\xe9.png"))
    assert code == 2 and not out and error.count("\n") == 1
    assert error.startswith(r"draw: The argument 'caf\udce9.png' is not valid UTF-8 text")


def test_a_terminal_that_lacks_a_letter_gets_its_code(tmp_path: Path) -> None:
    code = (
        "import sys, typer; from core.command_line.run import run_app; sys.argv = ['draw']\n"
        "app = typer.Typer(); app.command()(lambda: print('caf\\u00e9 \\u2603'))\n"
        "run_app(app)"
    )
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"caf\xe9 \\u2603\n", b"")


def test_a_reader_that_has_gone_is_no_error() -> None:
    code = (
        "import sys, typer; from core.command_line.run import run_app; sys.argv = ['draw']\n"
        "app = typer.Typer(); app.command()(lambda: print('line'))\n"
        "run_app(app)"
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_table_of_exit_codes_has_each_of_them() -> None:
    page = (Path(__file__).parents[3] / "docs/terminal.md").read_text(encoding="utf-8")
    rows = [line for line in page.partition("## Exit codes")[2].splitlines() if line.startswith("| ")][1:]
    listed = sorted(int(code) for row in rows for code in row.split("|")[1].split(","))
    interrupted = [exit_code(error) for error in (KeyboardInterrupt(), Terminated())]
    assert listed == [0, 1, UNUSABLE, interrupted[0], CLOSED_PIPE, interrupted[1]]
