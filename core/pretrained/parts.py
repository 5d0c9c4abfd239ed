"""The parts of a diffusers folder, each read by itself and compared with what its network needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.errors import UserError
from core.notice import notice
from core.pretrained.hub import INDEX, UNUSED, checkpoint_kind, component_classes
from core.pretrained.quiet import quiet
from core.pretrained.reading import AGAIN, misfit, reading
from core.pretrained.weights import part_files, variant_of

LIBRARIES = ("diffusers", "transformers")
NOT_EXPORTED = {"UnCLIPTextProjModel": "UnCLIPPipeline"}  # by diffusers: its pipeline's module has it
SCHEDULER = "scheduler"

Dtypes = torch.dtype | Mapping[str, torch.dtype]
"""Of the weights: one for all parts, or by part, with "default" for the others."""


def read_pipeline(
    folder: Path, dtypes: Dtypes, *, kind: str | None = None, only: Collection[str] = ()
) -> Any:
    """diffusers' pipeline of a folder, on the CPU.

    kind: its class, where it is not that of the index.
    only: parts to be read; the others but the scheduler are None. All are read unless given.

    Raises UserError for parts that are missing, damaged or unknown, and for weights that are missing or have
    other shapes than the networks; tensors that no network needs are named in a notice.
    """
    with quiet():
        from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    classes = component_classes(folder)
    unread = [part for part in classes if part in UNUSED or (only and part not in (*only, SCHEDULER))]
    wanted = {part: named for part, named in classes.items() if part not in unread}
    for part in wanted:
        if not (folder / part).is_dir() or not any((folder / part).iterdir()):
            raise UserError(f"{folder} lacks the part {part}, which its {INDEX} lists. {AGAIN}")
    found: dict[str, Any] = {part: _class(folder / part, *named) for part, named in wanted.items()}
    networks = {
        part: read_network(folder / part, of_part, _dtype(part, dtypes))
        for part, of_part in found.items()
        if issubclass(of_part, nn.Module)
    }
    pipeline: Any = _class(folder, "diffusers", kind) if kind else DiffusionPipeline
    with reading(folder), quiet():
        if any(name in NOT_EXPORTED for _, name in wanted.values()):  # which diffusers does not load either
            others = {part: found[part] for part in found.keys() - networks.keys()}
            read = {part: each.from_pretrained(folder / part) for part, each in others.items()}
            return _class(folder, "diffusers", kind or checkpoint_kind(folder))(**networks, **read)
        return pipeline.from_pretrained(
            folder, torch_dtype=dtypes, local_files_only=True, **networks, **dict.fromkeys(unread)
        )


def read_network(part: Path, kind: Any, dtype: torch.dtype) -> Any:
    """A network of class `kind` with the weights of a part's folder. Errors are those of `read_pipeline`."""
    files = part_files(part)
    if not files:
        raise UserError(f"{part} has no weights: it has no .safetensors file. {AGAIN}")
    with reading(part), quiet():
        network, found = kind.from_pretrained(
            part,
            torch_dtype=dtype,
            variant=variant_of(files[0]),
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # transformers then names them; diffusers raises and names one
            output_loading_info=True,
        )
    if missing := sorted(found["missing_keys"]):
        raise UserError(f"The weights in {part} lack {_named(missing)}. {AGAIN}")
    if mismatched := sorted(found["mismatched_keys"]):
        name, stored, needed = mismatched[0]
        raise misfit(part, name, tuple(needed), tuple(stored))
    if extra := sorted(found["unexpected_keys"]):
        notice(f"The weights in {part} have tensors that its network does not use: {_named(extra)}.")
    return network


def _class(part: Path, library: str, name: str) -> type:
    """A class that an index names. Raises UserError where the libraries do not have it."""
    with quiet():  # they import what is used of them now, and torchao where it is installed
        import diffusers
        import transformers

        found = getattr({"diffusers": diffusers, "transformers": transformers}.get(library), name, None)
    if name in NOT_EXPORTED:
        found = getattr(import_module(getattr(diffusers, NOT_EXPORTED[name]).__module__), name, None)
    if not isinstance(found, type):
        known = ", ".join(f"{module.__name__} {module.__version__}" for module in (diffusers, transformers))
        raise UserError(f"{part} is of the class {name} of {library}, which is not known to {known}.")
    return found


def _dtype(part: str, dtypes: Dtypes) -> torch.dtype:
    return dtypes if isinstance(dtypes, torch.dtype) else dtypes.get(part, dtypes["default"])


def _named(names: list[str]) -> str:
    """The first of some names, and how many more there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
