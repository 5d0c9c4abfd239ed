"""The space in which a model denoises: pixels, or the latents of a first stage."""

from typing import Protocol

from torch import Tensor

from core.models.image_model import FirstStage, decode_latents


class ModelSpace(Protocol):
    """Conversion between images and the data that the model denoises."""

    def to_model_space(self, renders: Tensor) -> Tensor:
        """Images (B,3,H,W) in [-1, 1] -> (B,C,h,w), with gradient."""
        ...

    def from_model_space(self, x0: Tensor) -> Tensor:
        """(B,C,h,w) -> images (B,3,H,W), without gradient."""
        ...


class PixelSpace:
    """The space of pixel models: the identity, with predictions clamped to [-1, 1]."""

    def to_model_space(self, renders: Tensor) -> Tensor:
        """The renders themselves."""
        return renders

    def from_model_space(self, x0: Tensor) -> Tensor:
        """x0 clamped to [-1, 1]."""
        return x0.detach().clamp(-1, 1)


class LatentSpace:
    """The space of the latents of a first stage. H and W must be multiples of its downscale.

    Decoded images are clamped to [-1, 1], the range of renders.
    """

    def __init__(self, first_stage: FirstStage) -> None:
        """first_stage: the autoencoder of the latents."""
        self.first_stage = first_stage

    def to_model_space(self, renders: Tensor) -> Tensor:
        """Latents of the renders, with gradient."""
        return self.first_stage.to_latents(renders)

    def from_model_space(self, x0: Tensor) -> Tensor:
        """Decoded images in [-1, 1]."""
        return decode_latents(x0, self.first_stage)


def make_model_space(first_stage: FirstStage | None) -> ModelSpace:
    """The space of an image model: `LatentSpace` with a first stage, else `PixelSpace`."""
    return LatentSpace(first_stage) if first_stage else PixelSpace()
