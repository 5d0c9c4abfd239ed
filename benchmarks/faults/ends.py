"""Legal calls that look strange, with little work, run to their ends: nothing is refused after the work."""

import argparse
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.faults import bad_files, values
from benchmarks.faults.commands import LEGAL
from benchmarks.faults.trials import print_outcomes
from benchmarks.faults.work import OBJECT, Run, import_all, names

LITTLE = {  # arguments that make the work of a command small
    "gen-video": ["--frames", "16", "--steps", "2", "--super-resolution", "0"],
    "dream3d": ["--preset", "object.yaml"],
    "dreamlift image": ["--steps", "2"],
    "dreamlift toybox": [],
    "dreamlift data": ["--cache", "cache"],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the calls and prints their outcomes; 1 where one does not end with files."""
    import_all()
    calls = [call for call in values.LEGAL_CALLS if call[0] in LITTLE]
    outcomes: dict[str, Counter[str]] = {command: Counter() for command in LITTLE}
    with tempfile.TemporaryDirectory() as place:
        given = bad_files.write_given(Path(place) / "given")
        os.environ["HOME"] = place  # where ~ is
        for number, (command, strange, files) in enumerate(calls):
            folder = Path(place) / f"{number:02}"
            shutil.copytree(given, folder, symlinks=True)
            (folder / "object.yaml").write_text(OBJECT, encoding="utf-8")
            for name, content in files.items():
                (folder / name).write_bytes(content)
            before = names(Path(place))
            legal = strange or LEGAL[command]
            call = Run([*command.split(), *legal, *LITTLE[command]], folder, Path(place) / "printed.txt")
            made = call.wait() == 0 and names(Path(place)) - before
            outcomes[command]["ended" if made else "failed"] += 1
            if not made:
                print(f"{call.arguments}: exit code {call.code}: {call.printed[-400:]}", flush=True)
    print_outcomes(outcomes)
    return int(any(counts["failed"] for counts in outcomes.values()))
