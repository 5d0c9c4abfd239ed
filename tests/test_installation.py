"""The table of docs/install.md is that of the results; pyproject.toml allows the versions that were tried."""

import os
import re
import sys
from pathlib import Path

import pytest

from installation import matrix, tables
from installation.checks import CheckFailedError, Installed
from installation.tables import PAGE, matrix_table, read_results, version_key, versions_table

ROOT = Path(__file__).parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_page_has_the_tables_of_the_results() -> None:
    results, page = read_results(), PAGE.read_text(encoding="utf-8")
    assert f"<!-- matrix -->\n{matrix_table(results)}<!-- end of matrix -->" in page
    assert f"<!-- versions -->\n{versions_table(results)}<!-- end of versions -->" in page


def test_every_cell_is_of_a_supported_python_and_passed() -> None:
    results = read_results()
    supported = re.findall(r"Python :: (3\.\d+)", PYPROJECT)
    assert results and {name.split("-")[0] for name in results} <= {*supported}
    assert [name for name, result in results.items() if result["failed"]] == []


def test_the_lowest_versions_that_are_allowed_are_those_that_were_tried() -> None:
    lowest = {
        row.split(" | ")[0].removeprefix("| "): row.split(" | ")[1]
        for row in versions_table(read_results()).splitlines()[2:]
    }
    dependencies = PYPROJECT.partition("\ndependencies = [")[2].partition("\n]")[0]
    allowed = dict(re.findall(r'^    "([\w-]+)(?:\[\w+\])?>=([\d.]+)"', dependencies, re.M))
    assert len(allowed) > 20
    for name, bound in allowed.items():
        tried, numbers = version_key(lowest[name.replace("_", "-")]), version_key(bound)
        assert tried[: len(numbers)] == numbers, f"{name}: {bound} is allowed, {tried} was tried"


def test_versions_are_compared_by_their_numbers() -> None:
    assert version_key("3.9") < version_key("3.10") < version_key("3.10.1")
    assert version_key("2.13.0+cpu") == version_key("2.13.0")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """An environment whose commands are shell scripts, run by this user."""
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, script in {
        "show": 'echo "$HOME $LC_ALL [$XDG_CACHE_HOME] $PWD"',
        "warn": "echo x.py:1: UserWarning: old",
        "fail": "exit 2",
    }.items():
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    return Installed(tmp_path, tmp_path, tmp_path)


def test_commands_run_without_a_home_and_in_the_locale_c(installed: Installed) -> None:
    assert installed.run("show") == f"/dev/null/home C [] {installed.folder}\n"


@pytest.mark.parametrize("command", ["warn", "fail"])
def test_commands_that_fail_or_warn_do_not_pass(installed: Installed, command: str) -> None:
    with pytest.raises(CheckFailedError, match=command):
        installed.run(command)


def test_files_that_are_not_written_do_not_pass(installed: Installed) -> None:
    with pytest.raises(CheckFailedError, match=r"clip\.mp4"):
        installed.expect("clip.mp4")


@pytest.fixture
def stubbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page in a folder of its own; the matrix installs nothing and has one check, which 3.11 fails."""

    def check(installed: Installed) -> None:
        if "3.11" in str(installed.folder):
            raise CheckFailedError("no clip")

    monkeypatch.setattr(matrix, "build", lambda folder: {"wheel": folder / "x.whl", "sdist": folder / "x.gz"})
    monkeypatch.setattr(matrix, "install", lambda cell, python, file, folder: folder)
    monkeypatch.setattr(matrix, "versions", lambda installed: {"torch": f"2.6.0+{installed.folder.name}"})
    monkeypatch.setattr(matrix, "CHECKS", {"clip": check})
    for module in (matrix, tables):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(tables, "PAGE", tmp_path / "install.md")
    tables_of_before = (f"<!-- {name} -->\nold\n<!-- end of {name} -->\n" for name in ("matrix", "versions"))
    (tmp_path / "install.md").write_text("".join(tables_of_before))
    return tmp_path


def run_matrix(folder: Path, monkeypatch: pytest.MonkeyPatch, *pythons: str) -> int:
    given = ["--python", *(f"{python}=/bin/python" for python in pythons), "--resolution", "lowest"]
    monkeypatch.setattr(sys, "argv", ["matrix", *given, "--work", str(folder)])
    return matrix.main()


def test_cells_that_are_run_join_those_of_before_in_the_page(
    stubbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_matrix(stubbed, monkeypatch, "3.10") == 0
    assert run_matrix(stubbed, monkeypatch, "3.9", "3.11") == 1
    lines = (stubbed / "install.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:]] for line in lines if line.startswith("| 3.")]
    assert [row[:4] for row in rows] == [
        [python, installer, package, "lowest"]
        for python in ("3.9", "3.10", "3.11")
        for installer, package in (("pip", "wheel"), ("uv", "sdist"))
    ]
    assert [row[7] for row in rows] == ["passed"] * 4 + ["failed: clip"] * 2
    assert "| torch | 2.6.0+versions | 2.6.0+versions |" in lines and "old" not in lines
    assert {path.name for path in stubbed.iterdir()} == {"install.md", "results.json"}
