"""Characters, the palette, and the parts that several characters share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.toybox.figure import Body, bone
from core.toybox.solids import Frame, SceneBuilder

Color = tuple[float, float, float]
Triple = tuple[float, float, float]


def rgb(code: str) -> Color:
    """RGB color in [0,1] of a hexadecimal code: 'ff8800' -> (1, .53, 0)."""
    return tuple(int(code[i : i + 2], 16) / 255 for i in (0, 2, 4))  # type: ignore[return-value]


BLACK, WHITE, PINK, CREAM = rgb("1c1a1e"), rgb("f6f4f0"), rgb("f08aa2"), rgb("f3e3c3")
SIDES = (1.0, -1.0)


@dataclass(frozen=True)
class Subject:
    """Appearance of one character.

    names: its names in captions; the first one is its label.
    """

    names: tuple[str, ...]
    head: Callable[[SceneBuilder, Frame], None]
    body: Color
    belly: Color | None = None
    limb: Color | None = None
    leg: Color | None = None
    hand: Color | None = None
    foot: Color | None = None
    extras: Callable[[SceneBuilder, Body], None] | None = None  # tails, wings, packs
    torso: Callable[[SceneBuilder, Frame], None] | None = None  # replaces the default ellipsoid
    limb_radius: float = 0.105
    hand_radius: float = 0.125

    @property
    def name(self) -> str:
        """The first name."""
        return self.names[0]

    def sculpt(self, s: SceneBuilder, body: Body) -> None:
        """Adds the posed character's solids."""
        size = body.base.scale
        limb, leg = self.limb or self.body, self.leg or self.limb or self.body
        if self.torso:
            self.torso(s, body.torso)
        else:
            s.ball(body.torso, (0, 0.22, 0), (0.32, 0.36, 0.27), self.body)
            if self.belly:
                s.ball(body.torso, (0, 0.19, 0.075), (0.235, 0.27, 0.22), self.belly)
        r = self.limb_radius * size
        for shoulder, elbow, wrist in body.arms:
            bone(s, shoulder, elbow, r, r * 0.95, limb)
            bone(s, elbow, wrist, r * 0.95, r * 0.9, limb)
        for hand in (body.left_hand, body.right_hand):
            s.ball(hand, (0, 0, 0), self.hand_radius, self.hand or limb)
        for hip, knee, ankle in body.legs:
            bone(s, hip, knee, r * 1.25, r * 1.1, leg)
            bone(s, knee, ankle, r * 1.1, r, leg)
            foot = Frame(ankle, body.base.rotation, size)
            s.ball(foot, (0, 0.01, 0.07), (0.12, 0.085, 0.17), self.foot or leg)
        self.head(s, body.head)
        if self.extras:
            self.extras(s, body)


def eyes(
    s: SceneBuilder,
    f: Frame,
    x: float = 0.16,
    y: float = 0.05,
    z: float = 0.34,
    r: float = 0.075,
    iris: Color = BLACK,
) -> None:
    """Two eyes with highlights; positions and radii in the units of the head's frame `f`."""
    for side in SIDES:
        s.eye(f, (side * x, y, z + 0.04), r)
        s.ball(f, (side * x, y, z), (r, r * 1.15, 0.05), iris)
        s.ball(f, (side * x + 0.025, y + 0.035, z + 0.045), 0.03, WHITE)


def round_ears(s: SceneBuilder, f: Frame, color: Color, inner: Color | None = None, r: float = 0.155) -> None:
    """Two round ears on the head's frame `f`, with an inner disc if `inner` is given."""
    for side in SIDES:
        s.ball(f, (side * 0.31, 0.3, -0.02), (r, r, 0.08), color)
        if inner:
            s.ball(f, (side * 0.31, 0.3, 0.035), (r * 0.65, r * 0.65, 0.05), inner)


def pointed_ears(
    s: SceneBuilder, f: Frame, color: Color, inner: Color, tip: Color | None = None, up: float = 0.34
) -> None:
    """Two pointed ears of height `up` on the head's frame `f`, with tips if `tip` is given."""
    for side in SIDES:
        base, point = np.array([side * 0.24, 0.24, 0.0]), np.array([side * 0.33, 0.24 + up, 0.0])
        s.cone(f, base, point, 0.15, 0.035, color)
        s.cone(f, base + [0, 0.02, 0.085], point * 0.8 + base * 0.2 + [0, 0, 0.03], 0.08, 0.02, inner)
        if tip:
            s.cone(f, base * 0.35 + point * 0.65, point + [0, 0.01, 0], 0.085, 0.045, tip)


def muzzle(
    s: SceneBuilder,
    f: Frame,
    color: Color,
    size: Triple = (0.19, 0.14, 0.15),
    nose: Color = BLACK,
    z: float = 0.33,
    y: float = -0.13,
) -> None:
    """A muzzle with a nose on the head's frame `f`."""
    s.ball(f, (0, y, z), size, color)
    s.ball(f, (0, y + size[1] * 0.55, z + size[2] * 0.85), (0.085, 0.062, 0.06), nose)


def tail(s: SceneBuilder, body: Body, points: Sequence[Triple], radii: Sequence[float], color: Color) -> None:
    """A tail along `points` in the torso's frame."""
    s.chain(body.torso, [np.array(p, float) for p in points], radii, color)


def skull(s: SceneBuilder, f: Frame, color: Color, radii: Triple = (0.43, 0.38, 0.37)) -> None:
    """The ellipsoid of a head, centered in the head's frame `f`."""
    s.ball(f, (0, 0, 0), radii, color)
