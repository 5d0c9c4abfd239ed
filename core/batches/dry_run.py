"""--dry-run: what a run would make, and what it would take, without making it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from core.batches.requirements import Requirements
from core.command_line.progress import duration
from core.command_line.reporting import Report, print_object, report_form, report_made, say
from core.io.files.names import OutputFiles
from core.io.files.record import MadeBy
from core.io.resources import free_disk, free_memory, gib

LISTED = 20  # outputs, in words


class Forecast(NamedTuple):
    """An output that would be made. sentence: about it, without its path. facts: JSON values."""

    files: OutputFiles
    made: MadeBy
    sentence: str
    facts: Mapping[str, Any]


def print_forecast(
    outputs: Sequence[Forecast], model: str, needed: Requirements, seconds: float | None
) -> None:
    """Prints what would be made: in words, as paths, or as JSON objects, on stdout.

    model: its name. needed: of the run. seconds: that it takes; None where nothing is known.
    """
    words = report_form() is Report.WORDS
    for output in outputs[:LISTED] if words else outputs:
        files = [output.files.main, *output.files.companions, output.files.record]
        if report_form() is not Report.JSON:
            report_made(files, f"{output.sentence}, seed {output.made.seed}", {})
            continue
        each = {"seconds": seconds and round(seconds / len(outputs), 1), "memory": round(needed.memory)}
        each["disk"] = round(needed.disk / len(outputs))
        facts = {**output.made._asdict(), **output.facts, "model": model, **each, "dry_run": True}
        print_object({"file": str(files[0]), **facts, "files": [*map(str, files)]})
    if words and len(outputs) > LISTED:
        say(f"... and {len(outputs) - LISTED:,} more.")
    folder = outputs[0].files.output.parent
    say(
        f"Nothing was made. With the model {model} this would take "
        f"{'an unknown time' if seconds is None else f'about {duration(seconds)}'}, "
        f"{gib(needed.memory)} of memory ({gib(free_memory())} are free) and {gib(needed.disk)} on the disk "
        f"({gib(free_disk(folder))} are free)."
    )
