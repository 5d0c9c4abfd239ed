"""Paths of users: what is expanded, and what is refused before anything is opened."""

import os
import socket
from pathlib import Path

import pytest

from core.errors import UserError
from core.io.paths import check_room, is_reserved, read_path, read_text


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_path("~", "--run") == tmp_path
    assert read_path("~/runs/a", "--run") == tmp_path / "runs" / "a"
    for text in ("runs/~", "./~nobody", "a b/ü[1].mp4", "-y/x", "12:30.mp4", "x" * 255, "owner/name"):
        assert read_path(text, "--run") == Path(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "--out is empty: give a path."),
        ("~nobody-of-that-name/x", "--out cannot be ~nobody-of-that-name/x: there is no home folder"),
        ("a\nb.obj", r"--out cannot be 'a\\nb.obj': a path has no control characters\."),
        ("a\0b", r"--out cannot be 'a\\x00b': a path has no control characters\."),
        ("\x1b[2J.mp4", "a path has no control characters"),
        ("\ud800.mp4", r"--out cannot be '\\ud800.mp4': a path has no control characters\."),
        ("folder/" + "ü" * 128, "a name has at most 255 bytes, and this has 256"),
        ("/".join(["x" * 200] * 21), "a path has at most 4095 bytes"),
        ("/dev/zero", "--out cannot be /dev/zero, which is a device: give a file or a folder."),
        ("/dev/null", "which is a device"),
    ],
)
def test_what_names_no_file_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        read_path(text, "--out")
    assert str(error.value).isprintable() and len(str(error.value)) < 200


def test_pipes_and_sockets_are_refused_but_those_of_the_shell(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name in ("pipe", "socket"):
            with pytest.raises(UserError, match="which is a device"):
                read_path(tmp_path / name, "--prompts")
    reading, writing = os.pipe()
    os.write(writing, b"a fox\r\na cat\n")
    os.close(writing)
    assert read_text(Path(f"/dev/fd/{reading}"), "the prompts of") == "a fox\na cat\n"
    os.close(reading)


def test_names_of_windows_devices_are_known() -> None:
    reserved = ["con", "NUL.mp4", "com1.tar.gz", "Lpt9.png", "aux .json", "CONIN$"]
    assert all(map(is_reserved, reserved))
    assert not any(map(is_reserved, ["console", "nul-2.mp4", "com10.mp4", "a con.mp4", "com.mp4"]))


def test_texts_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9")
    assert read_text(tmp_path / "marked", "the script") == "café"
    for name, reason in (("latin", "it is not UTF-8 text"), (".", "Is a directory"), ("no", "No such file")):
        with pytest.raises(UserError, match=f"Cannot read the script {tmp_path / name}: {reason}"):
            read_text(tmp_path / name, "the script")
    with pytest.raises(UserError, match="it is larger than 1 KiB"):
        read_text(_sized(tmp_path / "large", 1025), "the script", 1024)


def _sized(path: Path, size: int) -> Path:
    path.write_bytes(b"x" * size)
    return path


def test_room_is_that_of_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    check_room(tmp_path / "a" / "b", free * 0.9, "The shards")
    with pytest.raises(UserError, match=f"The shards need about .* GB, and {tmp_path}/a/b has room for"):
        check_room(tmp_path / "a" / "b", free * 1.1 + 1e9, "The shards")
