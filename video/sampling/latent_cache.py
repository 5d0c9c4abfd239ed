"""Cache of sampled latents, from the last sampling step until the clip is written: decoding may fail."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.errors import UserError
from core.finite import is_finite
from core.io.files.record import MadeBy, checkpoint_metadata
from core.io.weights import write_tensors

NAME, REQUEST, SHAPE = "latents", "request", "shape"


class LatentCache:
    """The latents of one clip in a file, with the request that they belong to: only those are returned."""

    def __init__(
        self, path: Path, request: dict[str, Any], made: MadeBy, may_differ: Collection[str] = ()
    ) -> None:
        """request: what the clip depends on, as JSON values. may_differ: names of what latents do not.

        made: prompt and seed as they were given.
        """
        self.path, self.made = path, made
        self.request, self.may_differ = request, may_differ
        self.held = False  # whether the file belongs to this request

    def save(self, latents: Tensor) -> None:
        """Writes the latents. Raises WriteError where they cannot be written."""
        metadata = {REQUEST: json.dumps(self.request), SHAPE: json.dumps([*latents.shape])}
        metadata |= checkpoint_metadata(self.made)
        write_tensors(self.path, {NAME: latents}, metadata)
        self.held = True

    def load(self) -> tuple[Tensor, dict[str, Any]] | None:
        """The latents and the request they were sampled for; None without a file.

        Raises UserError for another request and for a damaged file.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                latents, before = file.get_tensor(NAME), json.loads(file.metadata()[REQUEST])
                shape = json.loads(file.metadata()[SHAPE])
            if not isinstance(before, dict) or shape != [*latents.shape] or not is_finite(latents):
                raise ValueError
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise UserError(
                f"The latents {self.path} are damaged: sample again, without --resume."
            ) from error
        for name in sorted((self.request.keys() | before.keys()) - set(self.may_differ)):
            if self.request.get(name) != before.get(name):
                raise UserError(
                    f"The latents {self.path} were made with another {name}: give the same options to decode "
                    "them, or sample again, without --resume."
                )
        self.held = True
        return latents, before

    def drop(self) -> None:
        """Deletes the file, if there is one."""
        self.path.unlink(missing_ok=True)
