"""AnimateDiff at the size of Stable Diffusion 1.5: ours and diffusers' AnimateDiffPipeline, in one run.

    python -m benchmarks.animatediff_real [--tiny] [--folder DIR] [--out animatediff.json]

Both use the same random weights in `--folder` (3 GB, written if missing; a temporary folder unless given).
Every case runs in its own process, from the same noise. It reports the times of loading and sampling and the
peak memory of each. The clips are compared.

On the CPU: one step of 2 frames of 512x512 in float32, with guidance. With CUDA: 16 frames, 25 steps,
bfloat16; diffusers eager and compiled, ours `exact` (eager) and `fast` (compiled), each after one uncounted
run. Without CUDA a message says that these cases are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.report import peak_memory, write_json

PROMPT = "a panda on a swing"
GUIDANCE = 7.5
CPU_CASES = ("diffusers", "ours")
CUDA_CASES = ("diffusers", "diffusers compiled", "ours exact", "ours fast")


class Size(NamedTuple):
    """Size of the clip and number of sampling steps."""

    frames: int
    side: int  # pixels
    steps: int


def size_of(tiny: bool, cuda: bool) -> Size:
    """Clip size of the benchmark on this device; 64x64 pixels for the tiny network."""
    side = 64 if tiny else 512
    return Size(16, side, 25) if cuda else Size(2, side, 1)


class Clock:
    """Callback of every sampling step; `seconds` is the time from construction to the last step."""

    def __init__(self) -> None:
        """Starts the clock."""
        self.start = time.perf_counter()
        self.seconds = 0.0

    def __call__(self, *_: Any) -> Any:
        """Records the time of this step, after the device has finished it."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.start
        return {}  # diffusers expects a dictionary of changed tensors


def noise(size: Size) -> Tensor:
    """Initial noise (1,4,F,H/8,W/8), the same for both libraries."""
    from core.samplers import noise_like

    return noise_like((1, 4, size.frames, size.side // 8, size.side // 8), [torch.Generator().manual_seed(0)])


class Ours:
    """Our AnimateDiff model."""

    def __init__(self, folder: Path, device: str, dtype: torch.dtype, compiled: bool) -> None:
        """Loads the checkpoints `sd` and `motion` of the folder."""
        from video.animatediff.motion_model import load_motion_model

        self.model = load_motion_model(folder / "sd", folder / "motion", device=device, dtype=dtype)
        if compiled:
            self.model.inflated.compile(mode="max-autotune-no-cudagraphs")

    def __call__(self, size: Size) -> tuple[Tensor, float]:
        """The clip (1,3,F,H,W) in [-1, 1], and the seconds of sampling, without decoding."""
        clock = Clock()
        clip = self.model.sample(
            [PROMPT],
            frames=size.frames,
            steps=size.steps,
            guidance=GUIDANCE,
            seeds=[0],
            size=(size.side, size.side),
            on_step=clock,
        )
        return clip, clock.seconds


class Theirs:
    """diffusers' AnimateDiffPipeline with a DDIM scheduler."""

    def __init__(self, folder: Path, device: str, dtype: torch.dtype, compiled: bool) -> None:
        """Loads the checkpoints `sd` and `motion` of the folder."""
        diffusers: Any = import_module("diffusers")  # imports its names lazily; type checkers cannot see them
        schedule = {"beta_schedule": "linear", "clip_sample": False, "steps_offset": 1}
        self.pipeline: Any = diffusers.AnimateDiffPipeline.from_pretrained(
            folder / "sd",
            motion_adapter=diffusers.MotionAdapter.from_pretrained(folder / "motion", dtype=dtype),
            scheduler=diffusers.DDIMScheduler.from_pretrained(
                folder / "sd", subfolder="scheduler", **schedule
            ),
            dtype=dtype,
        ).to(device)
        self.pipeline.set_progress_bar_config(disable=True)
        if compiled:
            self.pipeline.unet.compile(mode="max-autotune-no-cudagraphs")

    def __call__(self, size: Size) -> tuple[Tensor, float]:
        """The clip (1,3,F,H,W) in [-1, 1], and the seconds of sampling, without decoding."""
        clock = Clock()
        clip = self.pipeline(
            PROMPT,
            num_frames=size.frames,
            num_inference_steps=size.steps,
            guidance_scale=GUIDANCE,
            height=size.side,
            width=size.side,
            latents=noise(size).to(self.pipeline.unet.dtype),
            output_type="pt",
            callback_on_step_end=clock,
        ).frames
        return 2 * clip.transpose(1, 2) - 1, clock.seconds


def run_case(case: str, folder: Path, cuda: bool, tiny: bool) -> dict[str, float]:
    """Loads a model, warms up and samples; returns seconds and GB and writes the clip into the folder."""
    name, _, mode = case.partition(" ")
    device, dtype = ("cuda", torch.bfloat16) if cuda else ("cpu", torch.float32)
    size = size_of(tiny, cuda)
    start = time.perf_counter()
    sample = (Ours if name == "ours" else Theirs)(folder, device, dtype, mode in ("fast", "compiled"))
    figures = {"load": time.perf_counter() - start, "load_gb": peak_memory(torch.device(device))}
    sample(size._replace(steps=2) if cuda else Size(1, 64, 1))
    start = time.perf_counter()
    clip, sampled = sample(size)
    total = time.perf_counter() - start
    save_file({"clip": clip.float().cpu().contiguous()}, folder / f"{case}.safetensors")
    return {
        **figures,
        "sample": sampled,
        "decode": total - sampled,
        "peak_gb": peak_memory(torch.device(device)),
    }


def compare(folder: Path, tiny: bool) -> dict[str, dict[str, float]]:
    """Figures of all cases, each in its own process.

    "difference" is the largest absolute difference from the first case's clip, relative to its largest value.
    """
    from benchmarks import checkpoints

    if not (folder / "motion").is_dir():
        checkpoints.stable_diffusion(folder / "sd", tiny)
        checkpoints.motion_adapter(folder / "motion", tiny)
    cuda = torch.cuda.is_available()
    cases = CUDA_CASES if cuda else CPU_CASES
    figures = {}
    for case in cases:
        command = [sys.executable, "-m", __spec__.name if __spec__ else "benchmarks.animatediff_real"]
        command += ["--case", case, "--folder", str(folder)] + ["--tiny"] * tiny
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        figures[case] = json.loads(done.stdout.splitlines()[-1])
        clip, first = (load_file(folder / f"{name}.safetensors")["clip"] for name in (case, cases[0]))
        figures[case]["difference"] = ((clip - first).abs().max() / first.abs().max()).item()
    return figures


def main() -> None:
    """Runs all cases, or with --case one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tiny", action="store_true", help="a small network, to try the script")
    parser.add_argument("--folder", type=Path, help="folder of the random checkpoints, written if missing")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cuda = torch.cuda.is_available()
    if arguments.case:
        print(json.dumps(run_case(arguments.case, arguments.folder, cuda, arguments.tiny)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        figures = compare(folder, arguments.tiny)
    size = size_of(arguments.tiny, cuda)
    console = Console()
    console.print(table(figures, size))
    if not cuda:
        console.print("No CUDA device: the cases of 16 frames in 25 steps (exact, fast) are left out.")
    if arguments.out:
        write_json(arguments.out, {"tiny": arguments.tiny, **size._asdict(), "cases": figures})


def table(figures: dict[str, dict[str, float]], size: Size) -> Table:
    """The figures as a table, one row per case."""
    title = f"{size.frames} frames of {size.side}x{size.side}, {size.steps} step(s)"
    columns = ("", "load, s", "GB loaded", "sample, s", "decode, s", "peak GB", "difference")
    rows = Table(*columns, title=title)
    for case, row in figures.items():
        numbers = [f"{row[key]:.2f}" for key in ("load", "load_gb", "sample", "decode", "peak_gb")]
        rows.add_row(case, *numbers, f"{row['difference']:.1e}")
    return rows


if __name__ == "__main__":
    main()
