"""Values that users give, on the command line and in files: numbers are finite, and texts are text."""

import math
import os
import unicodedata
from collections.abc import Mapping, Sequence

from core.errors import UserError
from core.io.text import count_of

LARGEST = 2**63 - 1  # of a whole number
MOST = 1e15  # of other numbers; networks compute with seven digits
LONGEST = 10_000  # characters of a text; no encoder reads as many of a prompt
SHOWN = 60  # characters of a value that a message repeats
PER_CORE = 4  # worker processes at most
SEEDS = 2**63 - 2**31  # seeds are below, so that those counted up from one stay below 2^63


def check_value(value: object, label: str) -> None:
    """Checks a value, or all values in lists and mappings. label: of it in messages, as "--fps".

    Raises UserError for numbers that are not finite or are too large, and for what `check_text` refuses.
    """
    if isinstance(value, str):
        check_text(value, label)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{label} cannot be {value}: give a finite number.")
    elif isinstance(value, float) and abs(value) > MOST:
        raise UserError(f"{label} cannot be {value:g}: give a number below {MOST:g}.")
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise UserError(f"{label} has a number of {value.bit_length()} bits: give one below 2^63.")
    elif isinstance(value, Mapping):
        for name, part in value.items():  # pyright: ignore[reportUnknownVariableType]
            check_value(name, label)
            check_value(part, f"{label}: {name}")
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for part in value:  # pyright: ignore[reportUnknownVariableType]
            check_value(part, label)


def check_text(text: str, label: str) -> None:
    """Raises UserError for text that no file or terminal can hold, or that is too long."""
    if len(text) > LONGEST:
        raise UserError(f"{label} has {len(text)} characters: give at most {LONGEST}.")
    for letter in text:
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\t\n\r":
            raise UserError(f"{label} has the character U+{ord(letter):04X}, which is no text: leave it out.")


def check_range(value: float, low: float, high: float, label: str) -> None:
    """Raises UserError unless low <= value <= high."""
    if not low <= value <= high:
        raise UserError(f"{label} cannot be {shortened(value)}: give a number from {low:,} to {high:,}.")


def check_seed(seed: int, label: str = "--seed") -> None:
    """Raises UserError unless a number can be a seed."""
    if not 0 <= seed < SEEDS:
        raise UserError(f"{label} cannot be {seed}: a seed is a whole number from 0 to {SEEDS - 1}.")


def shortened(value: object) -> str:
    """A value for a message, cut where it is long."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 20]}...{text[-15:]}"


def check_processes(count: int, label: str = "--processes") -> None:
    """Raises UserError for a number of worker processes that this machine cannot be asked for."""
    cores = os.cpu_count() or 1
    if not 1 <= count <= PER_CORE * cores:
        raise UserError(
            f"{label} cannot be {count}: this machine has {count_of(cores, 'core')}, give 1 to "
            f"{PER_CORE * cores}."
        )
