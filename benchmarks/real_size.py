"""Stable Diffusion 1.5 at full size with random weights: memory and time per step, ours and diffusers'.

    python -m benchmarks.real_size [--steps N] [--device auto] [--out real_size.json] [--tiny]

The checkpoint (2.1 GB) is written into a temporary folder, or into --folder for later runs. The cases run one
after another, each in its own process, so that their memory peaks stay separate. A case loads the checkpoint,
takes one uncounted step and then N counted ones. N is 1 on a CPU, in float32, and 200 with CUDA, in bfloat16.
On a CPU the peak is that of the process, including loading and libraries; with CUDA it is that of PyTorch's
allocations.

    sample    one DDIM step of an image of 512 x 512, with guidance; theirs is StableDiffusionPipeline, which
              encodes the prompt in every call
    distil    score distillation (SDS) of an image of 512 x 512, with its gradient; theirs combines the
              pipeline's parts as threestudio does
    dream3d   one iteration of `dream3d` with the preset for checkpoints, one view: rendering, Perp-Neg and
              backpropagation into the field

`result` is a scalar of the output; it shows that ours and diffusers compute the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.report import peak_memory, write_json
from core.io.machine import describe_device, pick_device

PROMPT = "a fox holding a controller"
GUIDANCE, T, SEED = 100.0, 500, 0

Step = Callable[[], float]
"""Runs the measured computation once and returns a scalar of its output."""


class Place(NamedTuple):
    """Checkpoint folder, device and dtype of a case."""

    folder: Path
    device: torch.device
    dtype: torch.dtype

    def noise(self, *shape: int) -> Tensor:
        """Standard normal noise of a fixed seed."""
        return torch.randn(shape, generator=torch.Generator().manual_seed(SEED)).to(self.device)


class Measured(NamedTuple):
    """Figures of one case."""

    seconds: float  # per step, median
    total: float  # s, of all counted steps
    steps: int
    peak: float  # GB
    result: float


def pipeline_of(place: Place) -> Any:
    """diffusers' pipeline with frozen weights and without progress bars."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(place.folder, torch_dtype=place.dtype).to(place.device)
    pipeline.set_progress_bar_config(disable=True)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.requires_grad_(False)
    return pipeline


def ours_of(place: Place) -> Any:
    """Our image model of the checkpoint."""
    from core.pretrained.image_model import load_image_model

    return load_image_model(place.folder, device=place.device, dtype=place.dtype)


def ours_sample(place: Place) -> Step:
    """One DDIM step with guidance by our model."""
    from core.sampling_options import SamplingOptions

    model, options = ours_of(place), SamplingOptions(steps=1, guidance_scale=7.5)
    condition, negative, noise = model.encode([PROMPT]), model.encode([""]), place.noise(1, *model.shape)
    sample = model.sampling.sample
    return lambda: sample(model.denoiser, noise, condition, negative, options, []).std().item()


def diffusers_sample(place: Place) -> Step:
    """One DDIM step with guidance by diffusers."""
    pipeline = pipeline_of(place)
    side = pipeline.unet.config.sample_size
    settings: dict[str, Any] = {"num_inference_steps": 1, "guidance_scale": 7.5, "output_type": "latent"}
    settings["latents"] = place.noise(1, 4, side, side).to(place.dtype)
    return lambda: pipeline(PROMPT, **settings).images.float().std().item()


def ours_distil(place: Place) -> Step:
    """Our SDS gradient of an image."""
    from core.guidance import ClassifierFreeGuidance
    from dream3d.distill import SDS, LinearAnnealing, make_model_space

    model = ours_of(place)
    guided = ClassifierFreeGuidance(model.denoiser, GUIDANCE, model.encode([""]))
    interval = (T / model.denoiser.schedule.timesteps,) * 2
    sds = SDS(guided, LinearAnnealing(interval, interval), make_model_space(model.first_stage))
    condition = model.encode([PROMPT])
    picture = torch.zeros(1, 3, model.size, model.size, device=place.device)
    picture.requires_grad_()
    generator = torch.Generator()

    def step() -> float:
        picture.grad = None
        sds(picture, condition, 0.0, generator.manual_seed(SEED)).loss.backward()
        return _norm(picture.grad)

    return step


def diffusers_distil(place: Place) -> Step:
    """The SDS gradient of an image with diffusers' parts."""
    from dream3d.distill import LinearAnnealing

    pipeline = pipeline_of(place)
    size = pipeline.unet.config.sample_size * 8
    picture = torch.zeros(1, 3, size, size, device=place.device).requires_grad_()
    alphas = pipeline.scheduler.alphas_cumprod.to(place.device)
    texts = torch.cat([pipeline.encode_prompt(text, place.device, 1, False)[0] for text in ("", PROMPT)])
    t = torch.tensor([T], device=place.device)

    def step() -> float:
        picture.grad = None
        generator = torch.Generator().manual_seed(SEED)
        LinearAnnealing((0.5, 0.5), (0.5, 0.5)).draw(
            1, 0.0, 1000, generator
        )  # the draw of ours, so that the noise is the same
        mean = pipeline.vae.encode(picture.to(place.dtype)).latent_dist.mean
        x = mean * pipeline.vae.config.scaling_factor
        with torch.no_grad():
            eps = torch.randn(x.shape, generator=generator).to(x)
            noised = pipeline.scheduler.add_noise(x, eps, t)
            negative, positive = pipeline.unet(
                torch.cat([noised] * 2), t, encoder_hidden_states=texts
            ).sample.chunk(2)
            gradient = (1 - alphas[t]) * (negative + GUIDANCE * (positive - negative) - eps)
        x.backward(gradient.to(x))
        return _norm(picture.grad)

    return step


def ours_dream3d(place: Place) -> Step:
    """One iteration of text-to-3D; the scalar is the distillation loss."""
    from core.io.presets import load_preset
    from dream3d.options import ObjectOptions
    from dream3d.text_to_3d import start_optimization

    model = ours_of(place)
    options = load_preset("dream3d/checkpoint", ObjectOptions).with_model_defaults(
        takes_camera=False, latents=True
    )
    options = options.model_copy(update={"views": 1})
    run = start_optimization(model, PROMPT, options, seed=SEED, bundled=False)
    states = iter(run)
    return lambda: next(states).losses["distillation"]


def _norm(gradient: Tensor | None) -> float:
    """Euclidean norm; 0 without a gradient."""
    return gradient.norm().item() if gradient is not None else 0.0


CASES: dict[str, dict[str, Callable[[Place], Step]]] = {
    "sample": {"ours": ours_sample, "diffusers": diffusers_sample},
    "distil": {"ours": ours_distil, "diffusers": diffusers_distil},
    "dream3d": {"ours": ours_dream3d},
}


def measure(prepare: Callable[[Place], Step], place: Place, steps: int) -> Measured:
    """Figures of one case in this process: one warm-up step, then `steps` counted ones."""
    step = prepare(place)
    result = step()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        result = step()
        seconds.append(time.perf_counter() - start)  # the scalar result synchronizes the device
    return Measured(median(seconds), sum(seconds), steps, peak_memory(place.device), result)


def measured_alone(case: str, who: str, folder: Path, device: torch.device, steps: int) -> Measured:
    """`measure` in its own process. Raises SystemExit when that process fails."""
    options = ["--case", case, who, "--folder", str(folder), "--device", str(device), "--steps", str(steps)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.real_size", *options], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"{case} of {who} failed with code {done.returncode}.")
    return Measured(*json.loads(done.stdout.splitlines()[-1]))


def table(figures: dict[str, dict[str, Measured]]) -> Table:
    """The figures as a table, one row per case and library."""
    rows = Table("case", "library", "s per step", "s in total", "peak, GB", "result")
    for case, measured in figures.items():
        for who, m in measured.items():
            rows.add_row(case, who, f"{m.seconds:.3g}", f"{m.total:.4g}", f"{m.peak:.2f}", f"{m.result:.6g}")
    return rows


def main() -> None:
    """Runs all cases, or with --case one of them in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, help="counted steps; default: 1 on a CPU, 200 with CUDA")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, help="folder of the checkpoint, written if missing")
    parser.add_argument("--tiny", action="store_true", help="a small network, to try the script")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", nargs=2, metavar=("CASE", "LIBRARY"), help="run one case in this process")
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    steps = arguments.steps or (200 if device.type == "cuda" else 1)
    if arguments.case:
        case, who = arguments.case
        print(json.dumps(measure(CASES[case][who], Place(arguments.folder, device, dtype), steps)))
        return
    console = Console(stderr=True)
    if device.type != "cuda":
        console.print("No CUDA device: running a few steps on the CPU, in float32.")
    from benchmarks import checkpoints

    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "checkpoint"
        if not (folder / "model_index.json").exists():
            console.print("Writing the checkpoint ...")
            checkpoints.stable_diffusion(folder, arguments.tiny)
        figures: dict[str, dict[str, Measured]] = {}
        for case, of_each in CASES.items():
            for who in of_each:
                console.print(f"{case}, {who} ...")
                figures.setdefault(case, {})[who] = measured_alone(case, who, folder, device, steps)
    console.print(table(figures))
    if arguments.out:
        stored = {case: {who: m._asdict() for who, m in each.items()} for case, each in figures.items()}
        about = {
            "device": describe_device(device),
            "dtype": str(dtype).removeprefix("torch."),
            "tiny": arguments.tiny,
        }
        write_json(arguments.out, {**about, "cases": stored})


if __name__ == "__main__":
    main()
