"""Claims of papers and the run that tests them for several seeds."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.report import write_json

Lab = TypeVar("Lab")
Figures = dict[int, dict[str, Any]]
"""Seed -> name of the ordering -> its figures."""


class Claim(NamedTuple):
    """A margin and its lower limit `least`, both in the units that `what` names."""

    what: str
    margin: float
    least: float

    @property
    def holds(self) -> bool:
        """Whether the margin reaches its limit."""
        return self.margin >= self.least


def options(description: str | None, names: Sequence[str]) -> argparse.Namespace:
    """The command line: seeds, only (names of orderings), effort and out (a folder, which is made)."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--effort", type=float, default=1.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    return arguments


def run(
    arguments: argparse.Namespace,
    lab_of: Callable[[int], Lab],
    orderings: Mapping[str, Callable[[Lab], tuple[dict[str, Any], list[Claim]]]],
    file: str,
    draw: Callable[[Path, Figures], None] | None = None,
) -> None:
    """Tests the claims and prints their margins; exits with code 1 if one does not hold.

    arguments: of `options`. lab_of: what an ordering is measured with, from the seed. file: name of the JSON
    file in the folder `out`. draw: plots the figures into a PNG file beside it.
    """
    figures: Figures = {}
    claims: dict[int, list[Claim]] = {}
    start = time.process_time()
    for seed in arguments.seeds:
        lab = lab_of(seed)
        figures[seed], claims[seed] = {}, []
        for name in arguments.only:
            figures[seed][name], new_claims = orderings[name](lab)
            claims[seed] += new_claims
            for claim in new_claims:
                print(f"seed {seed}: {claim.what} {claim.margin:.3f}, at least {claim.least:g}", flush=True)
            if arguments.out:  # written after every ordering, so that an interrupted run leaves its results
                write_json(arguments.out / file, {"effort": arguments.effort, "figures": figures})
    Console().print(table(claims))
    print(f"{time.process_time() - start:.0f} s of processor time")
    if arguments.out and draw:
        draw((arguments.out / file).with_suffix(".png"), figures)
    sys.exit(0 if all(claim.holds for of_seed in claims.values() for claim in of_seed) else 1)


def table(claims: Mapping[int, Sequence[Claim]]) -> Table:
    """Margins as a table: one row per claim, one column per seed."""
    rows = Table("claim", "at least", *(f"seed {seed}" for seed in claims), title="Margins")
    for row in zip(*claims.values(), strict=True):
        margins = (
            f"{claim.margin:.3f}" if claim.holds else f"[red]{claim.margin:.3f}[/red]" for claim in row
        )
        rows.add_row(row[0].what, f"{row[0].least:g}", *margins)
    return rows
