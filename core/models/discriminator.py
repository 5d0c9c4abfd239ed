"""Patch discriminator of an autoencoder, its hinge losses, and the adaptive weight of the adversarial loss.

Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", section 3.2.2; Esser et
al. 2021, "Taming Transformers for High-Resolution Image Synthesis" (VQGAN), section 3.1.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor, nn

from core.nn.blocks import check_group_widths, group_norm

GREATEST_WEIGHT = 1e4  # upper limit of the weight, for an adversarial loss with a tiny gradient


class DiscriminatorConfig(BaseModel):
    """Configuration of a discriminator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: Annotated[tuple[int, ...], AfterValidator(check_group_widths)] = Field(
        default=(32, 64, 128), min_length=1, max_length=5, description="channels; each level halves the side"
    )


class Discriminator(nn.Module):
    """Patch discriminator: images (B,3,H,W) -> logits (B,1,h,w), positive for real; h, w = H, W / 2^levels.

    Isola et al., appendix 6.1.2, with group norm instead of batch norm, so that images of a batch are
    independent. With the default of three levels a patch is 38 pixels wide, apart from the norm's statistics,
    which depend on the entire image.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        first, *others = config.widths
        layers = [nn.Conv2d(3, first, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        before = first
        for width in others:
            layers += [nn.Conv2d(before, width, 4, stride=2, padding=1), group_norm(width), nn.LeakyReLU(0.2)]
            before = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B,1,h,w) of images (B,3,H,W)."""
        return self.layers(images)


def discriminator_loss(real: Tensor, drawn: Tensor) -> Tensor:
    """Hinge loss of a discriminator, (): half of mean max(0, 1 - real) + mean max(0, 1 + drawn).

    real, drawn: logits of real images and of reconstructions. Lim and Ye 2017, "Geometric GAN"; halved as in
    VQGAN.
    """
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + drawn).mean())


def generator_loss(drawn: Tensor) -> Tensor:
    """Adversarial loss of the decoder, (B,): minus the mean logit of each reconstruction.

    drawn: logits (B,1,h,w) of reconstructions.
    """
    return -drawn.flatten(1).mean(1)


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """Adaptive weight of the adversarial loss, (): the ratio of gradient norms at the decoder's last layer.

    VQGAN, equation 7: ||grad reconstruction|| / (||grad adversarial|| + 1e-4), without gradient. With this
    weight both losses have the same gradient norm at that layer. 1e-4 and the upper limit, 1e4, are those of
    the authors' code.

    reconstruction, adversarial: losses (), whose graphs are retained.
    last_layer: weight of the decoder's last layer.
    """
    reconstruction_norm, adversarial_norm = (
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm()
        for loss in (reconstruction, adversarial)
    )
    return (reconstruction_norm / (adversarial_norm + 1e-4)).clamp(max=GREATEST_WEIGHT).detach()
