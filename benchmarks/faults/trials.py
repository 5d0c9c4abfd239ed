"""Trials of one kind over all works, and the table of their outcomes."""

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.faults.work import WORKS, Expected, Work, import_all, undisturbed, write_given

Trial = Callable[[Work, Expected, Path, Path, random.Random], str]
"""(work, what it leaves undisturbed, an empty folder, the inputs, chance) -> the outcome in a few words."""


def add_arguments(
    parser: argparse.ArgumentParser, trial: Trial, count: int, good: Sequence[str], works: Sequence[str]
) -> None:
    """Adds the arguments of a kind of trials. good: outcomes that are right. works: names of those tried."""
    parser.add_argument("--count", type=int, default=count, help="trials, in turn over the commands")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--works", nargs="+", choices=works, default=[*works], help="commands to try")
    parser.set_defaults(run=lambda arguments: run(arguments, trial, good))


def run(arguments: argparse.Namespace, trial: Trial, good: Sequence[str]) -> int:
    """Runs the trials and prints their outcomes; 1 where one is not among the good ones."""
    import_all()
    chance = random.Random(arguments.seed)
    works = [work for work in WORKS if work.name in arguments.works]
    outcomes: dict[str, Counter[str]] = {work.name: Counter() for work in works}
    with tempfile.TemporaryDirectory() as place:
        inputs = Path(place) / "given"
        write_given(inputs)
        expected: dict[str, Expected] = {}
        for number in range(arguments.count):
            work = works[number % len(works)]
            folder = Path(place) / f"{number:04}"
            folder.mkdir()
            if work.name not in expected:
                expected[work.name] = undisturbed(work, Path(place) / work.name, inputs)
            outcome = trial(work, expected[work.name], folder, inputs, chance)
            outcomes[work.name][outcome] += 1
            print(f"{number + 1} of {arguments.count}: {work.name}: {outcome}", flush=True)
    print_outcomes(outcomes)
    return int(any(outcome not in good for counts in outcomes.values() for outcome in counts))


def print_outcomes(outcomes: dict[str, Counter[str]]) -> None:
    """Prints a row for each work, a column for each outcome, and the totals."""
    total: Counter[str] = sum(outcomes.values(), Counter())
    table = Table("", *total, "trials")
    for name, counts in {**outcomes, "total": total}.items():
        table.add_row(name, *(str(counts[outcome]) for outcome in total), str(counts.total()))
    Console().print(table)
