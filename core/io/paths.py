"""Paths that a user names: expanded, and refused where no file can be there, before anything is opened."""

import os
import re
import shutil
import stat
from pathlib import Path

from core.errors import UserError
from core.io.values import shortened

LONGEST_NAME = 255  # bytes, of a file or folder on common file systems
LONGEST_PATH = 4095  # bytes, of Linux
LARGEST_TEXT = 64 * 2**20  # bytes, of a file of prompts or of options
PIPES = re.compile(r"/dev/(stdin|fd/\d+)|/proc/(self|\d+)/fd/\d+")  # as in --prompts <(head prompts.txt)
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$) *(\..*)?", re.IGNORECASE)


def read_path(given: str | Path, label: str) -> Path:
    """The path that a user names, with ~ as the home folder. label: of the option, for messages.

    Raises UserError for what names no file: an empty text, unknown users after ~, control characters and
    characters that are no text, names and paths that are too long, and for devices, sockets and pipes other
    than those that a shell opens.
    """
    text = str(given)
    if not text:
        raise UserError(f"{label} is empty: give a path.")
    if not text.isprintable():
        raise UserError(f"{label} cannot be {shortened(ascii(text))}: a path has no control characters.")
    path = _expanded(text, label)
    name = max(path.parts, key=_bytes, default="")
    if _bytes(name) > LONGEST_NAME:
        raise UserError(
            f"{label} cannot be {shortened(text)}: a name has at most {LONGEST_NAME} bytes, and this has "
            f"{_bytes(name)}."
        )
    if _bytes(str(path)) > LONGEST_PATH:
        raise UserError(f"{label} cannot be {shortened(text)}: a path has at most {LONGEST_PATH} bytes.")
    try:
        mode = path.stat().st_mode
    except OSError:  # it is not there, or not to be seen: whoever needs it says so
        return path
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or (stat.S_ISFIFO(mode) and PIPES.fullmatch(str(path)))):
        raise UserError(f"{label} cannot be {path}, which is a device: give a file or a folder.")
    return path


def _expanded(text: str, label: str) -> Path:
    """The path with the home folder in place of ~ or ~user, which exists."""
    path = Path(text)
    if not text.startswith("~"):
        return path
    first = path.parts[0]
    home = Path(os.path.expanduser(first))
    if not os.path.isdir(home):
        raise UserError(
            f"{label} cannot be {path}: there is no home folder {first}; ./{first} is a file here."
        )
    return home.joinpath(*path.parts[1:])


def _bytes(name: str) -> int:
    return len(name.encode(errors="surrogateescape"))


def is_reserved(name: str) -> bool:
    """Whether Windows takes the name of a file for a device, such as aux.mp4, and cannot read it."""
    return RESERVED.fullmatch(name) is not None


def read_text(path: Path, what: str, largest: int = LARGEST_TEXT) -> str:
    """Text of a file of prompts, options and the like, in UTF-8, with or without a byte order mark.

    what: the word for the file in messages, as in "the preset". largest: bytes that it may have.

    Raises UserError for a file that cannot be read, is too large or is no text.
    """
    read_path(path, what)
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise UserError(f"Cannot read {what} {path}: {error.strerror}.") from error
    if len(data) > largest:
        raise UserError(f"Cannot read {what} {path}: it is larger than {largest >> 10} KiB.")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"Cannot read {what} {path}: it is not UTF-8 text.") from error


def check_room(folder: Path, size: float, what: str) -> None:
    """Raises UserError unless the disk of a folder, which need not exist yet, has room for `size` bytes."""
    there = next((each for each in (folder, *folder.absolute().parents) if os.path.isdir(each)), None)
    free = shutil.disk_usage(there or ".").free
    if size > free:
        raise UserError(
            f"{what} need about {size / 1e9:.1f} GB, and {folder} has room for {free / 1e9:.1f} GB: give "
            "fewer, or another folder."
        )
