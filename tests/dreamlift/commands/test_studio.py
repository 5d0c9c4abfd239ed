"""`dreamlift studio`: what it refuses before it starts."""

import importlib.util
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.errors import UserError
from dreamlift.cli import app


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["studio", *arguments])
    assert isinstance(result.exception, UserError)
    return str(result.exception)


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert refused() == 'The studio needs Gradio: install it with pip install "dreamlift[studio]".'


def test_other_addresses_need_a_password(tmp_path: Path) -> None:
    assert "give --auth USER:PASSWORD" in refused("--host", "0.0.0.0", "--out", str(tmp_path / "out"))
    for auth in ("ada", "ada:", ":lovelace"):
        assert "a name and a password" in refused("--auth", auth)
    assert not (tmp_path / "out").exists()


def test_a_port_that_is_taken_and_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        sentence = refused("--port", str(taken.getsockname()[1]), "--out", str(tmp_path))
    assert "give another --port" in sentence
    (tmp_path / "file").touch()
    assert "Cannot write into the folder" in refused("--port", "0", "--out", str(tmp_path / "file" / "out"))
