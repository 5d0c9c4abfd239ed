"""Devices that are pretended while a test runs."""

from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState

from tests.pretended.device import PretendedDevice


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedDevice]:
    """Torch with one pretended CUDA device, which accelerate detects."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield PretendedDevice(monkeypatch, "cuda")
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> PretendedDevice:
    """Torch with Apple's device."""
    return PretendedDevice(monkeypatch, "mps")
