"""What stands behind the object in each step, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.condition import Condition
from core.toybox.backdrops import BACKDROPS

WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Scenery:
    """Backgrounds to choose from, each with its own text.

    texts: of length N, one text for each background.
    paint: (index, size) -> picture (3,size,size) in [0,1].

    Distilling before several plain backgrounds keeps the object from borrowing its colours from one, and what
    is empty from being filled with it.
    """

    texts: Condition
    paint: Callable[[int, int], Tensor]

    def __len__(self) -> int:
        return len(self.texts)

    def choose(self, generator: torch.Generator) -> int:
        """The index of one, each as likely."""
        return int(torch.randint(len(self), (), generator=generator, device=generator.device))


def plain_backdrops(prompt: str, encode: Callable[[Sequence[str]], Condition]) -> Scenery:
    """The plain backdrops of the bundled model's world, named after the prompt; encode: `ImageModel.encode`.

    A prompt that names one of them has only that one.
    """
    plain = [place for place in BACKDROPS if place.plain]
    named = [place for place in plain if any(phrase in prompt.lower() for phrase in place.phrases)]
    places = named or plain
    texts = [prompt if named else f"{prompt} {place.name}" for place in places]

    def paint(index: int, size: int) -> Tensor:
        return places[index].paint(torch.zeros(1), size)[0]

    return Scenery(encode(texts), paint)


def white(prompt: str, encode: Callable[[Sequence[str]], Condition]) -> Scenery:
    """White behind everything, for models that know nothing of the toybox's backdrops."""

    def paint(index: int, size: int) -> Tensor:
        return torch.tensor(WHITE)[:, None, None].expand(3, size, size)

    return Scenery(encode([prompt]), paint)
