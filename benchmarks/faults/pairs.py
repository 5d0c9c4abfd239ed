"""Two processes on one output or folder: the second is refused, or shares the work; nothing is damaged."""

import argparse
import random
from pathlib import Path

from benchmarks.faults import trials
from benchmarks.faults.work import WORKS, Expected, Run, Work, names, results

GOOD = ("one refused", "one after the other", "shared")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    trials.add_arguments(parser, pair, 20, GOOD, [work.name for work in WORKS])


def pair(work: Work, expected: Expected, folder: Path, inputs: Path, chance: random.Random) -> str:
    """Starts a second process while the first is at work."""
    outputs = [folder.with_suffix(f".{number}.txt") for number in (1, 2)]
    arguments = work.given(folder, inputs)
    first = Run(arguments, folder, outputs[0])
    first.wait(first.began + chance.uniform(0, 0.8) * expected.seconds)
    second = Run(arguments, folder, outputs[1])
    codes = [first.wait(), second.wait()]
    if results(work, folder) != expected.results:
        return "damaged"
    if stray := names(folder) - expected.names:
        return f"left behind: {sorted(stray)}"
    if codes == [0, 0]:
        return "one after the other" if work.locks else "shared"
    if codes == [0, 2] and "already holds a run" in second.printed:
        return "one after the other"
    for run, code in zip((first, second), codes, strict=True):
        if code and not (code == 2 and run.is_one_sentence and "nother process" in run.printed):
            return f"exit code {code}: {run.printed[-300:]!r}"
    return "one refused" if 0 in codes else "both refused"
