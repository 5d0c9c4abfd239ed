"""Stable Diffusion 1.5 at full size with random weights: steps of our models and of diffusers' parts.

    sample    DDIM steps of an image with guidance; theirs is StableDiffusionPipeline, which encodes the
              prompt in every call
    distil    score distillation (SDS) of an image, with its gradient; theirs combines the pipeline's parts
              as threestudio does

The functions prepare a step for a `Worker`, whose process has the weights of one library alone. The scalar of
a step's result shows that ours and diffusers' compute the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.pretrained.quiet import quiet
from dreamlift.bench.results import OURS
from dreamlift.bench.worker import Step

PROMPT = "a fox holding a controller"
GUIDANCE, DISTILLATION_GUIDANCE, T, SEED = 7.5, 100.0, 500, 0


class Place(NamedTuple):
    """Checkpoint, device and amount of work of a step."""

    folder: Path  # of the checkpoint
    device: torch.device
    dtype: torch.dtype
    size: int  # pixels of a side
    steps: int = 1  # of the sampler
    compiled: bool = False  # the network, by torch.compile
    frames: int = 1
    motion: Path | None = None  # folder of the motion adapter, for clips

    def noise(self, *shape: int) -> Tensor:
        """Standard normal noise of a fixed seed."""
        return torch.randn(shape, generator=torch.Generator().manual_seed(SEED)).to(self.device)

    def compile(self, network: Any) -> None:
        """Compiles a network if the place says so; without CUDA graphs, which keep outputs in place."""
        if self.compiled:
            network.compile(mode="max-autotune-no-cudagraphs")


@quiet()
def pipeline_of(place: Place) -> Any:
    """diffusers' pipeline with frozen weights and without progress bars."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(place.folder, torch_dtype=place.dtype).to(place.device)
    pipeline.set_progress_bar_config(disable=True)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.requires_grad_(False)
    place.compile(pipeline.unet)
    return pipeline


def ours_of(place: Place) -> Any:
    """Our image model of the checkpoint."""
    from core.pretrained.image_model import load_image_model

    model: Any = load_image_model(place.folder, device=place.device, dtype=place.dtype)
    place.compile(model.pipeline.unet)
    return model


def ours_sample(place: Place) -> Step:
    """DDIM steps with guidance by our model, encoding of the prompt included, up to the latents."""
    from core.sampling_options import SamplingOptions

    model, options = ours_of(place), SamplingOptions(place.steps, GUIDANCE)
    noise = place.noise(1, model.shape[0], place.size // 8, place.size // 8)

    def step() -> float:
        condition, negative = model.encode([PROMPT]), model.encode([""])
        return model.sampling.sample(model.denoiser, noise, condition, negative, options, []).std().item()

    return step


def diffusers_sample(place: Place) -> Step:
    """The same by diffusers' pipeline."""
    pipeline = pipeline_of(place)
    settings: dict[str, Any] = {"num_inference_steps": place.steps, "guidance_scale": GUIDANCE}
    settings |= {"height": place.size, "width": place.size, "output_type": "latent"}
    settings["latents"] = place.noise(1, 4, place.size // 8, place.size // 8).to(place.dtype)
    return lambda: pipeline(PROMPT, **settings).images.float().std().item()


def ours_distil(place: Place) -> Step:
    """Our SDS gradient of an image."""
    from core.guidance import ClassifierFreeGuidance
    from dream3d.distill import SDS, LinearAnnealing, make_model_space

    model = ours_of(place)
    guided = ClassifierFreeGuidance(model.denoiser, DISTILLATION_GUIDANCE, model.encode([""]))
    interval = (T / model.denoiser.schedule.timesteps,) * 2
    sds = SDS(guided, LinearAnnealing(interval, interval), make_model_space(model.first_stage))
    condition = model.encode([PROMPT])
    picture = torch.zeros(1, 3, place.size, place.size, device=place.device)
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
    picture = torch.zeros(1, 3, place.size, place.size, device=place.device).requires_grad_()
    alphas = pipeline.scheduler.alphas_cumprod.to(place.device)
    texts = torch.cat([pipeline.encode_prompt(text, place.device, 1, False)[0] for text in ("", PROMPT)])
    t = torch.tensor([T], device=place.device)

    def step() -> float:
        picture.grad = None
        generator = torch.Generator().manual_seed(SEED)
        # The draw of our timestep, so that the noise is the same.
        LinearAnnealing((0.5, 0.5), (0.5, 0.5)).draw(1, 0.0, 1000, generator)
        mean = pipeline.vae.encode(picture.to(place.dtype)).latent_dist.mean
        x = mean * pipeline.vae.config.scaling_factor
        with torch.no_grad():
            eps = torch.randn(x.shape, generator=generator).to(x)
            noised = pipeline.scheduler.add_noise(x, eps, t)
            negative, positive = pipeline.unet(
                torch.cat([noised] * 2), t, encoder_hidden_states=texts
            ).sample.chunk(2)
            gradient = (1 - alphas[t]) * (negative + DISTILLATION_GUIDANCE * (positive - negative) - eps)
        x.backward(gradient.to(x))
        return _norm(picture.grad)

    return step


def _norm(gradient: Tensor | None) -> float:
    """Euclidean norm; 0 without a gradient."""
    return gradient.norm().item() if gradient is not None else 0.0


SAMPLING: dict[str, Callable[..., Step]] = {OURS: ours_sample, "diffusers": diffusers_sample}
DISTILLATION: dict[str, Callable[..., Step]] = {OURS: ours_distil, "diffusers": diffusers_distil}
