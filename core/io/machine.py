"""Properties of the machine: devices, precision, installed packages, free memory and matrix throughput."""

import os
import platform
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import torch

from core.errors import UserError
from core.io import resources

PACKAGES = ("dreamlift", "torch", "numpy", "safetensors", "tokenizers", "diffusers", "accelerate", "xformers")

# In messages of RuntimeError, by cuBLAS, cuDNN, MPS and the CPU's allocator.
OUT_OF_MEMORY = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "out of memory",
    "can't allocate memory",
    "not enough memory",
)


def pick_device(name: str = "auto") -> torch.device:
    """The torch device of a name: cpu, cuda, cuda:1, mps, or "auto" for CUDA if available, else the CPU.

    Several processes, started by accelerate or torchrun, have the CUDA devices of a machine in turn.

    Raises UserError for a device that this machine or this build of PyTorch lacks.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        rank = os.environ.get("LOCAL_RANK")
        return torch.device("cuda" if rank is None else f"cuda:{int(rank) % torch.cuda.device_count()}")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"There is no device {name!r} here: use cpu, or auto to find the best.") from error
    return device


def fast_bfloat16(device: torch.device) -> bool:
    """Whether matrix products are much faster in bfloat16 than in float32.

    True on CUDA, and on CPUs with AMX or with AVX-512 for bfloat16.
    """
    if device.type == "cpu":
        return not _cpu_flags().isdisjoint({"amx_bf16", "avx512_bf16"})
    return device.type == "cuda"


def default_dtype(device: torch.device) -> torch.dtype:
    """Default dtype of pretrained weights: float32 on a CPU, bfloat16 elsewhere."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def precise_dtype(device: torch.device) -> torch.dtype:
    """float64, and float32 on MPS, which has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def _cpu_flags() -> set[str]:
    """Feature flags of the CPU as listed by Linux; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def describe_device(device: torch.device) -> str:
    """Description of the device in words, with its memory (CUDA) or its cores and threads."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return f"{platform.machine()} {device.type}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def single_thread() -> None:
    """Start of a worker process: one torch thread, and Ctrl-C is ignored, because the parent handles it."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def package_versions() -> dict[str, str]:
    """Versions of Python and of each installed package that affects the results."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def free_memory(device: torch.device) -> int:
    """Free memory in bytes: of a CUDA device, or of the CPU within the limits of system and container.

    Other devices share the memory of the CPU.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return resources.free_memory()


def synchronized_time(device: torch.device) -> float:
    """`time.perf_counter()` once the device has done what it was given: calls on a GPU return before."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that there is too little memory.

    Only CUDA's allocator raises `torch.OutOfMemoryError`; cuBLAS, cuDNN, MPS and the CPU's allocator raise
    RuntimeError.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)


@contextmanager
def explain_out_of_memory(device: torch.device, advice: Callable[[], str]) -> Generator[None, None, None]:
    """Context in which too little memory is a UserError with one sentence. advice: its end, what to do."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"Out of memory on {device}: {advice()}.") from error


def busy_time(device: torch.device) -> float:
    """Seconds that the work given to a device has taken, for differences: synchronized.

    On a CPU with one thread it is the processor time of this process, in which other processes do not count.
    """
    if device.type == "cpu" and torch.get_num_threads() == 1:
        return time.process_time()
    return synchronized_time(device)


def best_seconds(run: Callable[[], object], device: torch.device, seconds: float) -> float:
    """`busy_time` of the fastest of the runs that take so many seconds together, after one more run.

    The best counts, because other load can only slow a run down; the first includes start-up costs.
    """

    def time_one() -> float:
        start = busy_time(device)
        run()
        return busy_time(device) - start

    time_one()
    end = busy_time(device) + seconds
    best = time_one()
    while busy_time(device) < end:
        best = min(best, time_one())
    return best


def matmul_rate(
    device: torch.device, size: int = 1024, seconds: float = 1.0, dtype: torch.dtype = torch.float32
) -> float:
    """Matrix-product throughput in GFLOP/s: the best run of (size,size) products, 2 size^3 operations each.

    seconds: duration of the measurement.
    """
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)
    return 2 * size**3 / best_seconds(lambda: torch.mm(a, b), device, seconds) / 1e9
