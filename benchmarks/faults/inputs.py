"""Bad input for every option of every command: it must be refused in one sentence, before any work."""

import argparse
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from benchmarks.faults import bad_files, values
from benchmarks.faults.commands import LEGAL, Option, options
from benchmarks.faults.trial import Outcome, call, stub_the_work

STATES = ("refused", "accepted", "traceback", "too slow", "unclear")


class Case(NamedTuple):
    """One call. legal: whether it is to be accepted. files: written into its folder, by name."""

    kind: str
    arguments: list[bytes]
    legal: bool = False
    files: Mapping[str, bytes] = MappingProxyType({})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m benchmarks.faults inputs`."""
    parser.add_argument("--count", type=int, default=1500, help="cases, evenly over their kinds")
    parser.add_argument("--seed", type=int, default=0)
    limit = "seconds of the processor until the work begins"
    parser.add_argument("--limit", type=float, default=10.0, help=limit)
    parser.add_argument("--show", type=int, default=400, help="letters of a failure's output that are shown")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the cases and prints a table; returns 1 where anything is wrong."""
    stub_the_work()
    counts: Counter[tuple[str, str]] = Counter()
    wrong = slowest = 0
    for case, outcome in trials(arguments.count, arguments.seed, arguments.limit):
        counts[case.kind, outcome.state] += 1
        slowest = max(slowest, outcome.seconds)
        if outcome.state != expected(case):
            wrong += 1
            print(f"{case.kind}: {outcome.state}: {case.arguments} {dict(case.files)}"[: 3 * arguments.show])
            print(outcome.output[-arguments.show :])
    print(f"{'':14}" + "".join(f"{state:>12}" for state in STATES))
    for kind in sorted({kind for kind, _ in counts}):
        print(f"{kind:14}" + "".join(f"{counts[kind, state]:12}" for state in STATES))
    print(f"{sum(counts.values())} cases, {wrong} wrong, the slowest took {slowest:.1f} s")
    return int(wrong > 0)


def trials(count: int, seed: int, limit: float) -> Iterator[tuple[Case, Outcome]]:
    """Cases with their outcomes; `stub_the_work` comes first."""
    with tempfile.TemporaryDirectory() as root:
        given = bad_files.write_given(Path(root) / "given")
        for case in cases(count, seed):
            folder = Path(root) / "case"
            shutil.copytree(given, folder, symlinks=True, copy_function=os.link)
            os.mkfifo(folder / "pipe")
            for name, content in case.files.items():
                (folder / name).write_bytes(content)
            yield case, call(case.arguments, folder, limit)
            shutil.rmtree(folder)


def expected(case: Case) -> str:
    """The state that is right."""
    return "accepted" if case.legal else "refused"


def cases(count: int, seed: int) -> Iterator[Case]:
    """`count` cases, the kinds in turn."""
    rng = random.Random(seed)
    known = options()
    kinds = [_values, _values, _values, _presets, _prompt_files, _files, _texts, _shapes, _legal]
    for number in range(count):
        yield kinds[number % len(kinds)](rng, known)


def _call(option: Option, value: str | bytes, *more: str) -> list[bytes]:
    """A legal call with one more option; an argument of the command takes the place of its legal value."""
    legal = list(LEGAL[option.command])
    text = value if isinstance(value, str) else os.fsdecode(value)
    given = option.given(text)
    if option.flag:
        if option.flag in legal:
            at = legal.index(option.flag)
            del legal[at : at + 2]
        legal += given
    else:
        legal[0] = text
    return [os.fsencode(part) for part in (*option.command.split(), *legal, *more)]


def _values(rng: random.Random, known: list[Option]) -> Case:
    """A number, path, name or choice that no option can take."""
    option = rng.choice([each for each in known if each.kind in values.BAD and each.name not in values.FREE])
    return Case(option.kind, _call(option, rng.choice(values.BAD[option.kind](option))))


def _presets(rng: random.Random, known: list[Option]) -> Case:
    """A preset that is no YAML, or has a value that its key cannot take."""
    option = rng.choice([each for each in known if each.name == "preset"])
    content = bad_files.bad_preset(rng, option.command)
    return Case("preset", _call(option, "bad.yaml"), files={"bad.yaml": content})


def _prompt_files(rng: random.Random, known: list[Option]) -> Case:
    """A file of prompts or a script that has a row no command can draw."""
    option = rng.choice([each for each in known if each.name in ("prompts", "script")])
    name, content = bad_files.bad_prompts(rng, option)
    call = [os.fsencode(part) for part in (option.command, option.flag, name)]
    return Case(option.name, call, files={name: content})


def _files(rng: random.Random, known: list[Option]) -> Case:
    """A file that is damaged, empty or of another kind."""
    option = rng.choice([each for each in known if each.name in values.INPUT_FILES])
    name, content = bad_files.bad_file(rng)
    return Case("file", _call(option, name), files={name: content})


def _texts(rng: random.Random, known: list[Option]) -> Case:
    """A text that is none, or has letters that no terminal should get."""
    option = rng.choice([each for each in known if each.kind == "text"])
    return Case("text", _call(option, rng.choice(values.NO_TEXTS)))


def _shapes(rng: random.Random, known: list[Option]) -> Case:
    """Calls of the wrong shape: unknown options, values missing or too many, two bad options."""
    command = rng.choice([*LEGAL])
    mine = [each for each in known if each.command == command]
    option = rng.choice([each for each in mine if each.flag])
    shape = rng.choice(["unknown", "missing", "more", "both"])
    legal = [*command.split(), *LEGAL[command]]
    if shape == "unknown":
        parts = [*legal, f"--{rng.choice(['[b]', 'no-such', 'seed-', 'ü', 'out put'])}"]
    elif shape == "missing" and option.kind != "boolean":
        parts = [*legal, option.flag]
    elif shape == "more":
        parts = [*legal, *["and more"] * 3]
    else:
        return Case("shape", [*_call(option, "x\x00y".replace("\x00", "\x07")), b"--no-such=[/b]"])
    return Case("shape", [os.fsencode(part) for part in parts])


def _legal(rng: random.Random, known: list[Option]) -> Case:
    """What looks strange and is legal."""
    command, arguments, files = rng.choice(values.LEGAL_CALLS)
    parts = [os.fsencode(part) for part in (*command.split(), *(arguments or LEGAL[command]))]
    return Case("legal", parts, legal=True, files=files)
