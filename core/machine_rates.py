"""Rates of a machine, by which the time of any work can be judged: arithmetic by kind, and memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from core.io.machine import best_seconds, matmul_rate

IMAGES, CHANNELS, SIDE, KERNEL = 16, 128, 32, 3  # of the measured convolution
BUFFER = 64 * 2**20  # bytes that are copied: more than the caches of most processors hold


class MachineRates(NamedTuple):
    """Rates of the best runs on one device, with the threads that torch uses."""

    matmul: float  # GFLOP/s of float32 matrix products
    convolution: float  # GFLOP/s of float32 convolutions
    bfloat16: float  # GFLOP/s of bfloat16 matrix products
    memory: float  # GB/s, read and written, of a copy


def best_rates(*measured: MachineRates) -> MachineRates:
    """The highest of each rate in several measurements: other load can only lower them."""
    return MachineRates(*map(max, zip(*measured, strict=True)))


def measure_rates(device: torch.device, seconds: float = 0.3) -> MachineRates:
    """Measures each rate for this many seconds."""
    return MachineRates(
        matmul_rate(device, seconds=seconds),
        convolution_rate(device, seconds),
        matmul_rate(device, seconds=seconds, dtype=torch.bfloat16),
        memory_rate(device, seconds),
    )


@torch.no_grad()
def convolution_rate(device: torch.device, seconds: float = 0.3) -> float:
    """GFLOP/s of a float32 convolution as U-Nets have them: 3x3, 128 channels, 16 images of 32x32."""
    images = torch.randn(IMAGES, CHANNELS, SIDE, SIDE, device=device)
    kernels = torch.randn(CHANNELS, CHANNELS, KERNEL, KERNEL, device=device)
    flop = 2 * images.numel() * CHANNELS * KERNEL**2
    return flop / best_seconds(lambda: F.conv2d(images, kernels, padding=1), device, seconds) / 1e9


def memory_rate(device: torch.device, seconds: float = 0.3) -> float:
    """GB/s of a copy of 64 MiB; each byte counts when it is read and when it is written."""
    source = torch.zeros(BUFFER, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return 2 * BUFFER / best_seconds(lambda: target.copy_(source), device, seconds) / 1e9
