"""Counter of floating-point operations that does not import torch's compiler."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count


class FlopCounter(TorchDispatchMode):
    """Context that counts the floating-point operations of products, convolutions and attention.

    The formulas are those of `torch.utils.flop_counter`, with the fused attention of CPUs, which torch omits.
    Its own `FlopCounterMode` imports torch._dynamo at the first operation, which takes seconds.

    `total`: operations counted since the context was made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Asked by torch when the class is made: True would wrap `__torch_dispatch__` by torch._dynamo."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation and adds its count. Composite operations are counted by their parts."""
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:  # asked of fake tensors; it has no parts
            return func(*args, **kwargs)
        formula = flop_formula(func)
        if formula is None:
            with self:
                result = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if result is NotImplemented else result
        result = func(*args, **kwargs)
        self.total += formula(*args, **kwargs, out_val=result)
        return result


def flop_formula(func: Any) -> Callable[..., int] | None:
    """The formula of an operation; None for one that is not counted."""
    packet = getattr(func, "_overloadpacket", None)
    if packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
        return _attention_flops
    return flop_registry.get(packet)


def _attention_flops(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> int:
    """Floating-point operations of attention for tensors (B,heads,L,D)."""
    return sdpa_flop_count(query.shape, key.shape, value.shape)
