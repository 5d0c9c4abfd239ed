"""The output folder: which of its files are served, uploads, and the bin."""

from __future__ import annotations

import hashlib
import re
from io import BytesIO
from pathlib import Path

from PIL import Image

from core.errors import UserError
from core.io.atomic import atomic_write, writable_folder
from core.io.media import PICTURES, UNDECODABLE, VIDEOS, frames_at, read_still
from core.io.values import shortened
from dreamlift.studio.limits import Limits

UPLOADS, BIN = "uploads", "bin"  # folders inside the output folder
SERVED = (
    *PICTURES,
    *VIDEOS,
    *(".json", ".html", ".obj", ".mtl", ".glb", ".ply", ".stl", ".usdz"),
)  # endings of the files that are served
NAME = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|%]+")  # a file's name, without what is special anywhere
PROBED = 1.0  # frames per second at which an uploaded clip is tried
LAST_OF = 10.0  # frames per second of which the last one is taken


class Library:
    """A folder of clips and objects with their records."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Raises UserError for a folder that is not writable."""
        self.folder, self.limits = writable_folder(folder).resolve(), limits

    def find(self, name: str) -> Path:
        """The file of a name, such as "a-panda.mp4" or "uploads/0a1b.png".

        Raises UserError for all that is no such file inside the folder: other folders, hidden files, links,
        devices, and files of a kind that the studio does not make.
        """
        parts = name.split("/")
        known = len(parts) == 1 or (len(parts) == 2 and parts[0] == UPLOADS)
        plain = all(NAME.fullmatch(part) and part[0] != "." and part.strip(" .") == part for part in parts)
        if known and plain and Path(name).suffix.lower() in SERVED:
            path = self.folder.joinpath(*parts)
            try:
                if path.is_file() and path.resolve() == path:
                    return path
            except (OSError, ValueError):  # such as a name that is too long
                pass
        raise UserError(f"There is no file {shortened(name)!r} in the studio's folder.")

    def name_of(self, path: Path) -> str | None:
        """The name of a file by which `find` finds it; None for others."""
        try:
            name = path.resolve().relative_to(self.folder).as_posix()
            self.find(name)
        except (OSError, ValueError, UserError):
            return None
        return name

    def free_name(self, stem: str, ending: str) -> Path:
        """The path of a new output: the stem, or the first of stem-2, stem-3, ... that is free."""
        taken = {path.name.split(".")[0] for path in self.folder.iterdir()}
        number, name = 1, stem
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        return self.folder / f"{name}{ending}"

    def add_upload(self, data: bytes, name: str) -> str:
        """Stores a picture or a clip; returns its name for `find`. Equal files are stored once.

        name: which the file has where it comes from; only its ending counts.

        Raises UserError for files that are too large, and for what is neither a picture nor a clip.
        """
        self.limits.check_upload(len(data))
        ending = Path(name).suffix.lower()
        if ending not in (*PICTURES, *VIDEOS):
            known = ", ".join((*PICTURES, *VIDEOS))
            raise UserError(f"The studio cannot use {shortened(name)!r}: pictures and clips end in {known}.")
        stored = f"{UPLOADS}/{hashlib.sha256(data).hexdigest()[:16]}{ending}"
        path = self.folder / stored
        if path.exists():
            return stored
        writable_folder(path.parent)
        with atomic_write(path) as draft:
            draft.write_bytes(data)
            self._check_media(draft, repr(shortened(name)))
        return stored

    def add_last_frame(self, name: str) -> str:
        """Stores the last frame of a clip in the folder as an upload; returns its name.

        Raises UserError for what is no such clip.
        """
        path, last = self.find(name), None
        try:
            for last in frames_at(path, LAST_OF):  # noqa: B007
                pass
        except UNDECODABLE:
            last = None
        if last is None:
            raise UserError(f"{shortened(name)!r} shows no clip: give another file.")
        data = BytesIO()
        last.save(data, "PNG")
        return self.add_upload(data.getvalue(), "last.png")

    def _check_media(self, path: Path, name: str) -> None:
        """Raises UserError unless the file shows something, of a size that can be decoded."""
        try:
            if path.suffix in PICTURES:
                with Image.open(path) as image:
                    width, height = image.size
                if width * height > self.limits.picture:
                    raise UserError(
                        f"{name} has {width}x{height} pixels, and the studio takes "
                        f"{self.limits.picture // 10**6} million: make it smaller."
                    )
                read_still(path)
            else:
                next(frames_at(path, PROBED))
        except (*UNDECODABLE, StopIteration) as error:
            raise UserError(f"{name} shows neither a picture nor a clip: give another file.") from error

    def discard(self, names: list[str]) -> None:
        """Moves files into the bin, a folder inside the output folder. Nothing is deleted."""
        files = [self.find(name) for name in names]
        place = writable_folder(self.folder / BIN)
        for file in files:
            target, number = place / file.name, 1
            while target.exists():
                number += 1
                target = place / f"{file.stem} ({number}){file.suffix}"
            file.rename(target)
