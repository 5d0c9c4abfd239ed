"""`gen-video --context-parallel`: one clip by several processes, on CPUs, and what is refused.

Diffusers counts the accelerators of the machine before it spreads a model; without one it divides by zero.
The processes here claim two, and everything else runs as on GPUs, with gloo in place of nccl.
"""

import json
import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.errors import UserError
from video.cli import gen_video
from video.find_model import find_model
from video.options import ClipOptions
from video.pipelines.context_parallel import check_parallel
from video.record import RunRecord

CONTEXT = multiprocessing.get_context("forkserver")  # its processes start with everything imported
CONTEXT.set_forkserver_preload(["diffusers.pipelines.wan.pipeline_wan", "video.pipelines.context_parallel"])


def draw(model: Path, folder: Path, out: str, environment: dict[str, str]) -> None:
    """The command in a process whose environment is that of torchrun's, or has nothing of it."""
    torch.set_num_threads(1)
    os.environ |= environment
    if environment:
        torch.accelerator.device_count = lambda: 2
    gen_video(
        prompts=folder / "rows.jsonl", out=f"{folder / out}/", model=str(model), device="cpu", steps=2,
        frames=5, width=32, height=32, negative="rain", force=True,
        context_parallel=2 if environment else None,
    )  # fmt: skip


def test_two_processes_draw_a_clip_as_one_does(video_folder: Callable[[str], Path], tmp_path: Path) -> None:
    rows = [{"prompt": "a fox", "seed": 3}, {"prompt": "a cat", "seed": 4, "frames": 9}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "HF_HUB_OFFLINE": "1"}
    environments = [{}, *(common | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01")]
    processes = [
        CONTEXT.Process(
            target=draw, args=(video_folder("wan"), tmp_path, "two" if each else "one", each), daemon=True
        )
        for each in environments
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    for name in ("a-fox", "a-cat"):
        record = RunRecord.model_validate_json((tmp_path / "two" / f"{name}.gen-video.json").read_text())
        assert record.options.context_parallel == 2 and record.options.frames == (5 if "fox" in name else 9)
        clips = [(tmp_path / folder / f"{name}.mp4").read_bytes() for folder in ("one", "two")]
        assert clips[0] == clips[1], name
    assert not list((tmp_path / "two").glob(".*"))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ltx", "LTX cannot apply --context-parallel: diffusers cannot spread the mask of its text"),
        ("cogvideox", "CogVideoX cannot apply --context-parallel: diffusers has no plan"),
        ("modelscope", "ModelScope cannot apply --context-parallel: diffusers has no plan"),
        (None, "The bundled model cannot apply --context-parallel: one device is enough for it"),
    ],
)
def test_models_that_cannot_be_spread(
    video_folder: Callable[[str], Path], name: str | None, sentence: str
) -> None:
    options = ClipOptions(steps=2, guidance=2, frames=9, fps=8, scale=1, context_parallel=2)
    with pytest.raises(UserError, match=sentence):
        find_model(name and str(video_folder(name))).check(options)


def test_it_needs_its_processes_and_a_gpu_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ClipOptions(steps=2, guidance=2, frames=9, fps=8, scale=1, context_parallel=2)
    with pytest.raises(UserError, match="needs 2 processes, not 1: start it with torchrun"):
        check_parallel(options)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 1)
    with pytest.raises(UserError, match="needs a GPU for each process: there are 1 here, not 2"):
        check_parallel(options)
    with pytest.raises(UserError, match="--context-parallel and --offload exclude each other"):
        options.with_changes(offload="model")
