"""Weight files of a diffusers folder: their sizes and digests, without loading them. Imports no torch."""

import hashlib
import json
import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError
from core.io.resources import free_memory, gib
from core.pretrained.hub import UNUSED

VARIANTS = (None, "fp16", "bf16")  # of the same weights, in the order in which they are preferred
_VARIANT = re.compile(r"[^.]+\.([^.]+?)(?:-\d+-of-\d+)?\.safetensors")
_BLOB = re.compile(r"[0-9a-f]{64}")  # name of a large file in the Hugging Face cache: its sha256


def weight_files(folder: Path) -> dict[str, list[Path]]:
    """The safetensors files of each part of a diffusers folder that are loaded.

    Raises UserError when there are none.
    """
    parts = sorted(path for path in folder.iterdir() if path.is_dir() and path.name not in UNUSED)
    files_of = {part.name: files for part in parts if (files := part_files(part))}
    if not files_of:
        raise UserError(
            f"There are no weights in {folder}: none of its subfolders has a .safetensors file. Download the "
            "checkpoint again, in safetensors format."
        )
    return files_of


def part_files(part: Path) -> list[Path]:
    """The safetensors files of a part's folder that are loaded: of one variant, see `VARIANTS`; or []."""
    files = sorted(part.glob("*.safetensors"))
    found = [variant_of(file) for file in files]
    chosen = next((variant for variant in (*VARIANTS, *found) if variant in found), None)
    return [file for file, variant in zip(files, found, strict=True) if variant == chosen]


def variant_of(file: Path) -> str | None:
    """The `variant` argument with which `from_pretrained` reads a file: "fp16" of model.fp16.safetensors."""
    match = _VARIANT.fullmatch(file.name)
    return match and match[1]


def parameter_count(file: Path) -> int:
    """Number of parameters in a weight file.

    It is read from the header of a safetensors file; for other files it is their size over 4 bytes.

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
        raise UserError(f"The weights {file} are damaged: download them again.") from error


def check_weights_fit(folder: Path, itemsize: int) -> None:
    """Raises UserError where the weights of a diffusers folder need more memory than there is.

    They are read into the CPU's memory, whatever device they go to. itemsize: bytes of a parameter.
    """
    size = itemsize * sum(parameter_count(file) for files in weight_files(folder).values() for file in files)
    if size > (free := free_memory()):
        smaller = "a smaller model" if itemsize < 4 else "--dtype bfloat16, or a smaller model"
        raise UserError(
            f"The weights of {folder} need {gib(size)} of memory, and {gib(free)} are free: give {smaller}."
        )


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of each file of `weight_files`, keyed by its path within the folder."""
    files = [file for part in weight_files(folder).values() for file in part]
    return {file.relative_to(folder).as_posix(): sha256(file) for file in files}


def fingerprint(folder: Path, parts: Sequence[str]) -> str:
    """Hash of configs and weights of some parts of a diffusers folder, 12 hexadecimal digits."""
    digest = hashlib.sha256()
    files = weight_files(folder)
    for part in parts:
        for config in sorted((folder / part).glob("*config.json")):
            digest.update(config.read_bytes())
        for file in files.get(part, []):
            digest.update(sha256(file).encode())
    return digest.hexdigest()[:12]


def sha256(file: Path) -> str:
    """The sha256 of a file. For a file in the Hugging Face cache it is the name of its blob."""
    blob = file.resolve().name
    if file.is_symlink() and _BLOB.fullmatch(blob):
        return blob
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(2**24):
            digest.update(chunk)
    return digest.hexdigest()
