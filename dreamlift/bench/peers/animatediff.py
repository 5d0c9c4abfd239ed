"""AnimateDiff at the size of Stable Diffusion 1.5 with random weights: steps of ours and of diffusers.

As in `dreamlift.bench.peers.stable_diffusion`; both sample clips from the same noise, up to the latents.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import Tensor

from core.pretrained.quiet import quiet
from dreamlift.bench.peers.stable_diffusion import GUIDANCE, Place
from dreamlift.bench.results import OURS
from dreamlift.bench.worker import Step

PROMPT = "a panda on a swing"


def noise(place: Place) -> Tensor:
    """Initial noise (1,4,F,H/8,W/8), the same for both libraries."""
    return place.noise(1, 4, place.frames, place.size // 8, place.size // 8)


def ours_clip(place: Place) -> Step:
    """DDIM steps with guidance by our AnimateDiff model, encoding of the prompt included."""
    from core.sampling_options import SamplingOptions
    from video.animatediff.motion_model import load_motion_model

    assert place.motion
    model: Any = load_motion_model(place.folder, place.motion, device=place.device, dtype=place.dtype)
    place.compile(model.inflated)
    options = SamplingOptions(place.steps, GUIDANCE)
    start = noise(place)

    def step() -> float:
        condition, negative = model.image.encode([PROMPT]), model.image.encode([""])
        return model.sampling.sample(model.denoiser, start, condition, negative, options, []).std().item()

    return step


@quiet()
def diffusers_clip(place: Place) -> Step:
    """The same by AnimateDiffPipeline with a DDIM scheduler."""
    diffusers: Any = import_module("diffusers")  # imports its names lazily; type checkers cannot see them
    schedule = {"beta_schedule": "linear", "clip_sample": False, "steps_offset": 1}
    pipeline: Any = diffusers.AnimateDiffPipeline.from_pretrained(
        place.folder,
        motion_adapter=diffusers.MotionAdapter.from_pretrained(place.motion, dtype=place.dtype),
        scheduler=diffusers.DDIMScheduler.from_pretrained(place.folder, subfolder="scheduler", **schedule),
        dtype=place.dtype,
    ).to(place.device)
    pipeline.set_progress_bar_config(disable=True)
    place.compile(pipeline.unet)
    settings: dict[str, Any] = {"num_inference_steps": place.steps, "guidance_scale": GUIDANCE}
    settings |= {"height": place.size, "width": place.size, "output_type": "latent"}
    settings |= {"num_frames": place.frames, "latents": noise(place).to(place.dtype)}
    return lambda: pipeline(PROMPT, **settings).frames.float().std().item()


CLIPS: dict[str, Callable[..., Step]] = {OURS: ours_clip, "diffusers": diffusers_clip}
