"""What `dreamlift doctor` looks at, and how each thing that it finds is mended."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch

from core.bundled import BUNDLED
from core.io.resources import GIB, free_disk, free_memory, gib
from core.io.text import count_of

LEAST_MEMORY, LEAST_DISK = GIB, GIB // 10  # an object takes the former
EXTRAS = {  # module -> extra of this package that installs it, and what for
    "gradio": ("studio", "the page `dreamlift studio`"),
    "peft": ("lora", "LoRA weights"),
    "pxr": ("usd", "meshes as .usdz"),
}
CLONE = BUNDLED.parents[1] / ".git"  # there where the package is used from a clone
REPAIR = f"git checkout -- {BUNDLED}" if CLONE.exists() else "pip install --force-reinstall --no-deps ."


class Finding(NamedTuple):
    """Something that is not as it should be.

    hint: the command that mends it.
    """

    problem: str
    hint: str


def find_problems(device: torch.device) -> Iterator[Finding]:
    """What is not as it should be on this machine, the weights excepted."""
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        yield Finding(
            f"There is an NVIDIA GPU, and this PyTorch ({torch.__version__}) does not see it.",
            "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu128",
        )
    if (memory := free_memory()) < LEAST_MEMORY:
        yield Finding(f"{gib(memory)} of memory are free; an object takes one GiB.", "ulimit -v unlimited")
    here = Path.cwd()
    if (disk := free_disk(here)) < LEAST_DISK:
        yield Finding(f"{gib(disk)} are free on the disk of {here}.", "cd OTHER/FOLDER")
    if not os.access(here, os.W_OK):
        yield Finding(f"{here} cannot be written, where outputs go unless --out is given.", "cd OTHER/FOLDER")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if (threads := torch.get_num_threads()) > cores:
        problem = f"PyTorch uses {threads} threads on {count_of(cores, 'processor')}."
        yield Finding(problem, f"export OMP_NUM_THREADS={cores}")
    yield from _cache()
    for module, (extra, purpose) in EXTRAS.items():
        if find_spec(module) is None:
            yield Finding(f"Not installed: the extra {extra}, for {purpose}.", f'pip install ".[{extra}]"')


def _cache() -> Iterator[Finding]:
    """The hub's cache, where it cannot be written."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE)
    above = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    if not os.access(above, os.W_OK):
        yield Finding(f"Models of the hub cannot be kept in {cache}.", "export HF_HOME=OTHER/FOLDER")
