"""Linear layers between planes of channels, as in convolutions, and rows of channels, as in attention.

Each is one matrix product that reads or writes the other layout. On CPUs a transposition beside the product
takes as long as the product, and several times as long where frames move with it.
"""

import torch
from torch import Tensor, nn


def planes_to_rows(layer: nn.Linear, planes: Tensor) -> Tensor:
    """A linear layer with bias, of planes (B,inputs,N), as rows (B,N,outputs)."""
    return torch.baddbmm(layer.bias, planes.mT, layer.weight.T.expand(len(planes), -1, -1))


def rows_to_planes(layer: nn.Linear, rows: Tensor) -> Tensor:
    """A linear layer with bias, of rows (B,N,inputs), as planes (B,outputs,N)."""
    return torch.baddbmm(layer.bias[:, None], layer.weight.expand(len(rows), -1, -1), rows.mT)
