"""The end of a batch: a page of the folder, a table of its jobs (summary.COMMAND.csv), figures in print."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from core.batches.gallery import FILE, write_gallery
from core.batches.run import BatchJob, Outcome
from core.command_line.printing import print_table
from core.io.atomic import atomic_write, find_drafts
from core.io.files.locks import lock
from core.io.files.plan import PlannedOutput

COLUMNS = ("file", "prompt", "seed", "state", "seconds", "error")
OF_THE_RUN = ("load", "since_start")  # seconds of a record that are no part of one job


def write_report(
    planned: Sequence[PlannedOutput], jobs: Sequence[BatchJob], outcome: Outcome, console: Console
) -> None:
    """Writes the page and the table of the folder that the jobs are in; prints what became of them.

    planned: the jobs' prompts, seeds and files, in the order of `jobs`.

    Several processes write one after another: the last one has seen the files of all.
    """
    folder = planned[0].file.parent
    table = folder / f"summary.{jobs[0].files.kind.command}.csv"
    with lock(folder / f".{FILE}.lock", wait=True):
        for draft, file in find_drafts(folder):  # of processes that were killed here
            if file.name in (FILE, table.name):
                draft.unlink(missing_ok=True)
        page = write_gallery(folder)
        summary = write_summary(table, planned, jobs)
    written = " and ".join(str(path) for path in (page, summary) if path)
    console.print(f"{written or folder}:")
    print_table(console, _table(outcome))


def write_summary(path: Path, planned: Sequence[PlannedOutput], jobs: Sequence[BatchJob]) -> Path | None:
    """Writes a row for each job: its file, prompt and seed, whether it is made or failed, seconds, error.

    Returns the path, or None where there is another file of that name.
    """
    header = ",".join(COLUMNS)
    if path.exists() and path.read_text(encoding="utf-8", errors="replace").split("\n")[0].strip() != header:
        return None
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for output, job in zip(planned, jobs, strict=True):
            error = _failure(job)
            seconds = None if error else _seconds(job.files.record)
            state = "failed" if error else "made"
            rows.writerow([job.file.name, output.prompt, output.seed, state, seconds, error])
    return path


def _failure(job: BatchJob) -> str:
    """The last line of the job's failure; empty unless it failed."""
    if not job.failure.exists():
        return ""
    return job.failure.read_text(encoding="utf-8").strip().rsplit("\n", 1)[-1]


def _seconds(record: Path) -> float | None:
    """The seconds that a job took by its record; None where it has none."""
    try:
        seconds: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))["seconds"]
        return round(sum(value for name, value in seconds.items() if name not in OF_THE_RUN), 2)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _table(outcome: Outcome) -> Table:
    table = Table("made", "already there", "failed", "s each")
    made = len(outcome.made)
    each = f"{outcome.seconds / made:.2f}" if made else ""
    table.add_row(str(made), str(len(outcome.there)), str(len(outcome.failed)), each)
    return table
