"""What only a real GPU can show: skipped without one. `make gpu` runs it in about ten minutes."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")


@pytest.fixture
def cuda() -> torch.device:
    """The first CUDA device, without TF32: float32 is compared with the CPU's."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda", 0)
