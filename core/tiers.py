"""Tiers: how exactly, and how fast, the models of this project compute. Imports no torch.

exact: float32.
fast: convolutions and matrix products in bfloat16 on devices where these are much faster; elsewhere as exact.
draft: what makes samples in fewer steps, such as a distilled model; computes as fast.

What is measured of each stands in docs/benchmarks.md. Checkpoints have a dtype instead.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Tier = Literal["exact", "fast", "draft"]
ArithmeticTier = Literal["exact", "fast"]  # of commands in which `draft` means nothing


def default_tier(device: torch.device) -> ArithmeticTier:
    """The tier where none is given: fast on CPUs that are fast in bfloat16, else exact.

    The quality of `fast` has been measured on such CPUs only.
    """
    return "fast" if device.type == "cpu" and _lowered("fast", device) else "exact"


def compute_dtype(tier: Tier | None, device: torch.device) -> Literal["float32", "bfloat16"]:
    """Data type of convolutions and matrix products. tier: None is exact."""
    return "bfloat16" if _lowered(tier, device) else "float32"


def tier_context(tier: Tier | None, device: torch.device) -> AbstractContextManager[object]:
    """Context in which networks compute as the tier says. tier: None is exact.

    Norms, residual sums of float32 tensors, noise and samplers stay in float32.
    """
    import torch

    return torch.autocast(device.type, torch.bfloat16) if _lowered(tier, device) else nullcontext()


def _lowered(tier: Tier | None, device: torch.device) -> bool:
    from core.io.machine import fast_bfloat16

    return tier in ("fast", "draft") and fast_bfloat16(device)
