"""What stands behind the object in each step, the sentence that says so, and the light on the object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from core.condition import Condition
from core.toybox.backdrops import BACKDROPS
from core.toybox.render import LIGHT, shade
from dream3d.nerf.cameras import Cameras
from dream3d.nerf.radiance_fields import Background
from dream3d.nerf.volume_rendering import Shader


@dataclass(frozen=True, eq=False)
class Backgrounds:
    """Backgrounds to choose from, each with its own text.

    texts: of length N, one text for each background.
    paint: (index, size) -> picture (3,size,size) in [0,1].
    learned: what of it is optimized with the object, if anything is.
    light: of the model's pictures, for the cameras that look; None where it is not known, and the object's
        own colors must stand for how it looks.

    Distilling before several plain backgrounds keeps the object from borrowing its colors from one, and what
    is empty from being filled with it.
    """

    texts: Condition
    paint: Callable[[int, int], Tensor]
    learned: nn.Module = field(default_factory=nn.Identity)
    light: Callable[[Cameras], Shader] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def shader(self, cameras: Cameras) -> Shader | None:
        """The light in which these cameras' pictures are taken, where it is known."""
        return self.light(cameras) if self.light else None

    def choose(self, generator: torch.Generator) -> int:
        """The index of one, each as likely."""
        return int(torch.randint(len(self), (), generator=generator, device=generator.device))


class ToyboxLight:
    """The light of the toybox, which goes with the camera. A `Light`.

    Without it what is bright from one side and dark from the other could only be fog; with it brightness
    tells which way a surface faces, as shapes of one color have nothing else to tell by.
    """

    def __init__(self, cameras: Cameras) -> None:
        _, axes = cameras.axes()
        self.towards = normalize(axes @ torch.tensor(LIGHT, device=axes.device), dim=-1)  # (N,3)

    def __call__(
        self, color: Tensor, normal: Tensor, point: Tensor, direction: Tensor, camera: Tensor
    ) -> Tensor:
        """As `Light`."""
        return shade(color, normal, -direction, self.towards.to(point)[camera])


def plain_backdrops(prompt: str, encode: Callable[[Sequence[str]], Condition]) -> Backgrounds:
    """The plain backdrops of the bundled model's world, named after the prompt; encode: `ImageModel.encode`.

    A prompt that names one of them has only that one.
    """
    plain = [place for place in BACKDROPS if place.plain]
    named = [place for place in plain if any(phrase in prompt.lower() for phrase in place.phrases)]
    places = named or plain
    texts = [prompt if named else f"{prompt} {place.name}" for place in places]

    def paint(index: int, size: int) -> Tensor:
        return places[index].paint(torch.zeros(1), size)[0]

    return Backgrounds(encode(texts), paint, light=ToyboxLight)


def learned_color(prompt: str, encode: Callable[[Sequence[str]], Condition]) -> Backgrounds:
    """One color behind everything, learned with the object: for models that do not know the toybox.

    A background that nothing holds in place takes what the model would else put into the object as fog
    (Poole et al. 2022, "DreamFusion", section 3.2, in its simplest form).
    """
    texts = encode([prompt])
    color = Background().to(texts.tokens.device)

    def paint(index: int, size: int) -> Tensor:
        return color()[:, None, None].expand(3, size, size)

    return Backgrounds(texts, paint, color)
