"""What a run needs of memory and disk, compared with what there is before weights are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from core.errors import UserError
from core.io.files.plan import check_count, output_place
from core.io.resources import free_disk, free_memory, gib, used_memory


class Requirements(NamedTuple):
    """Bytes that an output, or a run, needs. memory: of the whole process at its peak, with its libraries."""

    memory: float
    disk: float


def check_requirements(
    rows: Sequence[Requirements],
    num: int,
    out: str | None,
    word: str,
    less_memory: str,
    *,
    again: bool = False,
    force: bool | None = None,
) -> Requirements:
    """What a run needs that makes `num` outputs of each row one after another.

    out: as in `plan_outputs`. word: for an output. less_memory: what to do where there is too little, in the
    imperative. again: some of the outputs may be there, so that the disk is not checked. force: the option
    by which a command runs in spite of the estimate; None for a command without.

    Raises UserError where the machine has less, and for impossible numbers.
    """
    check_count(num, len(rows), word)
    needed = Requirements(max(row.memory for row in rows), num * sum(row.disk for row in rows))
    if force:
        return needed
    count, (folder, _) = num * len(rows), output_place(out)
    work = f"This {word}" if count == 1 else f"These {count:,} {word}s"
    otherwise = ", or --force to run anyway" if force is not None else ""
    memory = free_memory()
    if needed.memory - used_memory() > memory:  # a part of it may be in memory already
        raise UserError(
            f"{work} would need about {gib(needed.memory)} of memory, and {gib(memory)} are free: "
            f"{less_memory}{otherwise}."
        )
    disk = free_disk(folder)
    if needed.disk > disk and not again:
        fewer = "a smaller --num" if num > 1 else "fewer prompts" if len(rows) > 1 else "another --out"
        raise UserError(
            f"{work} would need about {gib(needed.disk)} on the disk of the folder {folder}, and {gib(disk)} "
            f"are free: give {fewer}{otherwise}."
        )
    return needed
