"""Training data of adapters: latents and text states, encoded once and stored with the prepared shards.

The encoders of a checkpoint are needed only where something is missing, and not during the training.
"""

import hashlib
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from core.attributes import encode_attributes
from core.condition import Condition
from core.errors import UserError
from core.io.weights import write_tensors
from core.training.data import CAPTIONS, Shards

TEXTS_AT_ONCE = 8


class TextStates:
    """Conditions of captions by their line, at full length; the last one is the empty prompt."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        """tensors: of the file that `read_text_states` writes."""
        self.lines = tensors["lines"]
        self.tokens, self.mask, self.pooled = tensors["tokens"], tensors["mask"], tensors.get("pooled")

    def __len__(self) -> int:
        return len(self.lines)

    def __call__(self, caption: Tensor) -> Condition:
        """Conditions of length B, float32 on the CPU, for lines (B,); -1 is the empty prompt."""
        row = self.lines[caption]
        pooled = None if self.pooled is None else self.pooled[row].float()
        return Condition(self.tokens[row].float(), self.mask[row], encode_attributes(len(row)), pooled)


def read_text_states(
    folder: Path,
    key: str,
    encode: Callable[[Sequence[str]], Condition],
    on_done: Callable[[int, int], None] | None = None,
) -> TextStates:
    """Conditions of the captions of a folder of shards, encoded at the first call and stored there.

    key: names the text encoder; states of other captions or of another encoder are not reused.
    encode: called for different captions only. on_done: called with (captions done, captions in total).
    The states are stored in float16. Raises UserError when captions.txt is missing.
    """
    path = folder / CAPTIONS
    if not path.is_file():
        raise UserError(f"{folder} holds no training data: {CAPTIONS} is missing.")
    text = path.read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    cache = folder / f"text-{key}.safetensors"
    if _stored_digest(cache) != digest:
        lines = [*text.splitlines(), ""]
        different = list(dict.fromkeys(lines))
        place = {caption: number for number, caption in enumerate(different)}
        parts: list[Condition] = []
        for start in range(0, len(different), TEXTS_AT_ONCE):
            condition = encode(different[start : start + TEXTS_AT_ONCE])
            parts.append(condition.to("cpu", torch.float16))
            if on_done:
                on_done(min(start + TEXTS_AT_ONCE, len(different)), len(different))
        states = Condition.cat(parts)
        tensors = {"tokens": states.tokens, "mask": states.mask}
        tensors["lines"] = torch.tensor([place[caption] for caption in lines])
        if states.pooled is not None:
            tensors["pooled"] = states.pooled
        write_tensors(cache, tensors, {"text": digest})
    return TextStates(load_file(cache))


def _stored_digest(path: Path) -> str | None:
    try:
        with safe_open(path, "pt") as stored:
            return (stored.metadata() or {}).get("text")
    except (OSError, SafetensorError):
        return None  # missing or damaged states are encoded again


class EncodedData:
    """Latents of pictures or clips with the lines of their captions, from `core.training.latents`."""

    def __init__(self, sources: Sequence[Shards], single_frames: bool) -> None:
        """sources: shards read as latents. single_frames: a row (F,C,h,w) of one holds F examples.

        Otherwise every row is an example: a picture (C,h,w), or a clip (C,F,h,w).
        """
        self.sources = sources
        self.frames = [source.frames if single_frames else 0 for source in sources]  # 0: a row is an example
        counts = (len(source) * max(1, frames) for source, frames in zip(sources, self.frames, strict=True))
        self.starts = torch.tensor([0, *accumulate(counts)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the latents of an example."""
        return tuple(self(torch.zeros(1, dtype=torch.long))[0].shape[1:])

    def __call__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """`(latents (B,...) float32, lines of captions (B,))` at index (B,), sorted by source; on the CPU."""
        source = torch.bucketize(index, self.starts, right=True) - 1
        latents: list[Tensor] = []
        lines: list[Tensor] = []
        for number in source.unique().tolist():
            shards, frames = self.sources[number], self.frames[number]
            rows = index[source == number] - self.starts[number]
            if frames:
                rows, frame = rows // frames, rows % frames
                latents.append(shards.pixels(rows, frame[:, None])[:, :, 0])
            else:
                latents.append(shards.pixels(rows))
            lines.append(shards.draw_captions(rows))
        return torch.cat(latents), torch.cat(lines)
