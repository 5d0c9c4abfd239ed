"""What a network costs before it is loaded: its memory and arithmetic, from a run without numbers."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core.io.machine import flop_counter


class Cost(NamedTuple):
    """Of one call of a network, beside its weights."""

    memory: int  # the most that is held at once, bytes
    flop: float


def measure_cost(make: Callable[[], nn.Module], call: Callable[[Any], object], dtype: torch.dtype) -> Cost:
    """The cost of `call(make())`: a run on tensors of shapes without numbers; nothing is allocated.

    Attention counts as fused, as it runs. The working space of a GPU's convolutions comes on top.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with FakeTensorMode(), torch.no_grad():
            network = make().eval().requires_grad_(False)
            with _Held(network.state_dict(keep_vars=True).values()) as held, flop_counter() as counter:
                call(network)
    finally:
        torch.set_default_dtype(default)
    return Cost(held.most, counter.get_total_flops())


class _Held(TorchDispatchMode):
    """Counts the bytes of the tensors made within it while they live; weights, and views of them, are not."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self.sizes = {id(weight.untyped_storage()): 0 for weight in weights}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._hold(tensor.untyped_storage())
        return out

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._release, key)

    def _release(self, key: int) -> None:
        self.now -= self.sizes.pop(key)
