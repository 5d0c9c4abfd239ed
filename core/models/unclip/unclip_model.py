"""The three models of unCLIP together: images of prompts, and of embeddings of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from core.condition import Condition
from core.errors import UserError
from core.models.image_model import ImageModel, load_denoiser, read_image_model
from core.models.unclip.contrastive import ContrastiveModel
from core.models.unclip.prior import DiffusionPrior, with_text_embedding
from core.sampling import StepCallback, make_generators
from core.sampling_options import SamplingOptions

CONTRASTIVE, PRIOR = "contrastive", "prior"  # folders in that of the model
PRIOR_OPTIONS = SamplingOptions(steps=16, guidance_scale=2.0, sampler="dpm-solver++")


class UnclipModel(ImageModel):
    """An image model whose network reads image embeddings: the decoder, with contrastive model and prior.

    Its samples are drawn of embeddings that the prior samples of the prompts.
    """

    contrastive: ContrastiveModel
    prior: DiffusionPrior
    prior_options: SamplingOptions = PRIOR_OPTIONS

    @classmethod
    def combine(
        cls, decoder: ImageModel, contrastive: ContrastiveModel, prior: DiffusionPrior
    ) -> UnclipModel:
        """The three as one. Raises UserError where their embeddings have different widths."""
        widths = {
            "decoder": decoder.config.network.image_width,
            "contrastive model": contrastive.config.embedding,
            "prior": prior.config.embedding,
        }
        if len(set(widths.values())) > 1:
            named = ", ".join(f"the {name} {width}" for name, width in widths.items())
            raise UserError(f"The embeddings of an unCLIP model must have one width: {named}.")
        model = cls(decoder.config, decoder.denoiser, decoder.text, decoder.first_stage, decoder.weak)
        model.contrastive, model.prior = contrastive, prior
        return model

    def conditions(
        self, prompts: Sequence[str], attributes: Tensor, negative: str, generators: Sequence[torch.Generator]
    ) -> tuple[Condition, Condition]:
        """The condition of B prompts with embeddings that the prior samples, and the negative prompt's."""
        condition, away = super().conditions(prompts, attributes, negative, generators)
        texts, against = (with_text_embedding(each, self.contrastive) for each in (condition, away))
        embeddings = self.prior.sample(texts, against, generators, self.prior_options)
        return _with_images(condition, embeddings), _with_images(away, torch.zeros_like(embeddings[:1]))

    def embed_images(self, images: Tensor) -> Tensor:
        """Unit embeddings (B,D) of images (B,3,size,size) in [-1, 1]."""
        return self.contrastive.embed_images(images.to(self.device))

    def embed_texts(self, prompts: Sequence[str]) -> Tensor:
        """Unit embeddings (B,D) of texts."""
        return self.contrastive.embed_texts(*self.text(prompts))

    def sample_embeddings(
        self,
        embeddings: Tensor,
        options: SamplingOptions,
        seeds: Sequence[int],
        on_step: StepCallback | None = None,
    ) -> Tensor:
        """Images (B,3,size,size) in [-1, 1] of unit embeddings (B,D), without a text.

        seeds: one for each. Images of one embedding with different seeds are variations of what it is of.
        """
        generators = make_generators(["-"] * len(embeddings), seeds)
        blank = self.encode([""] * len(embeddings))
        condition = _with_images(blank, embeddings.to(blank.tokens))
        away = _with_images(blank[0], torch.zeros_like(condition.image[:1]))  # pyright: ignore
        return self.draw(condition, away, options, generators, on_step)

    def save(self, folder: Path, base: Path | None = None, int8: bool = False) -> None:
        """Writes the decoder as `ImageModel.save`, and the two others into folders of their own in it."""
        super().save(folder, base, int8)
        self.save_parts(folder, int8)

    def save_parts(self, folder: Path, int8: bool = False) -> None:
        """Writes contrastive model and prior into the folder of the decoder. int8: as in `save_folder`."""
        self.contrastive.save(folder / CONTRASTIVE, int8=int8)
        self.prior.save(folder / PRIOR, int8=int8)

    @classmethod
    def load(cls, folder: Path, device: str | torch.device = "cpu") -> UnclipModel:
        """The model of a folder, in float32.

        Raises UserError when a part is missing, damaged or does not fit.
        """
        config, tensors, first_stage = read_image_model(folder)
        decoder = ImageModel(
            config, load_denoiser(config, tensors, folder).to(device), first_stage=first_stage
        )
        contrastive = ContrastiveModel.load(folder / CONTRASTIVE, device)
        return cls.combine(decoder, contrastive, DiffusionPrior.load(folder / PRIOR, device))

    save_pretrained, from_pretrained = save, load

    @staticmethod
    def exists_at(folder: Path) -> bool:
        """Whether a folder holds an unCLIP model rather than an image model alone."""
        return (folder / PRIOR).is_dir()


def load_native_model(folder: Path, device: str | torch.device = "cpu") -> ImageModel:
    """The image model of a folder in this project's format, or the unCLIP model that it holds.

    Raises UserError when it is missing, damaged or does not fit.
    """
    return (UnclipModel if UnclipModel.exists_at(folder) else ImageModel).load(folder, device)


def slerp(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Spherical interpolation between unit vectors (D,) or (B,D): first at share 0, second at 1.

    Shoemake 1985, "Animating Rotation with Quaternion Curves". share: (B,). Returns unit vectors (B,D).
    """
    angle = (first * second).sum(-1).clamp(-1, 1).acos()
    if torch.all(angle < 1e-4):
        return F.normalize(torch.lerp(first, second, share[:, None]), dim=-1)
    weights = ((1 - share) * angle).sin(), (share * angle).sin()
    return (weights[0][:, None] * first + weights[1][:, None] * second) / angle.sin()[..., None]


def text_difference(image: Tensor, before: Tensor, after: Tensor, share: float) -> Tensor:
    """The embedding of an image, turned as the text changes (Ramesh et al. 2022, section 3.3).

    image, before, after: unit embeddings (D,) of an image and of two texts. share: of the angle between the
        image and the texts' difference; the paper takes up to .5.
    """
    difference = F.normalize(after - before, dim=-1)
    return slerp(image, difference, torch.tensor([share], device=image.device))[0]


def _with_images(condition: Condition, embeddings: Tensor) -> Condition:
    return replace(condition, image=embeddings)
