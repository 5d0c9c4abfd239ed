"""Devices, throughput and bfloat16 support of the machine."""

import pytest
import torch

from core.errors import UserError
from core.io import machine
from core.io.machine import matmul_rate, pick_device


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
