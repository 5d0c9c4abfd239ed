"""Sharpness and noise of images, measured without a reference. None of the measures needs a model.

Images are (B,3,H,W) in [-1, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

CONTRAST = 0.3  # least contrast of an edge, in [-1, 1]
LEVELS = 127.5  # 8-bit levels per unit of [-1, 1]
QUARTILE = 0.6744898  # of a standard normal: the median of its absolute value


def luminance(images: Tensor) -> Tensor:
    """Weighted mean of red, green and blue (ITU-R BT.601): (B,3,...) -> (B,...)."""
    red, green, blue = images.unbind(1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def edge_width(images: Tensor) -> Tensor:
    """Median width of the edges in pixels, (B,): the contrast of an edge over its steepest slope.

    Horizontal and vertical edges are measured. A step blurred by a Gaussian of deviation s has the width
    s sqrt(2 pi); a step between two pixels has the width 1. Images without edges have the greatest width that
    is measured, an eighth of the side.
    """
    gray = luminance(images)
    widest = torch.tensor([2.0 * _reach(gray)], device=gray.device)
    widths = [torch.cat(parts) for parts in zip(_edges(gray), _edges(gray.transpose(1, 2)), strict=True)]
    return torch.stack([(found if len(found) else widest).median() for found in widths])


def noise_level(images: Tensor) -> Tensor:
    """Deviation of white noise, in 8-bit levels, (B,), estimated where the image is smooth.

    The mask of Immerkaer 1996, "Fast Noise Variance Estimation", equation 2, cancels everything linear. The
    median of its absolute values replaces their mean: edges are few.
    """
    mask = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]], device=images.device)
    response = F.conv2d(images.flatten(0, 1)[:, None], mask[None, None]).unflatten(0, images.shape[:2])
    return response.abs().flatten(1).median(1).values / (QUARTILE * 6) * LEVELS


def _reach(gray: Tensor) -> int:
    """Pixels on both sides of an edge in which its contrast is measured."""
    return max(4, gray.shape[-1] // 16)


def _edges(gray: Tensor) -> list[Tensor]:
    """Widths of the vertical edges of each image (B,H,W)."""
    reach = _reach(gray)
    slope = gray.diff(dim=2)  # (B,H,W-1), between a pixel and the next
    across = F.pad(gray.diff(dim=1), (0, 0, 0, 1))[..., :-1]
    steep = slope.abs()
    # The window of a slope: `reach` pixels to the left of it, and as many to the right.
    padded = F.pad(gray, (reach - 1, reach - 1), mode="replicate")
    contrast = F.max_pool1d(padded, 2 * reach, 1) + F.max_pool1d(-padded, 2 * reach, 1)
    is_peak = steep >= F.max_pool1d(steep, 2 * reach - 1, 1, padding=reach - 1)
    edge = is_peak & (contrast >= CONTRAST) & (steep >= 2 * across.abs())
    return [(contrast[row] / steep[row])[edge[row]] for row in range(len(gray))]
