"""The adversary of an autoencoder: a discriminator of patches, its losses, and how much it may weigh.

Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", section 3.2.2; Esser et
al. 2021, "Taming Transformers for High-Resolution Image Synthesis" (VQGAN), section 3.1.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor, nn

from core.nn.blocks import check_group_widths, group_norm

GREATEST_WEIGHT = 1e4  # of an adversary that hardly moves the decoder


class DiscriminatorConfig(BaseModel):
    """The shape of a discriminator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: Annotated[tuple[int, ...], AfterValidator(check_group_widths)] = Field(
        default=(32, 64, 128), min_length=1, max_length=5, description="channels; a level halves the side"
    )


class Discriminator(nn.Module):
    """Images (B,3,H,W) -> logits (B,1,h,w) of whether each patch is real; h, w: H, W / 2^levels.

    Isola et al., appendix 6.1.2, with group norm for batch norm: nothing is shared between images. With the
    three levels of the default a patch is 38 pixels wide, but for the norm's statistics.
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
        return self.layers(images)


def discriminator_loss(real: Tensor, drawn: Tensor) -> Tensor:
    """The hinge loss of a discriminator's logits, (): mean max(0, 1 - real) + mean max(0, 1 + drawn), halved.

    Lim and Ye 2017, "Geometric GAN"; halved as VQGAN has it.
    """
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + drawn).mean())


def generator_loss(drawn: Tensor) -> Tensor:
    """What the decoder is to lower, (B,): minus the mean logit of each image it has drawn."""
    return -drawn.flatten(1).mean(1)


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """||grad reconstruction|| / (||grad adversarial|| + 1e-4) at a decoder's last layer, (), no gradient.

    VQGAN, equation 7: so weighted, the adversary pulls the layer as hard as the reconstruction does. 1e-4 and
    the limit, 1e4, are those of the authors' code.

    reconstruction, adversarial: losses (), whose graphs stay; last_layer: the weight.
    """
    ours, theirs = (
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm()
        for loss in (reconstruction, adversarial)
    )
    return (ours / (theirs + 1e-4)).clamp(max=GREATEST_WEIGHT).detach()
