"""The log of a run, `log.jsonl` in its folder: one line of JSON for the steps since the line before."""

import json
from pathlib import Path

from core.io.atomic import atomic_write

LOG = "log.jsonl"


def append(run: Path, line: dict[str, float]) -> None:
    """Appends a line, whose "step" is the last one that it is about."""
    with (run / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read(run: Path) -> list[dict[str, float]]:
    """All lines that are whole; none when there is no log."""
    path = run / LOG
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def truncate(run: Path, step: int) -> None:
    """Removes the lines after a step, whose steps are repeated by a run that resumes there."""
    if (run / LOG).is_file():
        valid = [line for line in read(run) if line["step"] <= step]
        with atomic_write(run / LOG) as draft:
            draft.write_text("".join(json.dumps(line) + "\n" for line in valid), encoding="utf-8")
