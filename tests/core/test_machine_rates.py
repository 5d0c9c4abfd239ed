"""Rates of the machine against counted work and a known clock."""

from collections.abc import Callable

import pytest
import torch

from core import machine_rates
from core.io import machine
from core.nn.flops import FlopCounter

CPU = torch.device("cpu")


def test_best_of_the_timed_runs_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs take 2, 5, 3 and 4 s of the clock; the first is not counted, and the last passes the 12 s."""
    took, now = iter([2.0, 5.0, 3.0, 4.0]), [0.0]

    def run() -> None:
        now[0] += next(took)

    monkeypatch.setattr(machine, "busy_time", lambda _: now[0])
    assert machine.best_seconds(run, CPU, seconds=12) == 3
    assert now == [14]


def test_convolution_rate_divides_the_arithmetic_of_one_run_by_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counter = FlopCounter()

    def half_a_second(run: Callable[[], object], *_: object) -> float:
        with counter:
            run()
        return 0.5

    monkeypatch.setattr(machine_rates, "best_seconds", half_a_second)
    assert machine_rates.convolution_rate(CPU) == pytest.approx(counter.total / 0.5 / 1e9)
    assert machine_rates.memory_rate(CPU) == pytest.approx(2 * 64 * 2**20 / 0.5 / 1e9)


def test_processor_time_of_one_thread_does_not_pass_while_the_process_sleeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine.time, "process_time", lambda: 1.0)
    monkeypatch.setattr(machine.time, "perf_counter", lambda: 2.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert machine.busy_time(CPU) == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert machine.busy_time(CPU) == 2
