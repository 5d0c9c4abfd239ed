"""Operation counts, devices, throughput and bfloat16 support of the machine."""

import pytest
import torch
from torch.nn import functional as F

from core.errors import UserError
from core.io import machine
from core.io.machine import flop_counter, matmul_rate, pick_device


def test_flop_counter_counts_products_convolutions_and_attention() -> None:
    q = torch.randn(2, 4, 24, 32)
    with flop_counter() as counter, torch.no_grad():
        torch.randn(5, 7) @ torch.randn(7, 11)
        F.conv2d(torch.randn(2, 3, 8, 8), torch.randn(6, 3, 3, 3), padding=1)
        F.scaled_dot_product_attention(q, q, q, attn_mask=torch.ones(2, 1, 1, 24, dtype=torch.bool))
    product = 2 * 5 * 7 * 11
    convolution = 2 * (2 * 6 * 8 * 8) * (3 * 3 * 3)
    attention = 2 * (2 * 2 * 4 * 24 * 24 * 32)  # q k^T, then weights v
    assert counter.get_total_flops() == product + convolution + attention


def test_pick_device_returns_available_devices_only() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type in ("cpu", "cuda")
    for name in ("abacus", "cuda:99", "meta"):
        with pytest.raises(UserError, match=f"no device '{name}' here"):
            pick_device(name)


def test_matmul_rate_is_plausible() -> None:
    rate = matmul_rate(torch.device("cpu"), size=128, seconds=0.05)
    start, end = 0.1, 1e6  # GFLOP/s: any machine that can run torch
    assert start < rate < end


def test_bfloat16_is_fast_with_processor_support(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for flags, fast in ((("fma", "amx_bf16"), True), (("avx512_bf16",), True), (("fma", "avx512f"), False)):
        monkeypatch.setattr(machine, "_cpu_flags", lambda flags=flags: set(flags))
        assert machine.fast_bfloat16(cpu) == fast
    assert machine.fast_bfloat16(torch.device("cuda"))
