"""Props to hold, wear, ride or stand next to. Each function adds the solids of one prop to a frame.

Props are large and no part is thinner than three pixels at 64x64, because small models miss fine detail.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from core.toybox.animals import CHESTNUT
from core.toybox.character import BLACK, CREAM, SIDES, WHITE, Color, rgb
from core.toybox.figure import bone
from core.toybox.solids import Frame, SceneBuilder, rotation

WOOD, METAL, BRASS, GLASS, TYRE = rgb("a8682f"), rgb("8d95a3"), rgb("dba520"), rgb("cfe6f0"), rgb("2b2b30")


def path(*points: ArrayLike) -> list[np.ndarray]:
    """The points as arrays."""
    return [np.array(p, float) for p in points]


def controller(s: SceneBuilder, f: Frame, color: Color) -> None:
    """A game controller facing +z."""
    s.box(f, (0, 0, 0), (0.16, 0.085, 0.055), color)
    for side in SIDES:
        s.cone(f, (side * 0.18, 0.02, 0), (side * 0.235, -0.12, 0.02), 0.105, 0.065, color)
    s.box(f, (-0.14, 0.03, 0.085), (0.055, 0.02, 0.03), WHITE if color != WHITE else BLACK)
    s.box(f, (-0.14, 0.03, 0.085), (0.02, 0.055, 0.03), WHITE if color != WHITE else BLACK)
    s.ball(f, (0.14, 0.05, 0.085), 0.042, rgb("e23b35"))
    s.ball(f, (0.2, 0.0, 0.085), 0.042, rgb("f2c230"))


def guitar(s: SceneBuilder, f: Frame, color: Color) -> None:
    """A guitar along x, its neck on +x, facing +z."""
    s.ball(f, (-0.24, 0, 0), (0.28, 0.26, 0.085), color)
    s.ball(f, (0.06, 0, 0), (0.21, 0.19, 0.085), color)
    s.ball(f, (-0.03, 0, 0.07), (0.085, 0.085, 0.03), BLACK)
    s.box(f, (0.44, 0, 0.03), (0.32, 0.042, 0.04), rgb("8a5a2c"))
    s.box(f, (0.8, 0, 0.03), (0.085, 0.075, 0.045), BLACK)
    s.box(f, (-0.32, 0, 0.085), (0.03, 0.095, 0.02), WHITE)


def saxophone(s: SceneBuilder, f: Frame) -> None:
    """A saxophone from the mouth at the frame's origin down to a bell, open upward on the figure's right."""
    s.chain(f, path((0, 0, 0.0), (0.0, 0.02, 0.14), (-0.02, -0.14, 0.17)), (0.035, 0.04, 0.045), BLACK)
    s.chain(
        f,
        path((-0.02, -0.14, 0.17), (-0.1, -0.6, 0.17), (-0.2, -0.72, 0.2), (-0.32, -0.64, 0.22)),
        (0.05, 0.075, 0.095, 0.1),
        BRASS,
    )
    s.cone(f, (-0.32, -0.64, 0.22), (-0.42, -0.4, 0.26), 0.095, 0.185, BRASS)
    s.ball(f, (-0.45, -0.27, 0.275), (0.165, 0.05, 0.165), rgb("7a5408"), rotation("z", 22))
    for y in (-0.26, -0.4, -0.54):
        s.ball(f, (-0.05 + y * 0.1, y, 0.25), 0.045, rgb("fff0b0"))


def beret(s: SceneBuilder, head: Frame, color: Color) -> None:
    """A tilted beret on the head."""
    tilt = rotation("z", 12)
    s.ball(head, (-0.05, 0.36, 0.0), (0.46, 0.14, 0.43), color, tilt)
    s.ball(head, (0.0, 0.27, 0.02), (0.4, 0.07, 0.38), color, tilt)
    s.cone(head, (-0.07, 0.48, 0), (-0.09, 0.58, 0), 0.045, 0.035, color)


def baguette(s: SceneBuilder, f: Frame) -> None:
    """A baguette along x."""
    crust = rgb("d99a45")
    s.ball(f, (0, 0, 0), (0.62, 0.125, 0.115), crust)
    for x in (-0.3, -0.1, 0.1, 0.3):
        s.ball(f, (x, 0.035, 0.085), (0.035, 0.085, 0.04), rgb("fbe9bf"), rotation("z", -40))


def skateboard(s: SceneBuilder, f: Frame, color: Color, spin: ArrayLike) -> None:
    """A skateboard along z; `spin` (N,) degrees turns the wheels."""
    s.box(f, (0, 0.15, 0), (0.15, 0.035, 0.42), color)
    s.ball(f, (0, 0.17, 0.44), (0.15, 0.05, 0.13), color, rotation("x", -18))
    s.ball(f, (0, 0.17, -0.44), (0.15, 0.05, 0.13), color, rotation("x", 18))
    for z in (0.3, -0.3):
        for side in SIDES:
            s.ball(f, (side * 0.13, 0.07, z), (0.05, 0.075, 0.075), TYRE)
            s.ball(f, (side * 0.16, 0.07, z), (0.04, 0.04, 0.04), WHITE, rotation("x", spin))


def bicycle(s: SceneBuilder, f: Frame, color: Color, crank: np.ndarray) -> None:
    """A bicycle along z, wheels of radius 0.33 on the ground; `crank` (N,) degrees turns the spokes."""
    for z in (0.52, -0.52):
        s.ball(f, (0, 0.33, z), (0.06, 0.33, 0.33), TYRE)
        s.ball(f, (0, 0.33, z), (0.075, 0.245, 0.245), rgb("dfe5ea"))
        for turn in (0, 90):
            s.box(f, (0, 0.33, z), (0.085, 0.225, 0.035), METAL, rotation("x", crank + turn))
    for a, b in (
        ((0, 0.33, -0.52), (0, 0.72, -0.2)),
        ((0, 0.33, -0.52), (0, 0.33, 0.0)),
        ((0, 0.33, 0.0), (0, 0.72, -0.2)),
        ((0, 0.33, 0.0), (0, 0.74, 0.38)),
        ((0, 0.72, -0.2), (0, 0.74, 0.38)),
        ((0, 0.33, 0.52), (0, 0.92, 0.34)),
    ):
        s.cone(f, a, b, 0.05, 0.05, color)
    s.cone(f, (-0.27, 0.94, 0.3), (0.27, 0.94, 0.3), 0.05, 0.05, BLACK)
    s.ball(f, (0, 0.8, -0.22), (0.12, 0.05, 0.17), BLACK)


def ice_cream(s: SceneBuilder, f: Frame, color: Color) -> None:
    """An ice cream cone with two scoops."""
    s.cone(f, (0, 0.14, 0), (0, -0.22, 0), 0.135, 0.03, rgb("d99a45"))
    s.ball(f, (0, 0.25, 0), 0.175, color)
    s.ball(f, (0, 0.46, 0), 0.135, WHITE if color != WHITE else rgb("f08aa2"))


def glass(s: SceneBuilder, f: Frame, color: Color) -> None:
    """A wine glass, held at its stem, two thirds full of `color`."""
    s.ball(f, (0, -0.2, 0), (0.15, 0.035, 0.15), GLASS)
    s.cone(f, (0, -0.2, 0), (0, 0.02, 0), 0.04, 0.04, GLASS)
    s.cone(f, (0, 0.12, 0), (0, 0.26, 0), 0.12, 0.165, color)
    s.cone(f, (0, 0.34, 0), (0, 0.42, 0), 0.165, 0.15, GLASS)


def easel(s: SceneBuilder, f: Frame, color: Color) -> None:
    """An easel with a painted canvas, facing +z."""
    for x in (-0.24, 0.24):
        s.cone(f, (x * 0.5, 1.45, 0.0), (x * 1.5, 0.05, 0.06), 0.045, 0.045, WOOD)
    s.cone(f, (0, 1.4, -0.02), (0, 0.05, -0.4), 0.045, 0.045, WOOD)
    s.box(f, (0, 0.98, 0.08), (0.36, 0.4, 0.045), rgb("fdfaf2"))
    s.box(f, (0, 0.56, 0.1), (0.3, 0.035, 0.07), WOOD)
    s.ball(f, (-0.1, 1.12, 0.12), (0.16, 0.14, 0.02), color)
    s.box(f, (0.02, 0.76, 0.12), (0.27, 0.08, 0.02), rgb("58b432"))
    s.ball(f, (0.2, 1.2, 0.12), (0.08, 0.08, 0.02), rgb("f2c230"))


def brush(s: SceneBuilder, f: Frame, color: Color, size: float = 1.0) -> None:
    """A paintbrush along z, its bristles at -z."""
    f = f.child(scale=size)
    s.cone(f, (0, 0, -0.05), (0, 0, 0.3), 0.04, 0.05, WOOD)
    s.cone(f, (0, 0, -0.06), (0, 0, -0.14), 0.055, 0.055, METAL)
    s.cone(f, (0, 0, -0.17), (0, 0, -0.3), 0.075, 0.025, color)


def book(s: SceneBuilder, f: Frame, color: Color, flip: np.ndarray) -> None:
    """An open book, pages toward the reader on -z; `flip` (N,) in [0,1] turns a page from right to left."""
    for side in SIDES:
        half = f.child((0, 0, 0), rotation("y", side * 30))
        s.box(half, (side * 0.21, 0, 0.02), (0.22, 0.21, 0.03), color)
        s.box(half, (side * 0.215, 0.04, -0.03), (0.2, 0.22, 0.04), rgb("fdfaf2"))
        s.box(half, (side * 0.21, 0.02, 0.055), (0.11, 0.035, 0.02), rgb("fdfaf2"))
    page = f.child((0, 0, -0.08), rotation("y", 210 - 240 * np.asarray(flip)))
    s.box(page, (0.2, 0.05, 0), (0.19, 0.21, 0.02), rgb("e8dfc8"))


def umbrella(s: SceneBuilder, f: Frame, color: Color) -> None:
    """An umbrella held at the frame's origin."""
    s.cone(f, (0, -0.2, 0), (0, 1.2, 0), 0.045, 0.045, rgb("5a3218"))
    s.ball(f, (0.08, 1.2, -0.04), (0.8, 0.27, 0.74), color)
    s.ball(f, (0.08, 1.1, -0.04), (0.7, 0.17, 0.64), tuple(c * 0.6 for c in color))
    s.cone(f, (0.08, 1.45, -0.04), (0.08, 1.53, -0.04), 0.05, 0.04, WHITE)


def balloon(s: SceneBuilder, f: Frame, hand: Frame, color: Color) -> None:
    """A balloon at `f` with a string to `hand`."""
    knot = f.point((0, -0.33, 0))
    bone(s, hand.origin, knot, 0.032, 0.032, WHITE)
    s.ball(f, (0, 0, 0), (0.28, 0.33, 0.28), color)
    s.cone(f, (0, -0.3, 0), (0, -0.37, 0), 0.03, 0.065, color)


def flask(s: SceneBuilder, f: Frame, color: Color) -> None:
    """A conical flask, filled with `color` up to its shoulder, with an open neck."""
    s.cone(f, (0, -0.06, 0), (0, 0.14, 0), 0.2, 0.085, color)
    s.cone(f, (0, 0.14, 0), (0, 0.36, 0), 0.075, 0.06, GLASS)
    s.ball(f, (0, 0.42, 0), (0.12, 0.04, 0.12), GLASS)


def swing_set(s: SceneBuilder, color: Color) -> None:
    """Legs and bar of a swing in world axes, the bar along x at y = 2.05."""
    f = Frame.world(s.count)
    s.cone(f, (-0.8, 2.05, 0), (0.8, 2.05, 0), 0.06, 0.06, color)
    for side in SIDES:
        for z in (-0.42, 0.42):
            s.cone(f, (side * 0.8, 2.05, 0), (side * 0.92, 0.06, z), 0.06, 0.06, color)


def horse_mount(s: SceneBuilder, f: Frame, stride: np.ndarray) -> None:
    """A horse on four legs along z; `stride` (N,) is the phase of the gallop in degrees."""
    dark = rgb("2e1a12")
    s.ball(f, (0, 0.72, 0), (0.25, 0.25, 0.5), CHESTNUT)
    s.cone(f, (0, 0.8, 0.38), (0, 1.22, 0.62), 0.19, 0.13, CHESTNUT)
    s.cone(f, (0, 1.24, 0.62), (0, 1.08, 0.92), 0.155, 0.1, CHESTNUT)
    s.ball(f, (0, 1.07, 0.95), (0.11, 0.1, 0.09), CREAM)
    s.chain(f, path((0, 1.42, 0.56), (0, 1.22, 0.44), (0, 0.96, 0.3)), (0.08, 0.09, 0.06), dark)
    for side in SIDES:
        s.cone(f, (side * 0.09, 1.36, 0.6), (side * 0.11, 1.5, 0.6), 0.05, 0.025, CHESTNUT)
        s.ball(f, (side * 0.13, 1.24, 0.72), 0.05, BLACK)
        s.eye(f, (side * 0.165, 1.24, 0.745), 0.045, (side * 0.8, 0, 0.6))
        for z, lag in ((0.34, 0.0), (-0.34, 180.0)):
            swing = 30 * np.sin(np.deg2rad(stride + lag + side * 25))
            leg = f.child((side * 0.14, 0.62, z), rotation("x", swing))
            s.cone(leg, (0, 0, 0), (0, -0.48, 0), 0.11, 0.07, CHESTNUT)
            s.ball(leg, (0, -0.55, 0.02), (0.085, 0.07, 0.1), dark)
    s.chain(f, path((0, 0.84, -0.46), (0, 0.72, -0.68), (0, 0.38, -0.7)), (0.07, 0.1, 0.05), dark)
    s.ball(f, (0, 0.93, -0.02), (0.24, 0.07, 0.22), rgb("b3261e"))


def blackboard(s: SceneBuilder, f: Frame) -> None:
    """A blackboard with an integral and a curve, facing +z."""
    s.box(f, (0, 0, 0), (1.02, 0.62, 0.04), WOOD)
    s.box(f, (0, 0, 0.03), (0.95, 0.55, 0.04), rgb("24523f"))
    for points in (
        ((-0.8, -0.3), (-0.74, -0.34), (-0.68, -0.2), (-0.68, 0.2), (-0.6, 0.32), (-0.54, 0.26)),
        ((-0.45, 0.18), (-0.28, -0.12)),
        ((-0.45, -0.12), (-0.28, 0.18)),
        ((0.45, 0.4), (0.45, -0.35)),
        ((0.38, -0.28), (0.86, -0.28)),
        ((0.48, -0.2), (0.62, -0.12), (0.72, 0.1), (0.8, 0.36)),
    ):
        s.chain(f, path(*((x, y, 0.08) for x, y in points)), (0.032,) * len(points), WHITE)


def desk(s: SceneBuilder, f: Frame) -> None:
    """A desk along x on the ground."""
    s.box(f, (0, 0.5, 0), (0.5, 0.045, 0.2), WOOD)
    for side in SIDES:
        s.box(f, (side * 0.44, 0.24, 0), (0.05, 0.24, 0.17), rgb("7d4a20"))
