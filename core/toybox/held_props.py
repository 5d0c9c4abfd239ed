"""Actions with props that are held, worn, eaten, drunk or played."""

from __future__ import annotations

import numpy as np

from core.toybox import props
from core.toybox.action import Action, Phase, cos, sin
from core.toybox.character import SIDES, Color, rgb
from core.toybox.figure import Body, Pose
from core.toybox.motions import step
from core.toybox.solids import SceneBuilder, rotation


def _play_game(p: Phase) -> Pose:
    return Pose(
        left_hand=(0.22, 0.24 + 0.05 * sin(p), 0.42),
        right_hand=(-0.22, 0.24 - 0.05 * sin(p), 0.42),
        nod=10,
        cock=7 * sin(p),
        tilt=3 * sin(p),
    )


def _controller(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    turn = rotation("x", -24) @ rotation("z", 13 * sin(p))
    props.controller(s, body.torso.child((0, 0.26, 0.5), turn, 1.12), color)


HOLDING_CONTROLLER = Action(
    (
        "holding a {c} game controller",
        "holding a {c} video game controller",
        "holding a {c} controller",
        "playing with a {c} gamepad",
    ),
    _play_game,
    _controller,
)


def _strum(p: Phase) -> Pose:
    return Pose(
        left_hand=(0.5, 0.34, 0.24),
        right_hand=(-0.2, 0.1 + 0.14 * sin(p, 2), 0.46),
        cock=8 * sin(p),
        tilt=3 * sin(p),
        nod=6,
    )


def _guitar(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    props.guitar(s, body.torso.child((0.02, 0.14, 0.36), rotation("z", 22)), color)


PLAYING_GUITAR = Action(
    ("playing a {c} guitar", "strumming a {c} guitar", "with a {c} guitar"), _strum, _guitar
)


def _blow(p: Phase) -> Pose:
    return Pose(
        tilt=10 * sin(p), nod=-6 + 5 * cos(p, 2), left_hand=(0.08, 0.3, 0.5), right_hand=(-0.18, 0.12, 0.52)
    )


def _sax(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    props.saxophone(s, body.torso.child((0.02, 0.68, 0.42)))


PLAYING_SAXOPHONE = Action(("playing a saxophone", "playing the saxophone", "playing a sax"), _blow, _sax)


def _pose_proudly(p: Phase) -> Pose:
    return Pose(
        look=22 * sin(p), cock=7 * cos(p), left_hand=(0.36, 0.08, 0.12), right_hand=(-0.36, 0.08, 0.12)
    )


def _beret(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    props.beret(s, body.head, color)


WEARING_BERET = Action(("wearing a {c} beret", "in a {c} beret", "with a {c} beret"), _pose_proudly, _beret)


def _hold_bread(p: Phase) -> Pose:
    lift = 0.1 * sin(p)
    return Pose(left_hand=(0.24, 0.3 + lift, 0.38), right_hand=(-0.24, 0.12 + lift, 0.38), cock=5 * sin(p))


def _baguette_between_hands(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    middle = body.hands_middle()
    props.baguette(s, middle.child((0, 0, 0.07), rotation("z", 21)))


HOLDING_BAGUETTE = Action(
    ("holding a baguette", "with a baguette", "carrying a baguette"), _hold_bread, _baguette_between_hands
)


def _beret_and_baguette(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    props.beret(s, body.head, color)
    _baguette_between_hands(s, body, p, color)


BERET_AND_BAGUETTE = Action(
    ("wearing a {c} beret and holding a baguette", "holding a baguette and wearing a {c} beret"),
    _hold_bread,
    _beret_and_baguette,
)


def _lick(p: Phase) -> Pose:
    near = 0.5 + 0.5 * cos(p)
    return Pose(right_hand=(-0.14 - 0.14 * (1 - near), 0.2 + 0.12 * near, 0.48), nod=10 * near, cock=-4)


def _ice_cream(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    props.ice_cream(s, body.right_hand.child((0, 0.13, 0.07)), color)


EATING_ICE_CREAM = Action(
    ("eating {c} ice cream", "eating a {c} ice cream cone", "licking a {c} ice cream"), _lick, _ice_cream
)


def _drink(p: Phase) -> Pose:
    near = 0.5 + 0.5 * cos(p)
    return Pose(right_hand=(-0.04 - 0.24 * (1 - near), 0.2 + 0.14 * near, 0.5), nod=-14 * near)


def _glass(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    near = 0.5 + 0.5 * cos(p)
    props.glass(s, body.right_hand.child((0, 0.14, 0.1), rotation("x", -30 * near)), color)


DRINKING = Action(
    ("drinking a glass of {c} juice", "drinking from a glass of {c} juice", "drinking {c} juice"),
    _drink,
    _glass,
)


def _read(p: Phase) -> Pose:
    return Pose(left_hand=(0.36, 0.12, 0.4), right_hand=(-0.36, 0.12, 0.4), nod=14, look=9 * cos(p))


def _book(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    props.book(
        s, body.torso.child((0, 0.2, 0.46), rotation("x", 24)), color, 0.5 - 0.5 * cos(np.clip(p * 2, 0, 1))
    )


READING = Action(("reading a {c} book", "with an open {c} book", "reading from a {c} book"), _read, _book)


def _hold_umbrella(p: Phase) -> Pose:
    return Pose(
        right_hand=(-0.4, 0.4, 0.24),
        tilt=3 * sin(p),
        place=(0, 0.025 * cos(p, 2), 0),
        left_foot=step(p, 0.15, 0.0, 0.1, 0.06),
        right_foot=step(p, -0.15, 0.5, 0.1, 0.06),
        scale=0.8,
    )


def _umbrella(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    props.umbrella(s, body.right_hand.child((0, 0.05, 0), rotation("z", -11 + 5 * sin(p))), color)


HOLDING_UMBRELLA = Action(
    ("holding a {c} umbrella", "under a {c} umbrella", "with a {c} umbrella"), _hold_umbrella, _umbrella
)


def _hold_balloon(p: Phase) -> Pose:
    return Pose(left_hand=(0.5, 0.4 + 0.05 * sin(p), 0.12), look=14, cock=-6, place=(-0.18, 0, 0))


def _balloon(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    sway = np.stack([0.2 + 0.13 * sin(p), 0.82 + 0.05 * cos(p, 2), 0 * p], -1)
    props.balloon(s, body.left_hand.child(sway, rotation("z", -10 * sin(p))), body.left_hand, color)


HOLDING_BALLOON = Action(("holding a {c} balloon", "with a {c} balloon"), _hold_balloon, _balloon)


def _mix(p: Phase) -> Pose:
    pour = np.maximum(0, sin(p))
    return Pose(
        left_hand=(0.42, 0.1, 0.38),
        right_hand=(-0.44 + 0.26 * pour, 0.16 + 0.42 * pour, 0.36),
        nod=8,
        cock=5 * sin(p),
    )


def _flasks(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    pour = np.maximum(0, sin(p))
    props.flask(s, body.left_hand.child((0, 0.06, 0.12)), color)
    props.flask(s, body.right_hand.child((0, 0.06, 0.12), rotation("z", -80 * pour)), rgb("37c7a4"))
    for start in (0.0, 0.5):
        rise = (p + start) % 1.0
        bubble = np.stack([0.06 * np.sin(9 * rise + start), 0.55 + 0.42 * rise, 0.12 + 0 * rise], -1)
        s.ball(body.left_hand, bubble, 0.06 + 0.035 * np.stack([rise] * 3, -1), color)


MIXING_CHEMICALS = Action(
    ("mixing {c} chemicals", "mixing {c} chemicals in flasks", "pouring {c} chemicals"), _mix, _flasks
)


def _juggle(p: Phase) -> Pose:
    return Pose(
        left_hand=(0.36, 0.22 + 0.1 * sin(p, 3), 0.34),
        right_hand=(-0.36, 0.22 - 0.1 * sin(p, 3), 0.34),
        nod=-12,
    )


def _balls(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    for start in (0.0, 1 / 3, 2 / 3):
        angle = 2 * np.pi * (p + start)
        center = np.stack([0.56 * np.cos(angle), 1.24 + 0.6 * np.sin(angle), 0.46 + 0 * angle], -1)
        s.ball(body.base, center, 0.15, color)


JUGGLING = Action(("juggling {c} balls", "juggling three {c} balls"), _juggle, _balls)


def _lift(p: Phase) -> Pose:
    up = 0.3 - 0.38 * cos(p)
    return Pose(
        pelvis=(0, 0.46 + 0.03 * up, 0),
        left_hand=(0.42, 0.45 + up, 0.22),
        right_hand=(-0.42, 0.45 + up, 0.22),
        scale=0.86,
        left_foot=(0.24, 0.07, 0.05),
        right_foot=(-0.24, 0.07, 0.05),
    )


def _barbell(s: SceneBuilder, body: Body, p: Phase, color: Color) -> None:
    f = body.hands_middle()
    s.cone(f, (-0.85, 0, 0.05), (0.85, 0, 0.05), 0.045, 0.045, props.METAL)
    for side in SIDES:
        s.ball(f, (side * 0.86, 0, 0.05), (0.09, 0.26, 0.26), color)
        s.ball(f, (side * 1.0, 0, 0.05), (0.06, 0.17, 0.17), color)


LIFTING_WEIGHTS = Action(("lifting {c} weights", "lifting a {c} barbell"), _lift, _barbell)
