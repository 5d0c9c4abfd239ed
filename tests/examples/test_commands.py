"""The commands of the examples refuse bad input in one sentence, before any work."""

import importlib
import sys

import pytest

MODULES = {
    "offline_rl.run": ["--task", "maze", "--out", "scores.json"],
    "planning.train": ["--maze", "u", "--run", "run"],
    "planning.evaluate": ["model"],
    "planning.drawing": ["model", "--out", "clip.gif"],
    "stacking.train": ["--run", "run"],
    "stacking.evaluate": ["model"],
    "stacking.drawing": ["model", "--out", "clip.gif"],
}
WRITING = ["offline_rl.run", "planning.evaluate", "planning.drawing", "stacking.evaluate", "stacking.drawing"]


@pytest.fixture
def refusal(tmp_path, monkeypatch, capsys):
    """The last line that a refused command writes to standard error."""

    def call(module: str, *more: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["example", *MODULES[module], *more])
        with pytest.raises(SystemExit) as stop:
            importlib.import_module(f"examples.{module}").main()
        assert stop.value.code == 2 and not list(tmp_path.iterdir())
        return capsys.readouterr().err.splitlines()[-1]

    return call


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("value", ["0", "many"])
def test_whole_numbers_have_a_lower_limit(refusal, module, value):
    line = refusal(module, "--steps", value)
    assert line.endswith(f"argument --steps: {value!r} is not a whole number of at least 1")


def test_seeds_are_not_negative(refusal):
    assert "'-1' is not a whole number of at least 0" in refusal("planning.train", "--seed", "-1")


@pytest.mark.parametrize("module", WRITING)
def test_files_are_refused_before_the_work(refusal, module):
    assert refusal(module, "--out", "/dev/null/file.gif").startswith("Cannot write into the folder /dev/null")


@pytest.mark.parametrize("module", ["planning.evaluate", "stacking.drawing"])
def test_a_missing_model_is_reported(refusal, module):
    assert refusal(module).startswith("There is no model in model")


def test_an_unknown_task_is_refused_with_those_that_there_are(refusal):
    pytest.importorskip("gymnasium")
    assert "Unknown task 'chess': expected maze or one of hopper" in refusal(
        "offline_rl.run", "--task", "chess"
    )
