"""Figures of the notebooks: images in a grid, with labels for columns and rows."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch.nn.functional as F
from torch import Tensor

GAP = 3  # pixels between images
INCH = 96  # pixels per inch of the figure
LARGEST = 96  # pixels of an image in the figure


def grid(images: Tensor, across: Sequence[str] = (), down: Sequence[str] = ()) -> None:
    """Plots images (N,1 or 3,H,W) in [-1, 1] in reading order, each 64 to 96 pixels wide.

    across: one label per column, above the grid; their number gives the number of columns.
    down: one label per row, to the left of the grid.
    """
    images, side = images.float().clamp(-1, 1), images.shape[-1]
    if side > LARGEST:
        images = F.interpolate(images, (LARGEST, LARGEST), mode="bilinear", antialias=True)
    images = F.interpolate(images, scale_factor=max(1, 64 // side))
    tiles = F.pad(images, (0, GAP, 0, GAP), value=1.0).unflatten(0, (-1, len(across)))
    rows, columns, _, height, width = tiles.shape
    mosaic = tiles.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)  # (rows H, columns W, C)

    figure = plt.figure(figsize=(columns * width / INCH, rows * height / INCH), dpi=INCH)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow((mosaic.expand(-1, -1, 3) + 1) / 2, interpolation="nearest")
    axes.set_axis_off()
    for i, label in enumerate(across):
        axes.text((i + 0.5) * width, -4, label, ha="center", va="bottom", fontsize=9)
    for i, label in enumerate(down):
        axes.text(-6, (i + 0.5) * height, label, ha="right", va="center", fontsize=9)
