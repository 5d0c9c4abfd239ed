"""Machine, versions and date that every benchmark of quality stores with its figures."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import torch

from core.io.atomic import atomic_write
from core.io.machine import describe_device, package_versions
from dreamlift.bench.environment import load, processor_name


def machine() -> dict[str, Any]:
    """Machine, its current load, package versions and date."""
    return {
        "machine": describe_device(torch.device("cpu")),
        "processor": processor_name(),
        "load": next(iter(load()), None),
        "versions": package_versions(),
        "date": date.today().isoformat(),
    }


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    """Writes the figures and `machine()` as one JSON object."""
    with atomic_write(path) as draft:
        draft.write_text(json.dumps({**machine(), **figures}, indent=2) + "\n", encoding="utf-8")
