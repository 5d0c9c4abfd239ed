"""Text to images from Python."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from core.bundled import BUNDLED_NAME, UNCLIP, bundled_model
from core.errors import UserError
from core.io.base_model import later_stage
from core.io.files.record import digests
from core.io.files.saving import save_output
from core.io.machine import pick_device
from core.io.pictures import PICTURE
from core.models.image_model import ImageModel
from core.models.nearest_wording import nearest_wording
from core.models.super_resolution import SuperResolution
from core.pretrained.hub import NATIVE, checkpoint_kind, resolve_checkpoint
from core.pretrained.image_model import PretrainedImageModel, load_image_model
from core.pretrained.unclip.unclip_checkpoint import (
    UnclipCheckpoint,
    is_unclip_checkpoint,
    load_unclip_checkpoint,
)
from core.sampling_options import SamplerName
from core.tiers import ArithmeticTier, compute_dtype, default_tier, tier_context
from core.toybox.prompts import PromptReading, read_prompt
from dreamlift.front_door import EndOfStep, resolve_seed, step_callback, warn_of

STEPS, GUIDANCE, AZIMUTH, ELEVATION = 12, 2.5, 30.0, 13.0  # of models in this project's format
SAMPLER: SamplerName = "dpm-solver++"


@dataclass(frozen=True, eq=False)
class Picture:
    """An image and the record of how it was made. Shows itself in a notebook.

    image: PIL image. record: prompt, seed and options.
    """

    image: Image.Image
    record: dict[str, Any]

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Writes the image as PNG and its record (.image.json); returns both paths.

        A file of that name is replaced; another that the record would replace is refused, unless `overwrite`
        is given or it is of an earlier image of that name.

        Raises UserError for another ending, an unwritable folder, and what may not be replaced.
        """
        files = PICTURE.files(Path(path))
        if files.output.suffix.lower() not in PICTURE.extensions:
            raise UserError(f"Cannot write the image as {files.output.name}: its name must end in .png.")
        with save_output(files, overwrite) as drafts:
            self.image.save(drafts.output, format="PNG")
            record = self.record | {"files": digests([drafts.output])}
            drafts.record.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        return files.lasting

    def _repr_png_(self) -> bytes:
        data = BytesIO()
        self.image.save(data, format="PNG")
        return data.getvalue()


class TextToImage:
    """Makes images from prompts, with the model that clips and objects are built on."""

    def __init__(
        self,
        model: ImageModel | PretrainedImageModel | UnclipCheckpoint,
        name: str,
        super_resolution: SuperResolution | None = None,
        tier: ArithmeticTier | None = None,
    ) -> None:
        self.model, self.name, self.super_resolution = model, name, super_resolution
        self.tier: ArithmeticTier | None = tier

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = BUNDLED_NAME,
        *,
        device: str = "auto",
        tier: ArithmeticTier | None = None,
        torch_dtype: str | None = None,
        lora: Sequence[str] = (),
        offload: bool = False,
    ) -> TextToImage:
        """Loads a model: "bundled", "unclip" or "emoji", a folder, or an id of the Hugging Face hub.

        tier: "exact" or "fast", of models in this project's format; what suits the device unless given, see
            `core.tiers`.
        The other arguments are those of `core.pretrained.image_model.load_image_model`.
        """
        folder = bundled_model(name) or name
        dtype = getattr(torch, torch_dtype) if torch_dtype else None
        chosen = pick_device(device)
        checkpoint = resolve_checkpoint(folder, weights=False)
        if tier and checkpoint_kind(checkpoint) != NATIVE:
            raise UserError(
                f"{name} has no tiers: a checkpoint's precision is its dtype. Leave out the tier."
            )
        if is_unclip_checkpoint(checkpoint):
            if lora or offload:
                raise UserError(f"{name} takes no LoRA weights and no offload: leave them out.")
            return cls(load_unclip_checkpoint(folder, chosen, dtype), str(name))
        model = load_image_model(folder, device=chosen, dtype=dtype, lora=lora, offload=offload)
        if not isinstance(model, ImageModel):
            return cls(model, str(name))
        enlarger = later_stage(Path(folder), "super_resolution")
        larger = SuperResolution.load(enlarger, chosen) if enlarger else None
        return cls(model, str(name), larger, tier or default_tier(chosen))

    def __call__(
        self,
        prompt: str,
        *,
        negative_prompt: str = "",
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        sampler: SamplerName | None = None,
        eta: float = 0.0,
        guidance_interval: tuple[float, float] | None = None,
        guidance_rescale: float = 0.0,
        azimuth: float | None = None,
        elevation: float | None = None,
        super_resolution: int | None = None,
        complete: bool = True,
        callback_on_step_end: EndOfStep | None = None,
    ) -> Picture:
        """Makes one image. What is not given is the model's default.

        azimuth, elevation: of the camera, in degrees; only of models in this project's format. Unless given,
            those of the view that the prompt names, or 30 and 13.
        super_resolution: denoising steps of the bundled model's super-resolution, 1 unless given; 0 leaves
            the image at the model's own size.
        complete: read the prompt into words that the bundled models know, its views and negations too, and
            fill in the color and the place that it leaves open. What cannot be drawn is a warning.
        The sampling options are those of `core.sampling_options.SamplingOptions`.

        Raises UserError for what the model cannot do.
        """
        if super_resolution and not self.super_resolution:
            raise UserError(f"{self.name} has no super-resolution: leave it out.")
        enlarging = 1 if super_resolution is None else super_resolution
        number = resolve_seed(seed, generator)
        native = isinstance(self.model, ImageModel)
        reading = PromptReading(prompt, prompt)
        if self.name in (BUNDLED_NAME, UNCLIP) and complete:
            reading = read_prompt(prompt, number, nearest=nearest_wording).with_camera(azimuth, elevation)
            warn_of(reading)
        if not self.model.reads_attributes and (azimuth, elevation) != (None, None):
            raise UserError(
                f"{self.name} cannot apply azimuth and elevation: it was trained without cameras."
            )
        usual_steps, usual_guidance = usual_options(self.model)
        guidance = guidance_scale if guidance_scale is not None else usual_guidance
        if negative_prompt and guidance == 1:
            raise UserError("A negative prompt has no effect at guidance scale 1: give a scale above 1.")
        text = self.model.read(reading.text)
        negative = self.model.read(reading.negative_with(negative_prompt) if guidance != 1 else "")
        around = next(a for a in (azimuth, reading.azimuth, AZIMUTH) if a is not None)
        above = next(e for e in (elevation, reading.elevation, ELEVATION) if e is not None)
        sample = self.model.sample
        if isinstance(self.model, ImageModel):
            sample = partial(self.model.sample, azimuth=around, elevation=above)
        if native and sampler is None:
            sampler = SAMPLER
        steps = num_inference_steps or usual_steps
        with tier_context(self.tier, self.model.device):
            images = sample(
                [text],
                steps=steps,
                guidance=guidance,
                negative=negative,
                seeds=[number],
                sampler=sampler,
                eta=eta,
                guidance_interval=guidance_interval,
                guidance_rescale=guidance_rescale,
                on_step=step_callback(self, callback_on_step_end),
            )
            if self.super_resolution and enlarging:
                images = self.super_resolution.sample(images, [number], steps=enlarging)
        (picture,) = to_pictures(images)
        record = {
            "prompt": prompt,
            "completed": text,
            "notes": list(reading.notes),
            "seed": number,
            "model": self.name,
        }
        record |= {"steps": steps, "guidance": guidance, "negative": negative, "sampler": sampler}
        record |= {"eta": eta, "guidance_interval": guidance_interval, "guidance_rescale": guidance_rescale}
        record |= {"azimuth": around, "elevation": above} if native else {}
        record |= {"super_resolution": enlarging} if self.super_resolution else {}
        if self.tier:
            record |= {"tier": self.tier, "compute_dtype": compute_dtype(self.tier, self.model.device)}
        return Picture(picture, record)


def usual_options(model: ImageModel | PretrainedImageModel | UnclipCheckpoint) -> tuple[int, float]:
    """Steps and guidance scale of a model, unless others are given."""
    if isinstance(model, ImageModel):
        return STEPS, GUIDANCE
    if isinstance(model, UnclipCheckpoint):
        return 25, 4.0
    return model.default_steps, model.default_guidance


def to_pictures(images: torch.Tensor) -> list[Image.Image]:
    """PIL images of images (B,3,H,W) in [-1, 1]."""
    pixels = ((images.float().cpu().numpy().transpose(0, 2, 3, 1) + 1) * 127.5).round().astype(np.uint8)
    return [Image.fromarray(each) for each in pixels]
