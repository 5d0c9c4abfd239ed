"""Backgrounds of training views, the texts that name them, and the light of the model's images."""

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
    """A set of backgrounds, each with its own text.

    texts: of length N, one text per background.
    paint: (index, size) -> image (3,size,size) in [0,1].
    learned: module with the parameters that are optimized together with the field; none by default.
    light: makes the shader of the model's images for given cameras; None if their light is unknown, in which
        case the field's own colors are rendered.

    With several plain backgrounds the field cannot reproduce the images by copying the color of one
    background into the object or into empty space.
    """

    texts: Condition
    paint: Callable[[int, int], Tensor]
    learned: nn.Module = field(default_factory=nn.Identity)
    light: Callable[[Cameras], Shader] | None = None

    def __len__(self) -> int:
        """Number of backgrounds."""
        return len(self.texts)

    def shader(self, cameras: Cameras) -> Shader | None:
        """Shader with the light of the model's images for these cameras, or None if it is unknown."""
        return self.light(cameras) if self.light else None

    def choose(self, generator: torch.Generator) -> int:
        """Samples the index of a background uniformly."""
        return int(torch.randint(len(self), (), generator=generator, device=generator.device))


class ToyboxLight:
    """Shader with the directional light of the toybox, which is fixed to the camera. A `Shader`.

    A surface whose brightness depends on the camera can only be fitted as fog if the renders are unlit. With
    the light, brightness determines the normals, which on surfaces of one color nothing else does.
    """

    def __init__(self, cameras: Cameras) -> None:
        """cameras: N, whose indices `__call__` takes."""
        _, axes = cameras.axes()
        self.to_light = normalize(axes @ torch.tensor(LIGHT, device=axes.device), dim=-1)  # (N,3)

    def __call__(
        self, color: Tensor, normal: Tensor, point: Tensor, direction: Tensor, camera: Tensor
    ) -> Tensor:
        """As `Shader`."""
        return shade(color, normal, -direction, self.to_light.to(point)[camera])


def plain_backdrops(prompt: str, encode: Callable[[Sequence[str]], Condition]) -> Backgrounds:
    """The plain backdrops of the toybox; each text is the prompt with the name of the backdrop appended.

    If the prompt names a plain backdrop, only that one is used.

    encode: `ImageModel.encode`.
    """
    plain = [place for place in BACKDROPS if place.plain]
    named = [place for place in plain if any(phrase in prompt.lower() for phrase in place.phrases)]
    places = named or plain
    texts = [prompt if named else f"{prompt} {place.name}" for place in places]

    def paint(index: int, size: int) -> Tensor:
        return places[index].paint(torch.zeros(1), size)[0]

    return Backgrounds(encode(texts), paint, light=ToyboxLight)


def learned_color(prompt: str, encode: Callable[[Sequence[str]], Condition]) -> Backgrounds:
    """One learned background color, for models that are not trained on the toybox.

    A free background absorbs color that the model would otherwise place around the object as fog (Poole et
    al. 2022, "DreamFusion", section 3.2, in its simplest form).

    encode: `ImageModel.encode`.
    """
    texts = encode([prompt])
    color = Background().to(texts.tokens.device)

    def paint(index: int, size: int) -> Tensor:
        return color()[:, None, None].expand(3, size, size)

    return Backgrounds(texts, paint, color)
