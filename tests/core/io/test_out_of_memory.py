"""Too little memory is one sentence, whichever library runs out of it."""

import pytest
import torch

from core.errors import UserError
from core.io.machine import explain_out_of_memory

CUDA = torch.device("cuda", 0)
MESSAGES = [
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB).",
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to",
]


ERRORS = [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), *map(RuntimeError, MESSAGES)]


@pytest.mark.parametrize("error", ERRORS)
def test_errors_of_every_allocator_are_explained(error: Exception) -> None:
    sentence = r"^Out of memory on cuda:0: give less\.$"
    with pytest.raises(UserError, match=sentence), explain_out_of_memory(CUDA, lambda: "give less"):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("CUDNN_STATUS_BAD_PARAM"), ValueError("out of memory")])
def test_other_errors_are_not(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, explain_out_of_memory(CUDA, lambda: "give less"):
        raise error
    assert raised.value is error
