"""Machine, versions and date that every benchmark stores with its figures, and its peak memory."""

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
    """Machine, its current load, package versions and date."""
    return {
        "machine": describe_device(torch.device("cpu")),
        "processor": _processor(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "versions": package_versions(),
        "date": date.today().isoformat(),
    }


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    """Writes the figures and `machine()` as one JSON object."""
    with atomic_write(path) as draft:
        draft.write_text(json.dumps({**machine(), **figures}, indent=2) + "\n", encoding="utf-8")


def peak_memory(device: torch.device) -> float:
    """Peak memory so far in GB: of PyTorch's allocations on a GPU, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _processor() -> str:
    """Model name of the processor, from /proc/cpuinfo where it exists."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
