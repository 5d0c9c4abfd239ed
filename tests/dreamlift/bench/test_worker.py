"""Sides of comparisons in processes of their own."""

import os
import sys
from functools import partial

import pytest
import torch

from core.errors import UserError
from dreamlift.bench.plan import compare
from dreamlift.bench.worker import Step, Worker

CPU = torch.device("cpu")


def test_a_process_prepares_once_and_answers_every_call() -> None:
    torch.ones(2**28)  # the peak of this process, of 1 GB and more, is not that of the worker
    prepare = partial(partial, max, 3.0, 4.0)  # whose step is max(3.0, 4.0)
    with Worker(CPU, 1, prepare) as worker:
        measured = compare("Table", "row", {"ours": worker}, 3, per="call", work={"ours": worker.work})
    side = measured.sides["ours"]
    assert len(side.seconds) == 3 and all(seconds >= 0 for seconds in side.seconds)
    assert side.output == 4
    assert side.peak_gb and 0.05 < side.peak_gb < 1  # torch is imported there
    assert measured.work["ours"].gflop == 0


def loads_much() -> Step:
    """Prepares a step of little memory with a gigabyte."""
    torch.ones(2**28)
    return lambda: 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process can be reset on Linux alone")
def test_memory_of_loading_does_not_count() -> None:
    with Worker(CPU, 1, loads_much) as worker:
        worker()
        assert 0.05 < worker.peak_gb < 1


def test_a_process_that_ends_early_is_an_error_of_the_user() -> None:
    with pytest.raises(UserError, match="ended early.*--quick"):
        Worker(CPU, 1, os._exit, 3)
