"""What work consists of: its arithmetic, its memory traffic, and the time of its operations and modules."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from core.io.machine import busy_time
from core.nn.flops import FlopCounter, flop_formula
from dreamlift.bench.results import Work

KINDS = {  # kind of operation -> parts of the names of aten's operations
    "attention": ("scaled_dot_product",),
    "convolution": ("conv",),
    "linear": ("mm", "linear"),
    "normalization": ("norm",),
}
OTHER = "other"


class OperationMode(TorchDispatchMode):
    """Base of contexts that see every operation of torch."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """As in `FlopCounter`: otherwise torch's compiler is imported."""
        return False


class ByteCounter(OperationMode):
    """Counts the bytes of the tensors that operations read and write; views move none.

    `total`: bytes counted since the context was made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation and adds the bytes of its tensors."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.total += sum(
                leaf.numel() * leaf.element_size()
                for leaf in tree_iter((args, kwargs, result))
                if isinstance(leaf, Tensor)
            )
        return result


def count_work(run: Callable[[], object]) -> Work:
    """Arithmetic and memory traffic of one run, backward passes included."""
    flops, traffic = FlopCounter(), ByteCounter()
    with flops, traffic:
        run()
    return Work(gflop=flops.total / 1e9, gbytes=traffic.total / 1e9)


class OperationProfile(OperationMode):
    """Seconds and arithmetic of the operations of torch, by kind, on a device.

    Time between the operations, and that of recording, counts for none.

    `seconds`, `gflop`: by the names of `KINDS` and `OTHER`.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.seconds = dict.fromkeys((*KINDS, OTHER), 0.0)
        self.gflop = dict.fromkeys((*KINDS, OTHER), 0.0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs and times an operation."""
        kwargs = kwargs or {}
        start = busy_time(self.device)
        result = func(*args, **kwargs)
        kind = kind_of(func.__name__)
        self.seconds[kind] += busy_time(self.device) - start
        if formula := flop_formula(func):
            self.gflop[kind] += formula(*args, **kwargs, out_val=result) / 1e9
        return result


def kind_of(operation: str) -> str:
    """Kind of an operation of aten by its name: one of `KINDS`, or `OTHER`."""
    matching = (kind for kind, parts in KINDS.items() if any(part in operation for part in parts))
    return next(matching, OTHER)


class ModuleClock:
    """Seconds in the forward calls of modules, by part. A module inside another counts in both.

    `seconds`, `calls`: by part, of the last context.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    @contextmanager
    def of(self, parts: Mapping[str, Iterable[nn.Module]]) -> Generator[None, None, None]:
        """Context in which calls of these modules are timed, from zero."""
        self.seconds, self.calls = dict.fromkeys(parts, 0.0), dict.fromkeys(parts, 0)
        started: dict[nn.Module, float] = {}

        def before(module: nn.Module, _: Any) -> None:
            started[module] = busy_time(self.device)

        def after(part: str) -> Callable[[nn.Module, Any, Any], None]:
            def stop(module: nn.Module, _: Any, __: Any) -> None:
                self.seconds[part] += busy_time(self.device) - started.pop(module)
                self.calls[part] += 1

            return stop

        handles: list[Any] = []
        for part, modules in parts.items():
            for module in modules:
                handles += [
                    module.register_forward_pre_hook(before),
                    module.register_forward_hook(after(part)),
                ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
