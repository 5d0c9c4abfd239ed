"""What the model denoises, seen from the renders: the pixels themselves, or the latents of a first stage."""

from typing import Protocol

from torch import Tensor

from core.models.image_model import FirstStage, decode_latents


class ModelSpace(Protocol):
    """The one seam between pictures and what is noised and denoised."""

    def to_model_space(self, renders: Tensor) -> Tensor:
        """(B,3,H,W) in [-1, 1] -> (B,C,h,w), with gradient."""
        ...

    def from_model_space(self, x0: Tensor) -> Tensor:
        """(B,C,h,w) -> pictures (B,3,H,W), without gradient."""
        ...


class PixelSpace:
    """Models of pixels: nothing to do, but that no render can follow a prediction beyond [-1, 1]."""

    def to_model_space(self, renders: Tensor) -> Tensor:
        return renders

    def from_model_space(self, x0: Tensor) -> Tensor:
        return x0.detach().clamp(-1, 1)


class LatentSpace:
    """Models of the latents of a first stage. H and W are multiples of its downscale.

    The decoder's pictures are limited to [-1, 1], beyond which no render can follow.
    """

    def __init__(self, first_stage: FirstStage) -> None:
        self.first_stage = first_stage

    def to_model_space(self, renders: Tensor) -> Tensor:
        return self.first_stage.to_latents(renders)

    def from_model_space(self, x0: Tensor) -> Tensor:
        return decode_latents(x0, self.first_stage)


def make_model_space(first_stage: FirstStage | None) -> ModelSpace:
    """The space of an image model, by its first stage: `space_of(model.first_stage)`."""
    return LatentSpace(first_stage) if first_stage else PixelSpace()
