"""What stands behind the object in each step, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from core.condition import Condition
from core.toybox.backdrops import BACKDROPS
from dream3d.field import Background


@dataclass(frozen=True, eq=False)
class Scenery:
    """Backgrounds to choose from, each with its own text.

    texts: of length N, one text for each background.
    paint: (index, size) -> picture (3,size,size) in [0,1].
    learned: what of it is optimized with the object, if anything is.

    Distilling before several plain backgrounds keeps the object from borrowing its colours from one, and what
    is empty from being filled with it.
    """

    texts: Condition
    paint: Callable[[int, int], Tensor]
    learned: nn.Module = field(default_factory=nn.Identity)

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


def learned_colour(prompt: str, encode: Callable[[Sequence[str]], Condition]) -> Scenery:
    """One colour behind everything, learned with the object: for models that do not know the toybox.

    A background that nothing holds in place takes what the model would else put into the object as fog
    (Poole et al. 2022, "DreamFusion", section 3.2, in its simplest form).
    """
    texts = encode([prompt])
    colour = Background().to(texts.tokens.device)

    def paint(index: int, size: int) -> Tensor:
        return colour()[:, None, None].expand(3, size, size)

    return Scenery(texts, paint, colour)
