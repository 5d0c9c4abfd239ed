"""Free memory and disk against limits that are set, and against the system's own figures."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from core.io import resources
from core.io.resources import MAPPED, free_disk, free_memory, gib

MIB = 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
def test_a_limit_of_address_space_leaves_what_is_not_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = psutil.Process().memory_info().vms
    try:
        resource.setrlimit(resource.RLIMIT_AS, (used + 900 * MIB, before[1]))
        with_torch = free_memory()
        monkeypatch.delitem(sys.modules, "torch", raising=False)
        without = free_memory()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert with_torch == pytest.approx(900 * MIB, abs=20 * MIB)
    assert with_torch - without == pytest.approx(MAPPED, abs=20 * MIB)


def write_group(folder: Path, **files: int | str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_the_smallest_limit_of_a_cgroup_and_those_above_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = f"anon {40 * MIB}\ninactive_file {20 * MIB}\nactive_file {10 * MIB}"
    write_group(tmp_path, memory__max="max", memory__current=70 * MIB, memory__stat=stat)
    write_group(tmp_path / "a", memory__max=90 * MIB, memory__current=70 * MIB, memory__stat=stat)
    write_group(tmp_path / "a/b", memory__max=200 * MIB, memory__current=70 * MIB, memory__stat=stat)
    of_version_1 = {"memory__limit_in_bytes": 80 * MIB, "memory__usage_in_bytes": 60 * MIB}
    cached = f"total_inactive_file {5 * MIB}\ntotal_active_file 0"
    write_group(tmp_path / "memory/c", **of_version_1, memory__stat=cached)
    (tmp_path / "cgroup").write_text("0::/a/b\n")
    monkeypatch.setattr(resources, "CGROUPS", tmp_path)
    monkeypatch.setattr(resources, "MEMBERSHIP", tmp_path / "cgroup")
    assert free_memory() == (90 - 70 + 30) * MIB  # files in the cache can be dropped
    (tmp_path / "cgroup").write_text("9:name=systemd:/\n4:memory:/c\n0::/\n")
    assert free_memory() == (80 - 60 + 5) * MIB
    (tmp_path / "cgroup").write_text("0::/outside/of/what/is/mounted\n")
    assert free_memory() > 90 * MIB


def test_the_disk_of_a_folder_that_is_not_there_is_that_of_the_nearest_above(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    free = status.f_bavail * status.f_frsize
    assert free_disk(tmp_path / "a" / "b") == pytest.approx(free, rel=0.05)


def test_sizes_in_words() -> None:
    assert [gib(size) for size in (2**11, 3 * MIB, 2**29)] == ["2 KiB", "3 MiB", "0.5 GiB"]
    assert gib(1234 * 2**30) == "1,234.0 GiB"
