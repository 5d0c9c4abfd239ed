"""What every benchmark writes beside its figures: where and when they were measured."""

import json
import os
import platform
import resource
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import torch

from core.io.atomic import atomic_write
from core.io.machine import describe_device, package_versions


def machine() -> dict[str, Any]:
    """The machine, how busy it was at the time, the versions of what ran, and the date."""
    return {
        "machine": describe_device(torch.device("cpu")),
        "processor": _processor(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "versions": package_versions(),
        "date": date.today().isoformat(),
    }


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    """The figures and `machine()`, as one JSON object."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(json.dumps({**machine(), **figures}, indent=2) + "\n", encoding="utf-8")


def peak_memory(device: torch.device) -> float:
    """GB, so far: of PyTorch's allocations on a GPU, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _processor() -> str:
    """The model of the processor, as Linux names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
