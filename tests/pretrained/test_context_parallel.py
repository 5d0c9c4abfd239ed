"""`gen-video --context-parallel`: one clip by several processes, on CPUs, and what is refused.

Diffusers counts the accelerators of the machine before it spreads a model; without one it divides by zero.
The processes here claim two, and everything else runs as on GPUs, with gloo in place of nccl.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import UserError
from video.find_model import find_model
from video.options import ClipOptions
from video.pipelines.context_parallel import check_parallel
from video.record import RunRecord

ROOT = Path(__file__).parents[2]
CODE = """
import sys, torch
if {claimed}:
    torch.accelerator.device_count = lambda: {claimed}
sys.argv[0] = "gen-video"
from video.cli import main
main()
"""


def start(folder: Path, claimed: int, arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE.format(claimed=claimed), *arguments],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_draw_a_clip_as_one_does(video_folder: Callable[[str], Path], tmp_path: Path) -> None:

    rows = [{"prompt": "a fox", "seed": 3}, {"prompt": "a cat", "seed": 4, "frames": 9}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = "--steps 2 --frames 5 --width 32 --height 32 --device cpu --negative rain --prompts rows.jsonl"
    arguments = ["--model", str(video_folder("wan")), *options.split()]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    ranks = [{"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"} for rank in "01"]
    together = [
        start(
            tmp_path, 2, [*arguments, "--context-parallel", "2", "--out", "two/"],
            MASTER_ADDR="127.0.0.1", MASTER_PORT=port, **rank,
        )
        for rank in ranks
    ]  # fmt: skip
    alone = start(tmp_path, 0, [*arguments, "--out", "one/"])
    try:
        for process in (*together, alone):
            _, errors = process.communicate(timeout=200)
            assert process.returncode == 0, errors
    finally:
        for process in (*together, alone):
            process.kill()
    for name in ("a-fox", "a-cat"):
        record = RunRecord.model_validate_json((tmp_path / "two" / f"{name}.json").read_text())
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
