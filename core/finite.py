"""The check that keeps numbers which are not finite out of every output."""

import math

import torch
from torch import Tensor

from core.errors import UserError

ADVICE = (
    "its weights are broken, or its numbers overflow in this precision; try another dtype, such as float32"
)


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers of a floating-point tensor are finite; one number is read back from the device."""
    # A sum is finite only if every term is. Each is looked at where finite ones add up to too much.
    return math.isfinite(tensor.sum(dtype=torch.float32).item()) or bool(tensor.isfinite().all())


def require_finite(tensor: Tensor, what: str, where: str = "", advice: str = ADVICE) -> Tensor:
    """The tensor itself.

    what, where: for the sentence, such as "The sample" and "at step 3 of 30".
    advice: why it may be, and what to do.

    Raises UserError when a number of it is not finite.
    """
    if not is_finite(tensor):
        raise UserError(f"{what} is not finite{where and ' '}{where}: {advice}.")
    return tensor
