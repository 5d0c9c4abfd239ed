"""What was made: the run records of the output folder, and how each can be made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from core.bundled import BUNDLED, OTHERS
from core.errors import UserError
from core.io.presets import load_preset
from dream3d import record as of_objects
from dream3d.options import OF_A_ROW, ObjectOptions
from dreamlift.studio.library import Library
from dreamlift.studio.work.clips import FILES, OPTIONS
from dreamlift.studio.work.submissions import PRESET_FOLDERS, Kind, preset_names
from video import record as of_clips
from video.options import ClipOptions

Record = of_clips.RunRecord | of_objects.ObjectRecord


class Entry(NamedTuple):
    """A clip or an object with its record. Names are those by which `Library.find` finds files."""

    name: str  # of the main file
    kind: Kind
    record: Record
    record_name: str
    files: list[str]  # that are there, the main one first


class History:
    """The entries of an output folder. Records are read again only where they have changed."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._read: dict[Path, tuple[int, Entry | None]] = {}

    def entries(self) -> list[Entry]:
        """All entries, the latest first."""
        found = dict[Path, tuple[int, Entry | None]]()
        for path in self.library.folder.glob("*.json"):
            try:
                changed = path.stat().st_mtime_ns
            except OSError:  # moved away at this moment
                continue
            before = self._read.get(path)
            found[path] = before if before and before[0] == changed else (changed, self._entry(path))
        self._read = found
        entries = [entry for _, entry in found.values() if entry]
        return sorted(entries, key=lambda entry: entry.record.created, reverse=True)

    def find(self, name: str) -> Entry:
        """The entry whose main file has a name. Raises UserError where there is none."""
        entry = next((entry for entry in self.entries() if entry.name == name), None)
        if entry is None:
            raise UserError("There is no such clip or object any more.")
        return entry

    def discard(self, name: str) -> None:
        """Moves the files of an entry into the bin. Raises UserError where there is no such entry."""
        entry = self.find(name)
        self.library.discard([*entry.files, entry.record_name])

    def submission(self, name: str) -> dict[str, Any]:
        """What makes the files of an entry again, as values of a `Submission`.

        Raises UserError where there is no such entry, and where it was made from files that the studio does
        not have.
        """
        entry = self.find(name)
        record = entry.record
        changes = _clip_changes if isinstance(record, of_clips.RunRecord) else _object_changes
        preset = record.preset if record.preset in preset_names(entry.kind) else None
        return {
            "kind": entry.kind,
            "prompt": record.prompt,
            "seed": record.seed,
            "model": model_of(record),
            "preset": preset,
            "format": Path(entry.name).suffix,
            "options": changes(record, preset, self.library),
        }

    def _entry(self, path: Path) -> Entry | None:
        record = of_clips.read_record(path)
        kind: Kind = "clip"
        if record is None:
            record, kind = of_objects.read_record(path), "object"
        if record is None:
            return None
        files = [name for file in record.files if (name := self.library.name_of(path.with_name(file)))]
        return Entry(files[0], kind, record, path.name, files) if files else None


def model_of(record: Record) -> str | None:
    """The model of a submission, by what a record says."""
    if isinstance(record, of_clips.RunRecord):
        return record.options.model
    shipped = {str(BUNDLED / "image"): None, **{str(BUNDLED / name): name for name in OTHERS}}
    return shipped.get(record.model, record.model)


def _clip_changes(record: Any, preset: str | None, library: Library) -> dict[str, Any]:
    """The options of a clip that its preset does not have."""
    options: ClipOptions = record.options
    base = load_preset(f"{PRESET_FOLDERS['clip']}/{preset}", ClipOptions) if preset else None
    given: dict[str, Any] = {}
    for name in OPTIONS - {"seconds"}:
        value = getattr(options, name)
        if value is not None and (base is None or value != getattr(base, name)):
            given[name] = value
    for name in FILES:
        if name in given:
            several = isinstance(given[name], tuple)
            names = [_name_of(path, library) for path in (given[name] if several else [given[name]])]
            given[name] = names if several else names[0]
    return given


def _object_changes(record: Any, preset: str | None, library: Library) -> dict[str, Any]:
    """The options of an object that its preset does not have."""
    options: dict[str, Any] = record.options.model_dump(mode="json")
    base: dict[str, Any] = {}
    if preset:
        base = load_preset(f"{PRESET_FOLDERS['object']}/{preset}", ObjectOptions).model_dump(mode="json")
    return {name: options[name] for name in OF_A_ROW - {"guidance"} if options[name] != base.get(name)}


def _name_of(path: Path, library: Library) -> str:
    name = library.name_of(path)
    if name is None:
        raise UserError(f"It was made from {path}, which the studio does not have: upload it.")
    return name
