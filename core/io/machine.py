"""The machine: which device to use, what is installed on it, and how fast it multiplies."""

import os
import platform
import signal
import time
from importlib import metadata
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from core.errors import UserError

PACKAGES = ("dreamlift", "torch", "numpy", "safetensors", "tokenizers", "diffusers", "accelerate", "xformers")


def pick_device(name: str = "auto") -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU; otherwise a name of torch's: cpu, cuda, cuda:1, mps.

    Raises UserError for a device that this machine or this build of PyTorch lacks.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"There is no device {name!r} here: use cpu, or auto to find the best.") from error
    return device


def fast_bfloat16(device: torch.device) -> bool:
    """Whether products of bfloat16 are much faster than those of float32.

    So they are with CUDA, and on CPUs with AMX or AVX-512's bfloat16.
    """
    if device.type == "cpu":
        return not _cpu_flags().isdisjoint({"amx_bf16", "avx512_bf16"})
    return device.type == "cuda"


def default_dtype(device: torch.device) -> torch.dtype:
    """Of pretrained weights, where nobody asks for another: float32 on a CPU, bfloat16 elsewhere."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def _cpu_flags() -> set[str]:
    """What Linux says the CPU can do; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def describe_device(device: torch.device) -> str:
    """The device in words, with its threads or memory."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return f"{platform.machine()} {device.type}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def single_thread() -> None:
    """How a worker among several processes begins: a core each, and Ctrl-C is the parent's to answer."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def package_versions() -> dict[str, str]:
    """Version of Python and of each installed package that decides what comes out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on a CUDA device, or of the CPU's memory as the system and its container
    say; of other devices those of the CPU, which they share."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    available = psutil.virtual_memory().available
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return available
    return min(available, max(0, limit - used))


def matmul_rate(
    device: torch.device, size: int = 1024, seconds: float = 1.0, dtype: torch.dtype = torch.float32
) -> float:
    """GFLOP/s of products of (size,size) matrices, 2 size^3 operations each: the best of the runs.

    The best, since whatever else the machine does can only slow a run down.
    """
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)

    def once() -> float:
        start = time.perf_counter()
        torch.mm(a, b)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter() - start

    once()  # the first pays for start-up
    end = time.perf_counter() + seconds
    best = once()
    while time.perf_counter() < end:
        best = min(best, once())
    return 2 * size**3 / best / 1e9


def flop_counter() -> FlopCounterMode:
    """A context that counts the floating-point operations of products, convolutions and attention within it.

    torch's own counter, told of the fused attention of CPUs, which it leaves out; read `get_total_flops()`.
    """
    return FlopCounterMode(
        display=False,
        custom_mapping={torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops},
    )


def _attention_flops(query, key, value, *_, **__) -> int:
    return sdpa_flop_count(query, key, value)  # shapes (B,heads,L,D)
