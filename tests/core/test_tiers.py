"""Tiers: which one a device gets, and what computes in which data type."""

import pytest
import torch

from core.io import machine
from core.tiers import compute_dtype, default_tier, tier_context

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "tier", "dtype"),
    [
        ({"avx512_bf16"}, "fast", "bfloat16"),
        ({"amx_bf16"}, "fast", "bfloat16"),
        ({"fma"}, "exact", "float32"),
    ],
)
def test_cpus_with_bfloat16_are_fast(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], tier: str, dtype: str
) -> None:
    monkeypatch.setattr(machine, "_cpu_flags", lambda: flags)
    assert default_tier(CPU) == tier
    assert [compute_dtype(each, CPU) for each in (None, "exact", "fast", "draft")] == [
        "float32", "float32", dtype, "float32",
    ]  # fmt: skip
    a = torch.randn(4, 4)
    with tier_context("fast", CPU):
        assert str(torch.mm(a, a).dtype) == f"torch.{dtype}"
    for other in ("exact", "draft", None):
        with tier_context(other, CPU):  # pyright: ignore
            assert torch.mm(a, a).dtype == torch.float32
    assert torch.mm(a, a).dtype == torch.float32  # the context undoes itself


def test_a_gpu_is_exact_unless_asked() -> None:
    """Nothing of `fast` has been measured on one."""
    cuda = torch.device("cuda")
    assert default_tier(cuda) == "exact" and compute_dtype("fast", cuda) == "bfloat16"
