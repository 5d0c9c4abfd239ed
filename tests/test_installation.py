"""What the matrix of installations runs, and how."""

import os
from pathlib import Path

import pytest

from installation.checks import CheckFailedError, Installed
from installation.tables import version_key


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
