"""Memory and arithmetic of a network call, measured on fake tensors before any weight is loaded."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core.nn.flops import FlopCounter


class Cost(NamedTuple):
    """Cost of one call of a network, without its weights."""

    memory: int  # peak size of the activations, bytes
    flop: float  # floating-point operations


def measure_cost(make: Callable[[], nn.Module], call: Callable[[Any], object], dtype: torch.dtype) -> Cost:
    """Cost of `call(make())`, measured on fake tensors: they have a shape and a dtype but no storage.

    Attention is counted as fused, as it runs. The workspace of a GPU's convolutions is not included.

    dtype: default dtype of the network and of the tensors that `call` makes.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with FakeTensorMode(), torch.no_grad():
            network = make().eval().requires_grad_(False)
            with (
                _LiveStorage(network.state_dict(keep_vars=True).values()) as storage,
                FlopCounter() as counter,
            ):
                call(network)
    finally:
        torch.set_default_dtype(default)
    return Cost(storage.peak, counter.total)


class _LiveStorage(TorchDispatchMode):
    """Dispatch mode that tracks the current and peak bytes of the storages created under it.

    Weights and views of them are not counted.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        """weights: tensors whose storage is not counted."""
        super().__init__()
        self.current = self.peak = 0
        self.sizes = {id(weight.untyped_storage()): 0 for weight in weights}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation and counts the storages of its results."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        """Counts a storage from its first appearance until it is freed."""
        key = id(storage)
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.current += storage.nbytes()
            self.peak = max(self.peak, self.current)
            weakref.finalize(storage, self._release, key)

    def _release(self, key: int) -> None:
        """Subtracts the size of a freed storage."""
        self.current -= self.sizes.pop(key)
