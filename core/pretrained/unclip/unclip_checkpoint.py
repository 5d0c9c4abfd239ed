"""Images from checkpoints with a prior and a decoder: Karlo (unCLIP) and Kandinsky 2.2.

Their pipelines in diffusers sample: prior, decoder and super-resolution each have a scheduler of their own,
whose steps are not those of this project's samplers. Score distillation and video need a denoiser of images,
which these checkpoints are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import UserError
from core.io.machine import default_dtype
from core.pretrained.hub import checkpoint_kind, resolve_checkpoint
from core.pretrained.parts import read_pipeline
from core.pretrained.quiet import quiet
from core.pretrained.text import read_tokens
from core.sampling import StepCallback, make_generators
from core.sampling_options import SamplerName

KARLO, KANDINSKY, DECODER = "UnCLIPPipeline", "KandinskyV22CombinedPipeline", "KandinskyV22Pipeline"
KINDS = (KARLO, KANDINSKY, DECODER)
PRIOR_STEPS, PRIOR_GUIDANCE = 25, 4.0  # diffusers' defaults of both


class UnclipCheckpoint:
    """A checkpoint of the family, which samples images of prompts."""

    reads_attributes = False

    def __init__(self, pipeline: Any, device: torch.device) -> None:
        """pipeline: diffusers' pipeline of a class in `KINDS` that has a prior, on the CPU."""
        self.pipeline, self.device = pipeline.to(device), device
        self.pipeline.set_progress_bar_config(disable=True)
        self.name = type(pipeline).__name__
        self.tokenizer = getattr(pipeline, "tokenizer", None) or pipeline.prior_tokenizer

    def read(self, prompt: str, suffix: str = "") -> str:
        """The part of a prompt that the text encoder takes, if a suffix is to follow it."""
        return read_tokens(prompt, self.tokenizer, self.tokenizer.model_max_length, suffix)

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[str],
        *,
        steps: int = 25,
        guidance: float = 4.0,
        negative: str = "",
        seeds: Sequence[int] | None = None,
        sampler: SamplerName | None = None,
        eta: float = 0.0,
        guidance_interval: tuple[float, float] | None = None,
        guidance_rescale: float = 0.0,
        on_step: StepCallback | None = None,
    ) -> Tensor:
        """Images (B,3,size,size) in [-1, 1] of B prompts.

        steps, guidance: of the decoder; the prior has diffusers' own. on_step: is not called, because the
        steps of these pipelines are not those of a sampler of this project.

        Raises UserError for options of this project's samplers, and for a negative prompt for Karlo.
        """
        given = {"a sampler": sampler, "eta": eta, "a guidance interval": guidance_interval}
        given |= {"guidance rescale": guidance_rescale}
        if chosen := [name for name, value in given.items() if value]:
            raise UserError(f"{self.name} has schedulers of its own: leave out {chosen[0]}.")
        options: dict[str, Any] = {"prior_num_inference_steps": PRIOR_STEPS, "output_type": "np"}
        options |= {"prior_guidance_scale": PRIOR_GUIDANCE}
        if self.name == KARLO:
            if negative:
                raise UserError("Karlo (UnCLIPPipeline) takes no negative prompt: leave it out.")
            options |= {"decoder_num_inference_steps": steps, "decoder_guidance_scale": guidance}
        else:
            side = self.pipeline.unet.config.sample_size * self.pipeline.decoder_pipe.movq_scale_factor
            options |= {"num_inference_steps": steps, "guidance_scale": guidance}
            options |= {"height": side, "width": side, "negative_prompt": negative or None}
        images: list[Tensor] = []
        with quiet():
            # One by one: diffusers takes no several generators together with a negative prompt.
            for prompt, generator in zip(prompts, make_generators(prompts, seeds), strict=True):
                drawn = self.pipeline(prompt=prompt, generator=generator, **options).images
                images.append(torch.from_numpy(drawn).permute(0, 3, 1, 2) * 2 - 1)
        return torch.cat(images)


def is_unclip_checkpoint(folder: Path) -> bool:
    """Whether a folder holds a checkpoint of the family."""
    return checkpoint_kind(folder) in KINDS


def load_unclip_checkpoint(
    name_or_folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> UnclipCheckpoint:
    """Loads a checkpoint of the family from a folder or Hugging Face id.

    Kandinsky's decoder is published without its prior, which is then found under the decoder's name with
    "prior" in place of "decoder", or is in the folder with it, as diffusers' combined pipeline saves it.
    dtype: of the weights; by default `default_dtype` of the device.

    Raises UserError when a part is missing or damaged.
    """
    device = torch.device(device)
    folder, dtype = resolve_checkpoint(name_or_folder), dtype or default_dtype(device)
    pipeline = read_pipeline(folder, dtype)
    if checkpoint_kind(folder) == DECODER:
        owner, slash, name = str(name_or_folder).rstrip("/").rpartition("/")
        if "decoder" not in name:
            raise UserError(
                f"{name} is a decoder of Kandinsky 2.2 without its prior: name its folder NAME-decoder, and "
                "the prior's NAME-prior."
            )
        beside = owner + slash + name.replace("decoder", "prior")
        prior = read_pipeline(resolve_checkpoint(beside), dtype)
        pipeline = _combined(pipeline, prior)
    return UnclipCheckpoint(pipeline, device)


def _combined(decoder: Any, prior: Any) -> Any:
    """diffusers' combined pipeline of a decoder's and a prior's."""
    import diffusers

    parts = {f"prior_{name}": part for name, part in prior.components.items()}
    return getattr(diffusers, KANDINSKY)(**decoder.components, **parts)
