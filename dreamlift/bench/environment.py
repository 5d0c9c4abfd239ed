"""Machine, load, versions and date, which every benchmark stores with its figures."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib import metadata
from pathlib import Path

import torch

from core.io.machine import describe_device, package_versions
from dreamlift.bench.results import Environment

PEERS = ("nerfacc", "k-diffusion", "video-diffusion-pytorch", "imagen-pytorch")
PROCESSOR_TIME = "processor time of one thread, in which other processes do not count"
WALL_TIME = "time of day, in which other processes count"


def environment(device: torch.device, load_before: Sequence[float]) -> Environment:
    """The environment of a run on a device that has just ended. load_before: `load()` at its start."""
    one_thread = device.type == "cpu" and torch.get_num_threads() == 1
    return Environment(
        processor=processor_name(),
        device=describe_device(device),
        threads=torch.get_num_threads(),
        clock=PROCESSOR_TIME if one_thread else WALL_TIME,
        load=[*load_before, *load()],
        versions=package_versions() | peer_versions(),
        date=date.today().isoformat(),
    )


def peer_versions() -> dict[str, str]:
    """Versions of the peers that are installed and are not among the packages of every record."""
    versions: dict[str, str] = {}
    for package in PEERS:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def load() -> list[float]:
    """Processes that ran or waited, in the mean of the last minute; empty where the system does not count."""
    return [round(os.getloadavg()[0], 1)] if hasattr(os, "getloadavg") else []


def processor_name() -> str:
    """Model name of the processor, from /proc/cpuinfo where it exists."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
