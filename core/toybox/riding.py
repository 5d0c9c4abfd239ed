"""Actions with something that carries the figure or surrounds it."""

from __future__ import annotations

import numpy as np

from core.toybox import props
from core.toybox.action import Action, Phase, cos, sin
from core.toybox.character import SIDES, Color, rgb
from core.toybox.figure import Body, Point, Pose
from core.toybox.solids import Frame, SceneBuilder, rotation

SWING_SCALE = 0.74


def swing_angle(p: Phase) -> np.ndarray:
    """Angle of the swing in degrees, positive forward."""
    return 27 * sin(p)


def _swing(p: Phase) -> Pose:
    kick = 0.16 * cos(p)
    hold = 0.3 / SWING_SCALE
    return Pose(
        pelvis=(0, 0.13, 0),
        place=(0, 0, 0),
        scale=SWING_SCALE,
        lean=-6 - 8 * cos(p),
        nod=6,
        left_hand=(hold, 0.34, 0.08),
        right_hand=(-hold, 0.34, 0.08),
        left_foot=(0.15, 0.02 + kick, 0.44),
        right_foot=(-0.15, 0.02 + kick, 0.44),
    )


def _swing_set(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    props.swing_set(s, color)
    seat = _seat(p)
    s.box(seat, (0, 0.0, 0), (0.36, 0.04, 0.17), props.WOOD)
    for side in SIDES:
        s.cone(seat, (side * 0.31, 0, 0.02), (side * 0.31, 1.5, 0), 0.036, 0.036, rgb("4a4038"))


def _seat(p: Phase) -> Frame:
    """Frame of the seat, 1.5 below the bar at y = 2.05."""
    pivot = Frame.world(len(p)).child((0, 2.05, 0), rotation("x", -swing_angle(p)))
    return pivot.child((0, -1.5, 0))


SWINGING = Action(
    ("on a {c} swing", "on a {c} swing set", "swinging on a {c} swing"), _swing, _swing_set, _seat
)


def _skate(p: Phase) -> Pose:
    return Pose(
        pelvis=(0, 0.42 + 0.03 * cos(p, 2), 0),
        place=(0, 0.18, 0.22 * sin(p)),
        scale=0.9,
        yaw=0,
        lean=10,
        tilt=9 * cos(p),
        left_hand=(0.58, 0.42 - 0.1 * cos(p), 0.1),
        right_hand=(-0.58, 0.42 + 0.1 * cos(p), 0.1),
        left_foot=(0.09, 0.07, 0.24),
        right_foot=(-0.09, 0.07, -0.24),
    )


def _skateboard(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    ground = Frame(body.base.origin - np.array([0, 0.18, 0]), body.base.rotation, 1.0)
    props.skateboard(s, ground, color, 360 * p)


SKATEBOARDING = Action(
    ("riding a {c} skateboard", "on a {c} skateboard", "skateboarding on a {c} board"), _skate, _skateboard
)


def _pedal(p: Phase, x: float, start: float) -> Point:
    return (x, (0.36 + 0.15 * cos(p, 1, start)) / 0.74, 0.17 * sin(p, 1, start) / 0.74)


def _cycle(p: Phase) -> Pose:
    return Pose(
        pelvis=(0, 1.16, -0.26),
        scale=0.74,
        lean=14,
        nod=-8,
        tilt=3 * sin(p),
        left_hand=(0.32, 0.2, 0.62),
        right_hand=(-0.32, 0.2, 0.62),
        left_foot=_pedal(p, 0.13, 0.0),
        right_foot=_pedal(p, -0.13, 0.5),
    )


def _bicycle(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    props.bicycle(s, Frame.world(s.count), color, 360 * p)


CYCLING = Action(
    ("riding a {c} bicycle", "riding a {c} bike", "on a {c} bicycle", "cycling on a {c} bike"),
    _cycle,
    _bicycle,
)


def _ride(p: Phase) -> Pose:
    return Pose(
        pelvis=(0, 0.18, 0),
        place=(0, 0.9 + 0.05 * cos(p), -0.02),
        scale=0.6,
        lean=6 + 5 * sin(p),
        left_hand=(0.2, 0.3, 0.5),
        right_hand=(-0.2, 0.3, 0.5),
        left_foot=(0.46, -0.24, 0.08),
        right_foot=(-0.46, -0.24, 0.08),
    )


def _horse(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    rock = rotation("x", 4 * sin(p))
    props.horse_mount(
        s, Frame.world(s.count).child(np.stack([0 * p, 0.05 * cos(p), 0 * p], -1), rock), 360 * p
    )


RIDING_HORSE = Action(("riding a horse", "on a horse", "on horseback"), _ride, _horse)


def _paint(p: Phase) -> Pose:
    return Pose(
        place=(-0.42, 0, 0),
        yaw=38,
        look=6,
        left_hand=(0.24 + 0.08 * sin(p), 0.4 + 0.17 * cos(p), 0.5),
        right_hand=(-0.36, 0.1, 0.2),
    )


def _easel(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    props.easel(s, Frame.world(s.count).child((0.56, 0, 0.1), rotation("y", -32)), color)
    props.brush(s, body.left_hand.child((0, 0.05, 0.05), rotation("y", 180)), color)


PAINTING = Action(
    (
        "painting at an easel with {c} paint",
        "painting a picture with {c} paint",
        "painting on a canvas with {c} paint",
    ),
    _paint,
    _easel,
)


def _study(p: Phase) -> Pose:
    return Pose(
        place=(0, 0, 0.05),
        scale=0.84,
        right_hand=(-0.46, 0.74 + 0.06 * sin(p), 0.1),
        left_hand=(0.26, 0.16, 0.36),
        look=-10 - 12 * sin(p),
        nod=-4,
    )


def _class(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    world = Frame.world(s.count)
    props.blackboard(s, world.child((0, 1.5, -0.5)))
    props.desk(s, world.child((0, 0, 0.55)))


IN_CLASS = Action(("in a calculus class", "in a math class", "in front of a blackboard"), _study, _class)
