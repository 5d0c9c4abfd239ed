"""Tensors of a pretended device: memory and numbers of the CPU, with the rules of CUDA or of MPS.

A tensor "on cuda:0" is an instance of `PretendedTensor`, a subclass that reports that device. Its operations
run on the CPU and return tensors of the subclass. What the device refuses raises: tensors of both devices in
one operation (but tensors without dimensions, and indices into a tensor on the device, may be on the CPU), a
generator of another device, `.numpy()`, integer matrix products on CUDA, and float64 on MPS.

Kernels and their rounding, limits of memory, streams and several devices are not pretended, and operations of
the backward pass are not checked.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter, tree_map

CPU = torch.device("cpu")

# Operations on tensors of two devices.
CROSSING = {Tensor.copy_, torch._foreach_copy_, torch._has_compatible_shallow_copy_type}
# Operations that take no number of the CPU either, because they read its memory.
STRICT = {torch.cat, torch.stack, torch.equal, torch.gather, torch.index_select, Tensor.index_select}
PRODUCTS = {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, torch.bmm, nn.functional.linear}
INDEXING = {Tensor.__getitem__, Tensor.__setitem__}


class Pretended:
    """The device that is pretended, and whether a gradient is being computed, which mixes both classes."""

    device = torch.device("cuda", 0)
    in_backward = False


class PretendedTensor(Tensor):
    """A tensor that reports the pretended device as its own."""

    @property
    def device(self) -> torch.device:
        """The pretended device; meta for a tensor without memory."""
        real = _real_device(self)
        return Pretended.device if real == CPU else real

    @property
    def is_cuda(self) -> bool:
        """Whether the device is CUDA."""
        return self.device.type == "cuda"

    @property
    def is_cpu(self) -> bool:
        """Whether the device is the CPU."""
        return False

    def get_device(self) -> int:
        """Index of the device."""
        return 0

    def numpy(self, *, force: bool = False) -> Any:
        """Refused, as on a real device."""
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() first.")

    def __array__(self, dtype: Any = None) -> Any:
        """Refused, as on a real device."""
        return self.numpy()

    def detach(self) -> Tensor:
        """Also of the subclass within an operation, where hooks of saved tensors call it."""
        with torch._C.DisableTorchFunctionSubclass():
            return pretend(super().detach())

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A copy of a leaf, with its attributes."""
        if id(self) not in memo:
            with torch._C.DisableTorchFunctionSubclass():
                copied = Tensor.detach(self).clone().as_subclass(type(self))
            copied.requires_grad_(self.requires_grad)
            copied.__dict__.update(self.__dict__)
            memo[id(self)] = copied
        return memo[id(self)]

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs an operation on the CPU; the tensors of its result are on the pretended device."""
        kwargs = kwargs or {}
        if func is Tensor.backward:
            return torch.autograd.backward(args[0], kwargs.pop("gradient", None), **kwargs)
        if not Pretended.in_backward:
            _check(func, args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        return pretend(result)


class PretendedParameter(PretendedTensor, nn.Parameter):
    """A parameter whose data are on the pretended device."""

    def __new__(cls, data: Tensor, requires_grad: bool = True) -> nn.Parameter:
        """A parameter on the device of the data."""
        parameter = MAKE_PARAMETER(nn.Parameter, data, requires_grad)
        if isinstance(parameter, PretendedTensor):
            parameter.__class__ = PretendedParameter
        return parameter


MAKE_PARAMETER = nn.Parameter.__new__


def is_pretended(value: object) -> bool:
    """Whether a value is a tensor on the pretended device."""
    return isinstance(value, PretendedTensor) and value.device == Pretended.device


def pretend(result: Any) -> Any:
    """The tensors of a result, as tensors on the pretended device with the same memory."""

    def convert(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if Pretended.device.type == "mps" and value.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as MPS doesn't support float64.")
        if isinstance(value, PretendedTensor):
            return value
        if value.requires_grad or torch.is_grad_enabled():
            return value.as_subclass(PretendedTensor)
        return Tensor._make_subclass(PretendedTensor, value)  # no view, so that it may be changed in place

    return tree_map(convert, result)


def to_cpu(tensor: Tensor) -> Tensor:
    """A tensor on the pretended device, as one of the CPU with the same memory."""
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.as_subclass(Tensor)


def check_generator(generator: torch.Generator | None, device: torch.device) -> None:
    """Raises RuntimeError for a generator of another device than that of the numbers."""
    if generator is not None and generator.device.type != device.type:
        raise RuntimeError(
            f"Expected a '{device.type}' device type for generator but found '{generator.device.type}'"
        )


def _real_device(tensor: Tensor) -> torch.device:
    """Where the memory is."""
    with torch._C.DisableTorchFunctionSubclass():
        return torch._C.TensorBase.device.__get__(tensor)


def _check(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> None:
    """Raises RuntimeError for what the device refuses."""
    if func in CROSSING:
        return
    checked = args
    if func in INDEXING:
        owner, index, *rest = args
        if not is_pretended(owner) and any(is_pretended(each) and each.ndim for each in tree_iter(index)):
            raise RuntimeError("indices should be on the same device as the indexed tensor (cpu)")
        by_tensor = any(isinstance(each, Tensor) for each in tree_iter(index))
        checked = (owner, *rest) if by_tensor else ()
    tensors = [each for each in _tensors((checked, kwargs)) if _real_device(each).type != "meta"]
    if any(is_pretended(each) for each in tensors):
        least = 0 if func in STRICT else 1
        if any(not is_pretended(each) and each.ndim >= least for each in tensors):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{Pretended.device} and cpu! ({getattr(func, '__name__', func)})"
            )
        if func in PRODUCTS and Pretended.device.type == "cuda" and not tensors[0].is_floating_point():
            raise RuntimeError(f'"addmm_cuda" not implemented for {tensors[0].dtype}')
    check_generator(kwargs.get("generator"), Pretended.device)


def _tensors(values: Any) -> Iterator[Tensor]:
    return (each for each in tree_iter(values) if isinstance(each, Tensor))
