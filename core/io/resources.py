"""What the machine has left of memory and disk. Imports no torch."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GIB = 2**30
CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
# Address space that PyTorch's libraries take up without being in memory, where they are not loaded yet.
MAPPED = GIB // 2
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
VERSION_2 = ("memory.max", "memory.current", ("inactive_file", "active_file"))


def free_memory() -> int:
    """Bytes of memory that this process may still take, within the limits of system, container and process.

    The limits are those of cgroups, which containers and batch systems set, and of `ulimit -v` and `-d`.
    """
    import psutil

    free = [psutil.virtual_memory().available, *_free_in_groups(), *_free_by_limits()]
    return max(0, min(free))


def free_disk(folder: Path) -> int:
    """Bytes that can be written into a folder, which may have to be made."""
    for each in (folder, *folder.absolute().parents):
        with suppress(OSError):
            return shutil.disk_usage(each).free
    return sys.maxsize  # unknown: the writing will tell


def gib(size: float) -> str:
    """A size in bytes as text, such as "12.3 GiB", "80 MiB" or "60 KiB"."""
    if size >= GIB / 10:
        return f"{size / GIB:,.1f} GiB"
    return f"{size / 2**20:,.0f} MiB" if size >= 2**20 else f"{size / 2**10:,.0f} KiB"


def used_memory() -> int:
    """Bytes of memory that the process takes up."""
    import psutil

    return psutil.Process().memory_info().rss


def _free_by_limits() -> Iterator[int]:
    """Bytes left by the limits of this process: of address space, and of data."""
    try:
        import resource
    except ImportError:  # Windows
        return
    import psutil

    used = psutil.Process().memory_info()
    mapped = 0 if "torch" in sys.modules else MAPPED
    for limit, size in ((resource.RLIMIT_AS, used.vms + mapped), (resource.RLIMIT_DATA, used.rss)):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            yield soft - size


def _free_in_groups() -> Iterator[int]:
    """Bytes left in each cgroup of this process that has a limit. Cached files count as free."""
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        files, root = (VERSION_1, CGROUPS / "memory") if controllers else (VERSION_2, CGROUPS)
        group = Path(os.path.normpath(f"{root}/{path}"))
        while group.is_relative_to(root):  # each limits those below it; a container may not see them all
            with suppress(OSError, ValueError):
                yield _free_in_group(group, *files)
            group = group.parent


def _free_in_group(group: Path, limit: str, used: str, cached: tuple[str, ...]) -> int:
    """Bytes left in a cgroup. Raises OSError or ValueError for one without a limit."""
    most, now = (int((group / name).read_text(encoding="utf-8")) for name in (limit, used))
    rows = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
    return most - now + sum(int(rows.get(name, 0)) for name in cached)
