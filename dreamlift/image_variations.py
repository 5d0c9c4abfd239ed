"""Images from images by their embeddings, with an unCLIP model (DALL-E 2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from core.bundled import UNCLIP, bundled_model
from core.errors import UserError
from core.io.base_model import later_stage
from core.io.machine import pick_device
from core.models.super_resolution import SuperResolution
from core.models.unclip.unclip_model import UnclipModel, slerp, text_difference
from core.sampling_options import SamplingOptions
from dreamlift.text_to_image import GUIDANCE, SAMPLER, STEPS, Picture, to_pictures

LARGEST_COUNT = 64


class ImageVariations:
    """Varies, interpolates and edits images: Ramesh et al. 2022, section 3."""

    def __init__(
        self, model: UnclipModel, name: str, super_resolution: SuperResolution | None = None
    ) -> None:
        self.model, self.name, self.super_resolution = model, name, super_resolution

    @classmethod
    def from_pretrained(cls, name: str | Path = UNCLIP, *, device: str = "auto") -> ImageVariations:
        """Loads an unCLIP model: the one that ships, "unclip", or that of a folder.

        Raises UserError when the folder holds none.
        """
        folder = bundled_model(name) or Path(name)
        if not UnclipModel.exists_at(folder):
            raise UserError(f"{folder} holds no unCLIP model: train one as docs/unclip.md says.")
        chosen = pick_device(device)
        enlarger = later_stage(folder, "super_resolution")
        model = UnclipModel.load(folder, chosen)
        return cls(model, str(name), SuperResolution.load(enlarger, chosen) if enlarger else None)

    def vary(self, image: Image.Image, count: int = 4, **sampling: Any) -> list[Picture]:
        """Variations: other images with the embedding of this one. sampling: as of `sample`.

        Raises UserError for a count out of range.
        """
        embedding = self.embed(image)
        return self.sample(embedding.expand(_checked(count), -1), {"variation": "vary"}, **sampling)

    def interpolate(
        self, first: Image.Image, second: Image.Image, count: int = 5, **sampling: Any
    ) -> list[Picture]:
        """Images on the way from the first to the second, by spherical interpolation of their embeddings.

        All have the same noise. sampling: as of `sample`. Raises UserError for a count out of range.
        """
        shares = torch.linspace(0, 1, _checked(count)).to(self.model.device)
        embeddings = slerp(self.embed(first)[0], self.embed(second)[0], shares)
        return self.sample(embeddings, {"variation": "interpolate"}, same_noise=True, **sampling)

    def edit(
        self,
        image: Image.Image,
        before: str,
        after: str,
        count: int = 5,
        largest: float = 0.5,
        **sampling: Any,
    ) -> list[Picture]:
        """The image as a text changes: turned step by step in the direction of the texts' difference.

        largest: share of the turn of the last of `count` images; that of the first is 0. All have the same
        noise. sampling: as of `sample`. Raises UserError for a count out of range, and for equal texts.
        """
        if before.strip() == after.strip():
            raise UserError("The two texts are equal: give what the image shows, and what it is to show.")
        start = self.embed(image)[0]
        shown, wanted = self.model.embed_texts([before, after])
        shares = np.linspace(0, largest, _checked(count))
        embeddings = torch.stack([text_difference(start, shown, wanted, share) for share in shares.tolist()])
        record = {"variation": "edit", "before": before, "after": after}
        return self.sample(embeddings, record, same_noise=True, **sampling)

    def embed(self, image: Image.Image) -> torch.Tensor:
        """The unit embedding (1,D) of an image, which is cropped to a square."""
        size = self.model.contrastive.config.size
        side = min(image.size)
        left, top = ((extent - side) // 2 for extent in image.size)
        square = image.convert("RGB").crop((left, top, left + side, top + side))
        pixels = np.asarray(square.resize((size, size), Image.Resampling.BOX), np.float32)
        return self.model.embed_images(torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None])

    def sample(
        self,
        embeddings: torch.Tensor,
        record: dict[str, Any],
        *,
        seed: int = 0,
        same_noise: bool = False,
        num_inference_steps: int = STEPS,
        guidance_scale: float = GUIDANCE,
    ) -> list[Picture]:
        """Pictures of unit embeddings (B,D). record: what their records tell apart from the options.

        seed: of the first; of the others one more each, unless `same_noise`.
        """
        seeds: Sequence[int] = [seed + (0 if same_noise else row) for row in range(len(embeddings))]
        options = SamplingOptions(num_inference_steps, guidance_scale, SAMPLER)
        images = self.model.sample_embeddings(embeddings, options, seeds)
        if self.super_resolution:
            images = self.super_resolution.sample(images, seeds, steps=1)
        options_record = {"model": self.name, "steps": num_inference_steps, "guidance": guidance_scale}
        return [
            Picture(picture, record | options_record | {"seed": number})
            for picture, number in zip(to_pictures(images), seeds, strict=True)
        ]


def _checked(count: int) -> int:
    """The count. Raises UserError unless it is from 1 to `LARGEST_COUNT`."""
    if not 1 <= count <= LARGEST_COUNT:
        raise UserError(f"--num cannot be {count}: give 1 to {LARGEST_COUNT} images.")
    return count
