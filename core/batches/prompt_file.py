"""Files of prompts: one a line, or rows that have a seed, a file name and options of their own."""

import csv
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from core.errors import UserError
from core.io.files.names import OutputKind
from core.io.files.plan import OutputRequest, PlannedOutput, Replacing, plan_outputs
from core.io.paths import read_text
from core.io.values import check_value

PROMPT_COLUMNS = ("prompt", "text", "caption")
OWN = ("seed", "out")  # columns that are no options

Options = TypeVar("Options")


class PromptRow(NamedTuple):
    """One prompt of a file.

    seed, out: of this row, if it has them. options: the others that it gives, by their names.
    place: file and row, for messages.
    """

    prompt: str
    seed: int | None = None
    out: str | None = None
    options: Mapping[str, Any] = {}
    place: str = ""

    def change(self, change: Callable[..., Options], known: Collection[str]) -> Options:
        """What a function that takes options by their names makes of this row's.

        Raises UserError, which names the row, where one is not known or has an impossible value.
        """
        for name in self.options:
            if name not in known:
                options = ", ".join(sorted(known))
                raise UserError(f"{self.place}: {name!r} is no option of one prompt; there are {options}.")
        if not self.options:
            return change()
        try:
            return change(**self.options)
        except UserError as error:
            raise UserError(f"{self.place}: {error}") from error


def read_prompt_file(path: Path) -> list[PromptRow]:
    """The prompts of a file.

    .csv has a header and .jsonl an object a line: `prompt` (or `text`, `caption`), `seed`, `out`, and options
    by their names; empty cells and null are not given. Any other file has one prompt a line; blank lines are
    left out.

    Raises UserError for a file that cannot be read, and for rows without a prompt or with a damaged seed.
    """
    lines = read_text(path, "the prompts of").split("\n")
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            rows = [*csv.DictReader(lines, strict=True)]
        elif suffix == ".jsonl":
            rows = [json.loads(line) for line in lines if line.strip()]
        else:
            rows = [{"prompt": line.strip()} for line in lines if line.strip()]
    except (ValueError, csv.Error, RecursionError) as error:
        raise UserError(f"Cannot read the prompts of {path}: {error}.") from error
    if not rows:
        raise UserError(f"There is no prompt in {path}.")
    return [_row(row, f"{path}, row {number}") for number, row in enumerate(rows, start=1)]


def _row(row: object, place: str) -> PromptRow:
    if not isinstance(row, dict):
        raise UserError(f"{place} is no JSON object.")
    if None in row:
        raise UserError(f"{place} has more cells than the header.")
    check_value(row, place)
    given = {
        str(name).strip().replace("-", "_"): value
        for name, value in row.items()
        if value is not None and value != ""
    }
    prompt = next((str(given[name]).strip() for name in PROMPT_COLUMNS if name in given), "")
    if not prompt:
        raise UserError(f"{place} has no prompt.")
    seed = given.get("seed")
    if seed is not None:
        try:
            seed = int(str(seed))
        except ValueError as error:
            raise UserError(f"{place}: the seed {seed!r} is no whole number.") from error
    options = {name: value for name, value in given.items() if name not in (*PROMPT_COLUMNS, *OWN)}
    out = given.get("out")
    return PromptRow(prompt, seed, None if out is None else str(out), options, place)


def plan_rows(
    rows: Sequence[PromptRow], num: int, seed: int, out: str | None, kind: OutputKind, replacing: Replacing
) -> list[PlannedOutput]:
    """The planned outputs of rows, with their own seeds and names; see `core.io.files.plan.plan_outputs`."""
    requests = [OutputRequest(row.prompt, row.seed, row.out) for row in rows]
    return plan_outputs(requests, num, seed, out, kind, replacing)
