"""A pretended device as a whole: what torch offers for it, replaced while a test runs."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._device import _device_constructors
from torch.utils._pytree import tree_iter, tree_map

from tests.pretended.tensors import (
    CPU,
    Pretended,
    PretendedParameter,
    PretendedTensor,
    check_generator,
    is_pretended,
    pretend,
    to_cpu,
)

GIB = 2**30
FACTORIES = (
    "arange", "as_tensor", "empty", "empty_like", "empty_strided", "eye", "full", "full_like", "linspace",
    "logspace", "normal", "ones", "ones_like", "rand", "rand_like", "randint", "randint_like", "randn",
    "randn_like", "randperm", "tensor", "zeros", "zeros_like",
)  # fmt: skip
METHODS = ("new_empty", "new_full", "new_ones", "new_tensor", "new_zeros")
PROPERTIES = SimpleNamespace(
    name="Pretended GPU", total_memory=80 * GIB, major=9, minor=0, multi_processor_count=132
)
PARSE_TO = torch._C._nn._parse_to


class PretendedDevice:
    """Makes torch believe in one device. `synchronized` counts the calls that wait for it.

    kind: "cuda" or "mps".
    """

    def __init__(self, patch: pytest.MonkeyPatch, kind: str) -> None:
        self.patch, self.synchronized = patch, 0
        patch.setattr(Pretended, "device", torch.device(kind, 0))
        _device_constructors()  # remembers the functions that `with torch.device` applies to
        for name in FACTORIES:
            patch.setattr(torch, name, _factory(getattr(torch, name)))
        for name in METHODS:
            patch.setattr(Tensor, name, _factory(getattr(Tensor, name)), raising=False)
        patch.setattr(Tensor, "to", _to, raising=False)
        patch.setattr(Tensor, "cuda", lambda tensor, *_, **__: _to(tensor, "cuda"), raising=False)
        patch.setattr(Tensor, "cpu", lambda tensor, **__: _to(tensor, CPU), raising=False)
        patch.setattr(Tensor, "pin_memory", lambda tensor, *_: tensor, raising=False)
        patch.setattr(Tensor, "data", property(_data, _set_data), raising=False)
        patch.setattr(nn.Parameter, "__new__", PretendedParameter.__new__)
        patch.setattr(torch, "Generator", Generator)
        patch.setattr(torch, "autocast", Autocast)
        patch.setattr(torch.amp, "autocast", Autocast)
        patch.setattr(torch._C._nn, "_parse_to", _parse_to)
        patch.setattr(torch.autograd, "backward", _in_backward(torch.autograd.backward))
        if kind == "cuda":
            self._answer(torch.cuda, CUDA_ANSWERS)
        self._answer(torch.accelerator, ACCELERATOR_ANSWERS | {"current_accelerator": torch.device(kind)})
        for module in (torch.cuda, torch.accelerator):
            patch.setattr(module, "synchronize", self._synchronize)

    def _answer(self, module: Any, answers: dict[str, Any]) -> None:
        """Replaces functions of a module by constants."""
        for name, answer in answers.items():
            self.patch.setattr(module, name, _constant(answer), raising=False)

    def _synchronize(self, *_: object, **__: object) -> None:
        self.synchronized += 1


def _constant(value: Any) -> Callable[..., Any]:
    """A function that returns the value, whatever its arguments."""
    return lambda *_, **__: value


CUDA_ANSWERS = {
    "is_available": True,
    "is_initialized": False,  # so that torch.manual_seed does not ask for CUDA's generators
    "is_bf16_supported": True,
    "device_count": 1,
    "current_device": 0,
    "set_device": None,
    "empty_cache": None,
    "ipc_collect": None,
    "get_device_properties": PROPERTIES,
    "get_device_name": PROPERTIES.name,
    "get_device_capability": (9, 0),
    "mem_get_info": (70 * GIB, 80 * GIB),
    "memory_allocated": GIB,
    "max_memory_allocated": GIB,
    "memory_reserved": GIB,
    "reset_peak_memory_stats": None,
    "manual_seed": None,
    "manual_seed_all": None,
    "get_rng_state": torch.get_rng_state(),
    "set_rng_state": None,
    "get_rng_state_all": [],
}
ACCELERATOR_ANSWERS = {
    "is_available": True,
    "device_count": 1,
    "current_device_index": 0,
    "current_stream": SimpleNamespace(is_capturing=_constant(False)),
}


class Generator(torch.Generator):
    """A generator of the CPU or of the pretended device, with the CPU's numbers."""

    def __new__(cls, device: str | torch.device = CPU) -> "Generator":
        """The device is one of its attributes."""
        generator = super().__new__(cls, device=CPU)
        generator.pretended = _resolve(device)
        return generator

    @property
    def device(self) -> torch.device:
        """The device that it makes numbers for."""
        return self.pretended


class Autocast(torch.autocast):
    """Autocast of the device as that of the CPU, whose kernels run."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == Pretended.device.type else device_type, *args, **kwargs)


def _resolve(device: str | int | torch.device | None) -> torch.device:
    """The device of a name. Raises RuntimeError for a second one of the pretended kind."""
    if isinstance(device, int):
        device = torch.device(Pretended.device.type, device)
    resolved = CPU if device is None else torch.device(device)
    if resolved.type != Pretended.device.type:
        return resolved
    if resolved.index not in (None, 0):
        raise RuntimeError("CUDA error: invalid device ordinal")
    return Pretended.device


def _factory(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that makes a tensor, on the device that is asked for."""

    def make(*args: Any, device: Any = None, pin_memory: bool = False, **kwargs: Any) -> Tensor:
        given = any(is_pretended(each) for each in tree_iter((args, kwargs)))
        target = _resolve(device) if device is not None else Pretended.device if given else CPU
        here = target == Pretended.device
        check_generator(kwargs.get("generator"), target)
        if device is not None and original is not NORMAL:
            kwargs["device"] = CPU if here else target
        with torch._C.DisableTorchFunctionSubclass():
            result = original(*args, **kwargs)
        if here:
            return pretend(result)
        return to_cpu(result).clone() if isinstance(result, PretendedTensor) else result

    return make


NORMAL = torch.normal  # takes no device


def _to(
    tensor: Tensor,
    *args: Any,
    device: Any = None,
    dtype: Any = None,
    other: Tensor | None = None,
    copy: bool = False,
    memory_format: Any = torch.preserve_format,
    non_blocking: bool = False,
) -> Tensor:
    """Tensor.to in all its forms. A tensor that changes its device is copied."""
    for value in args:
        if isinstance(value, Tensor):
            other = value
        elif isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, str | int | torch.device) and not isinstance(value, bool):
            device = value
    if other is not None:
        device, dtype = other.device, other.dtype
    target = tensor.device if device is None else _resolve(device)
    here = target == Pretended.device
    with torch._C.DisableTorchFunctionSubclass():
        result = torch._C.TensorBase.to(
            tensor,
            CPU if here else target,
            dtype or tensor.dtype,
            copy=copy or here != is_pretended(tensor),
            memory_format=memory_format,
        )
    if result is tensor:
        return tensor
    return pretend(result) if here else to_cpu(result)


def _parse_to(*args: Any, **kwargs: Any) -> Any:
    """The arguments of nn.Module.to, which may be a tensor."""
    if args and isinstance(args[0], Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    return PARSE_TO(*args, **kwargs)


def _data(tensor: Tensor) -> Tensor:
    return torch._C.TensorBase.data.__get__(tensor)


def _set_data(tensor: Tensor, value: Tensor) -> None:
    """Replaces the memory; a parameter that changes its device changes its class."""
    with torch._C.DisableTorchFunctionSubclass():
        torch._C.TensorBase.data.__set__(tensor, value)
    if is_pretended(value) != isinstance(tensor, PretendedTensor):
        classes = {Tensor: PretendedTensor, nn.Parameter: PretendedParameter}
        classes |= {ours: theirs for theirs, ours in classes.items()}
        tensor.__class__ = classes[type(tensor)]


def _in_backward(backward: Callable[..., Any]) -> Callable[..., Any]:
    """The backward pass, during which nothing is checked."""

    def run(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        roots = tree_map(lambda each: to_cpu(each) if is_pretended(each) else each, (tensors, args))
        Pretended.in_backward = True
        try:
            return backward(roots[0], *roots[1], **kwargs)
        finally:
            Pretended.in_backward = False

    return run
