"""Kills at random moments of long commands: the next run makes the same bytes and leaves nothing behind."""

import argparse
import random
from pathlib import Path

from benchmarks.faults import trials
from benchmarks.faults.work import WORKS, Expected, Run, Work, names, results

GOOD = ("the same bytes", "ended before the kill")
TRIES = 5  # moments that are tried until a run is killed
MOST = 2  # kills of one output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    trials.add_arguments(parser, kill, 150, GOOD, [work.name for work in WORKS])


def kill(work: Work, expected: Expected, folder: Path, inputs: Path, chance: random.Random) -> str:
    """Kills runs of a work, then lets one end."""
    output, killed, most = folder.with_suffix(".txt"), 0, chance.randint(1, MOST)
    for _ in range(TRIES):
        run = Run(work.given(folder, inputs), folder, output)
        killed += run.kill(chance.uniform(0.02, 1.0) * expected.seconds)
        if killed == most:
            break
    last = Run(work.given(folder, inputs), folder, output)
    if last.wait() != 0:
        return f"the next run fails: {last.printed[-200:]!r}"
    if results(work, folder) != expected.results:
        return "other bytes"
    if stray := names(folder) - expected.names:
        return f"left behind: {sorted(stray)}"
    return "the same bytes" if killed else "ended before the kill"
