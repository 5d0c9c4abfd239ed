"""Folders that a command writes: one process at a time, and no model of others is replaced."""

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import UserError
from core.io.files.locks import FOLDER_LOCK, lock_folder
from core.io.files.record import sha256_of
from dreamlift.commands.folders import writes


@writes("run", model="out")
def train(run: Path, out: Path, steps: int = 3) -> int:
    assert (run / FOLDER_LOCK).exists() and (out / FOLDER_LOCK).exists()
    return steps


@writes(model="out")
def export(out: Path, overwrite: bool = False) -> None:
    (out / "model.safetensors").write_text("weights")
    (out / "config.json").write_text(json.dumps({"sha256": sha256_of(out / "model.safetensors")}))


def test_a_command_locks_its_folders_and_leaves_nothing_in_them(tmp_path: Path) -> None:
    assert train(tmp_path / "run", out=tmp_path / "out", steps=5) == 5
    assert train(tmp_path / "same", tmp_path / "same") == 3
    assert not list(tmp_path.iterdir())
    with lock_folder(tmp_path / "run"), pytest.raises(UserError, match="Another process is writing into"):
        train(tmp_path / "run", tmp_path / "out")


def test_the_other_processes_of_a_run_do_not_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with lock_folder(tmp_path / "run"), lock_folder(tmp_path / "out"):
        train(tmp_path / "run", tmp_path / "out")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "pytorch_lora_weights.safetensors"])
def test_a_model_of_others_is_not_replaced(tmp_path: Path, name: str) -> None:
    out = tmp_path / "model"
    export(out)
    export(out)
    (out / name).write_text("{}")
    with pytest.raises(UserError, match=r"exists, and is not of a model that this project.*--overwrite"):
        export(out)
    assert (out / name).read_text() == "{}"
    export(out, overwrite=True)


def hold(folder: Path, started: Callable[[], None]) -> None:
    with lock_folder(folder):
        (folder / ".model.0123abcd.draft.safetensors").touch()
        started()
        multiprocessing.Event().wait()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=hold, args=(tmp_path / "run", started.set))
    process.start()
    assert started.wait(60)
    with pytest.raises(UserError, match="Another process"):
        train(tmp_path / "run", tmp_path / "out")
    process.kill()
    process.join()
    assert train(tmp_path / "run", tmp_path / "out") == 3
    assert not list((tmp_path / "run").iterdir())
