"""The weights of a diffusers folder as files: what is in them, without reading them. Imports no torch."""

import hashlib
import json
import math
import re
import struct
from pathlib import Path

from core.errors import UserError
from core.pretrained.hub import UNUSED, resolve_checkpoint

_BLOB = re.compile(r"[0-9a-f]{64}")  # how the hub's cache names a large file: by its sha256


def weight_files(folder: Path) -> dict[str, list[Path]]:
    """The safetensors files that are read of each part of a diffusers folder.

    Files of half precision (.fp16.) count only where a part has no others. Raises UserError when there are
    no files at all.
    """
    found = {}
    for part in sorted(path for path in folder.iterdir() if path.is_dir() and path.name not in UNUSED):
        files = sorted(part.glob("*.safetensors"))
        found[part.name] = [file for file in files if ".fp16." not in file.name] or files
    found = {part: files for part, files in found.items() if files}
    if not found:
        raise UserError(f"There are no weights in {folder}: none of its parts has a .safetensors file.")
    return found


def motion_files(motion: str) -> list[Path]:
    """The files of a motion adapter, by folder, file or id; none of "none"."""
    if motion == "none":
        return []
    place = resolve_checkpoint(motion)
    return [place] if place.is_file() else sorted(place.glob("*.safetensors"))


def variant(folder: Path) -> str | None:
    """What `from_pretrained` calls the files of `weight_files`."""
    names = [file.name for files in weight_files(folder).values() for file in files]
    return "fp16" if any(".fp16." in name for name in names) else None


def parameter_count(file: Path) -> int:
    """How many numbers a safetensors file holds, by its header; of another, how many of float32 would fit.

    Raises UserError for a damaged file.
    """
    if file.suffix != ".safetensors":
        return file.stat().st_size // 4
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > file.stat().st_size:
                raise ValueError
            header = json.loads(stream.read(length))
        return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise UserError(f"The weights {file} are damaged.") from error


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of the files of `weight_files` by their names within the folder."""
    files = [file for part in weight_files(folder).values() for file in part]
    return {file.relative_to(folder).as_posix(): sha256(file) for file in files}


def sha256(file: Path) -> str:
    """Of a file's bytes; the hub's cache knows it already."""
    blob = file.resolve().name
    if file.is_symlink() and _BLOB.fullmatch(blob):
        return blob
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(2**24):
            digest.update(chunk)
    return digest.hexdigest()
