"""Arithmetic, traffic and time of operations against closed forms and torch's own counter."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dreamlift.bench import work
from dreamlift.bench.results import Work
from dreamlift.bench.work import ModuleClock, OperationProfile, count_work, kind_of

CPU = torch.device("cpu")


def test_a_matrix_product_has_its_arithmetic_and_moves_its_three_matrices() -> None:
    a, b = torch.zeros(30, 50), torch.zeros(50, 70)
    expected = Work(gflop=2 * 30 * 50 * 70 / 1e9, gbytes=4 * (30 * 50 + 50 * 70 + 30 * 70) / 1e9)
    assert count_work(lambda: a @ b) == expected
    assert count_work(lambda: a.T.reshape(50, 6, 5)[:, 0]).gflop == 0


def test_views_move_no_bytes() -> None:
    a = torch.zeros(30, 50)
    assert count_work(lambda: a.T[3:].unsqueeze(0)) == Work(gflop=0, gbytes=0)


def test_backward_passes_count() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 64, 5))
    images = torch.randn(2, 3, 8, 8, requires_grad=True)

    def run() -> None:
        network(images).sum().backward()

    with FlopCounterMode(display=False) as reference:
        run()
    assert count_work(run).gflop == pytest.approx(reference.get_total_flops() / 1e9, rel=1e-3)


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("convolution.default", "convolution"),
        ("addmm.default", "linear"),
        ("bmm.default", "linear"),
        ("_linear_pointwise.default", "linear"),
        ("_scaled_dot_product_flash_attention_for_cpu.default", "attention"),
        ("native_group_norm.default", "normalization"),
        ("silu.default", "other"),
    ],
)
def test_kinds_of_operations(operation: str, kind: str) -> None:
    assert kind_of(operation) == kind


def test_profile_splits_arithmetic_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that ticks once at every look: each operation takes one second."""
    ticks = iter(range(1000))
    monkeypatch.setattr(work, "busy_time", lambda _: float(next(ticks)))
    images, kernels = torch.zeros(1, 3, 8, 8), torch.zeros(4, 3, 3, 3)
    with torch.no_grad(), OperationProfile(CPU) as profile:
        torch.conv2d(images, kernels, padding=1)
        torch.mm(torch.zeros(2, 3), torch.zeros(3, 4))
    assert profile.gflop["convolution"] == pytest.approx(2 * 4 * 64 * 27 / 1e9)
    assert profile.gflop["linear"] == pytest.approx(2 * 2 * 3 * 4 / 1e9)
    assert (profile.seconds["convolution"], profile.seconds["linear"]) == (1, 1)


def test_clock_of_modules_counts_their_calls_and_an_inner_one_in_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(work, "busy_time", lambda _: now[0])

    class Slow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            now[0] += 2
            return x

    inner = Slow()
    outer = nn.Sequential(inner, Slow())
    clock = ModuleClock(CPU)
    with clock.of({"outer": [outer], "inner": [inner]}):
        outer(torch.zeros(1))
        outer(torch.zeros(1))
    outer(torch.zeros(1))  # no longer timed
    assert clock.seconds == {"outer": 8, "inner": 4}
    assert clock.calls == {"outer": 2, "inner": 2}
