"""Pictures and clips in a folder, with their captions. Imports no torch.

A caption is taken from the first of these that exists:

- `metadata.csv` or `metadata.jsonl` in the folder of the file or one above it, with the columns `file_name`
  and `text`: the convention of `imagefolder` and `videofolder` in the datasets library. Several rows about
  one file give it several captions, and so does a list in place of the text;
- a text file next to the file, `clip.txt` for `clip.mp4`; all of it is one caption;
- the name of the file, if it says something: "a-red-fox_003.png" is "a red fox";
- the name of its folder, below the one that is read.

A folder whose pictures are numbered from one to the next ("frame_0001.png", or "0001.png") is one clip, its
frames. A `.tar` file is a shard of the webdataset convention: members that share a name up to the first dot
are one example, "0001.jpg" and "0001.txt" (or "0001.json" with the key "text" or "caption").
"""

import csv
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.io.media import PICTURES, VIDEOS, frame_files, frame_number

METADATA = ("metadata.csv", "metadata.jsonl")
FILE_COLUMNS = ("file_name", "file", "path", "image", "video")
TEXT_COLUMNS = ("text", "caption", "prompt")
NOISE = re.compile(
    r"\b(img|image|dsc|dscn|pxl|vid|video|mov|clip|frame|photo|picture|screenshot|untitled|copy)\b"
)


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Example:
    """A picture or a clip with its captions.

    path: a file, a folder of frames, or a .tar file with `member`.
    captions: all different and not empty; none where nothing is known.
    source: where the captions are from: "metadata", "sidecar", "name", or "none".
    """

    path: Path
    captions: tuple[str, ...]
    source: str
    member: str = ""

    @property
    def name(self) -> str:
        """Name for messages."""
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @contextmanager
    def files(self) -> Generator[Path, None, None]:
        """The file, or the folder of frames; a member of a .tar file is unpacked for as long."""
        if not self.member:
            yield self.path
            return
        with tempfile.TemporaryDirectory() as folder, tarfile.open(self.path) as archive:
            out = Path(folder) / Path(self.member).name
            stored = archive.extractfile(self.member)
            if stored is None:
                raise OSError(f"{self.member} is not a file")
            with stored, out.open("wb") as file:
                shutil.copyfileobj(stored, file)
            yield out


@dataclass
class Collection:
    """What a folder holds."""

    examples: list[Example] = field(default_factory=list[Example])
    problems: list[Problem] = field(default_factory=list[Problem])


def collect(folder: Path) -> Collection:
    """The pictures and clips in a folder and the folders in it, in the order of their names.

    Hidden files and folders are left out. Raises UserError for a folder that does not exist or holds nothing
    of the kind.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: name one with pictures or clips.")
    found = Collection()
    _walk(folder, folder, {}, found)
    if not found.examples:
        broken = f"; {found.problems[0].path}: {found.problems[0].reason}" if found.problems else ""
        raise UserError(
            f"{folder} holds no pictures or clips: put {', '.join(PICTURES[:4])} or {', '.join(VIDEOS[:3])} "
            f"files into it{broken}."
        )
    return found


def _walk(root: Path, folder: Path, captions: dict[Path, tuple[str, ...]], found: Collection) -> None:
    """Adds the examples of a folder in `root`; captions: those of metadata files so far, by path."""
    captions = captions | _metadata(folder, found.problems)
    if _is_clip(folder):
        found.examples.append(_captioned(root, folder, captions))
        return
    for path in sorted(folder.iterdir()):
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            continue
        if path.is_dir():
            reason = _unusable(path)
            if reason:
                found.problems.append(Problem(str(path), reason))
            else:
                _walk(root, path, captions, found)
        elif suffix in (".tar", *PICTURES, *VIDEOS) and not path.is_file():
            found.problems.append(Problem(str(path), "it is a device, a pipe, or a link to nothing"))
        elif suffix == ".tar":
            _read_archive(path, found)
        elif suffix in PICTURES or suffix in VIDEOS:
            found.examples.append(_captioned(root, path, captions))


def _unusable(folder: Path) -> str:
    """Why a folder is left out: a link to a folder around it would never end; empty if it is not."""
    if folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve()):
        return "it links to a folder that it is in"
    return "" if os.access(folder, os.R_OK | os.X_OK) else "it may not be read"


def _is_clip(folder: Path) -> bool:
    """Whether a folder's pictures are the frames of a clip: at least two, numbered without a gap."""
    files = frame_files(folder)
    numbers = [frame_number(path.stem) for path in files]
    if len(numbers) < 2 or None in numbers:
        return False
    if any(path.with_suffix(".txt").exists() for path in files):
        return False
    known = [number for number in numbers if number is not None]
    return known == list(range(known[0], known[0] + len(known)))


def _captioned(root: Path, path: Path, captions: dict[Path, tuple[str, ...]]) -> Example:
    sidecar = path.with_suffix(".txt")
    if path.resolve() in captions:
        return Example(path, captions[path.resolve()], "metadata")
    if sidecar.is_file():
        return Example(path, _distinct([sidecar.read_text(encoding="utf-8", errors="replace")]), "sidecar")
    names = [path.name if path.is_dir() else path.stem]
    if path.parent != root:
        names.append(path.parent.name)
    for name in names:
        caption = caption_of_name(name)
        if caption:
            return Example(path, (caption,), "name")
    return Example(path, (), "none")


def caption_of_name(name: str) -> str:
    """Caption from the name of a file: words without numbering; empty if nothing is left that says something.

    "a-red-fox_003" -> "a red fox"; "IMG_2041" and "3f9a01c2" -> "".
    """
    words = re.sub(r"[_\-+.\s]+", " ", name).strip()
    words = re.sub(r"( ?\(?\d+\)?)+$", "", words)
    if not NOISE.sub(" ", words.lower()).strip(" 0123456789") or re.fullmatch(r"[0-9a-f]{6,}", words.lower()):
        return ""
    return words if re.search(r"[^\W\d_]{2}", words) else ""


def _metadata(folder: Path, problems: list[Problem]) -> dict[Path, tuple[str, ...]]:
    """Captions of the metadata files in a folder, by resolved path; what they name in vain is a problem."""
    captions: dict[Path, tuple[str, ...]] = {}
    for path in (folder / name for name in METADATA):
        if not path.is_file():
            continue
        try:
            rows = list(_rows(path))
        except (OSError, ValueError, RecursionError, csv.Error) as error:
            problems.append(Problem(str(path), f"it cannot be read: {error}"))
            continue
        for number, row in enumerate(rows, start=1):
            name, text = (_first(row, columns) for columns in (FILE_COLUMNS, TEXT_COLUMNS))
            if name is None or text is None:
                lacking = FILE_COLUMNS[0] if name is None else TEXT_COLUMNS[0]
                problems.append(Problem(f"{path}, row {number}", f"it has no {lacking}"))
            elif not os.path.exists(folder / str(name)):
                problems.append(Problem(f"{path}, row {number}", f"there is no file {name}"))
            else:
                file = (folder / str(name)).resolve()
                captions[file] = _distinct([*captions.get(file, ()), *_texts(text)])
    return captions


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".csv":
        return csv.DictReader(text.splitlines())
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is no JSON object")
    return rows


def _first(row: dict[str, Any], columns: tuple[str, ...]) -> object:
    """The value of the first of these columns that a row has."""
    return next((row[column] for column in columns if row.get(column) is not None), None)


def _texts(value: object) -> list[str]:
    """The captions in a value of a row: a list of them, or one."""
    return [str(text) for text in value] if isinstance(value, list) else [str(value)]


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Captions as single lines, without empty ones and repetitions."""
    lines = (" ".join(text.split()) for text in texts)
    return tuple(dict.fromkeys(line for line in lines if line))


def _read_archive(path: Path, found: Collection) -> None:
    """Adds the examples of a shard of webdataset."""
    media: dict[str, str] = {}
    captions: dict[str, list[str]] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.isfile():
                    continue
                key, _, ending = member.name.rpartition("/")[2].partition(".")
                key, suffix = f"{member.name.rpartition('/')[0]}/{key}", f".{ending.lower()}"
                if suffix in PICTURES or suffix in VIDEOS:
                    media[key] = member.name
                elif suffix in (".txt", ".json"):
                    stored = archive.extractfile(member)
                    text = stored.read().decode("utf-8", "replace") if stored else ""
                    captions[key] = [text] if suffix == ".txt" else _captions_in_json(text)
    except (tarfile.TarError, OSError) as error:
        found.problems.append(Problem(str(path), f"it is no .tar file that can be read to its end: {error}"))
        return
    for key, member in media.items():
        source = "sidecar" if key in captions else "none"
        found.examples.append(Example(path, _distinct(captions.get(key, [])), source, member))


def _captions_in_json(text: str) -> list[str]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return []
    text_of = _first(values, TEXT_COLUMNS) if isinstance(values, dict) else None
    return [] if text_of is None else _texts(text_of)
