"""Actions without props."""

from __future__ import annotations

import numpy as np

from core.toybox.action import Action, Phase, cos, sin
from core.toybox.figure import Point, Pose


def _stand(p: Phase) -> Pose:
    return Pose(pelvis=(0, 0.5 + 0.012 * sin(p), 0), cock=5 * sin(p), look=8 * cos(p))


STANDING = Action(("standing", "standing still"), _stand)


def step(p: Phase, x: float, start: float, stride: float, lift: float) -> Point:
    """Path of a foot that walks on the spot at `x`, shifted ahead by the fraction `start` of a loop."""
    return (x, 0.07 + lift * np.maximum(0, cos(p, 1, start)), stride * sin(p, 1, start))


def _walk(p: Phase) -> Pose:
    return Pose(
        pelvis=(0, 0.5 + 0.03 * cos(p, 2), 0),
        lean=4,
        tilt=4 * sin(p),
        left_foot=step(p, 0.15, 0.0, 0.34, 0.22),
        right_foot=step(p, -0.15, 0.5, 0.34, 0.22),
        left_hand=(0.4, 0.12, 0.06 - 0.36 * sin(p)),
        right_hand=(-0.4, 0.12, 0.06 + 0.36 * sin(p)),
    )


WALKING = Action(("walking", "taking a walk", "strolling"), _walk)


def _run(p: Phase) -> Pose:
    return Pose(
        pelvis=(0, 0.56 + 0.09 * cos(p, 2), -0.08),
        scale=0.92,
        lean=26,
        nod=-20,
        left_foot=step(p, 0.15, 0.0, 0.48, 0.34),
        right_foot=step(p, -0.15, 0.5, 0.48, 0.34),
        left_hand=(0.38, 0.32, 0.08 - 0.42 * sin(p)),
        right_hand=(-0.38, 0.32, 0.08 + 0.42 * sin(p)),
    )


RUNNING = Action(("running", "jogging", "sprinting"), _run)


def _jump(p: Phase) -> Pose:
    flight = np.clip((p - 0.2) / 0.6, 0, 1)
    air = 4 * flight * (1 - flight)  # height relative to the apex
    crouch = np.maximum(0, cos(p)) ** 2
    up = 0.5 - 0.5 * cos(p)
    return Pose(
        pelvis=(0, 0.5 - 0.2 * crouch, -0.08 * crouch),
        place=(0, 0.3 * air, 0),
        scale=0.86,
        lean=16 * crouch,
        left_hand=(0.56, 0.2 + 0.64 * up, 0.1 - 0.25 * crouch),
        right_hand=(-0.56, 0.2 + 0.64 * up, 0.1 - 0.25 * crouch),
        left_foot=(0.26, 0.07 + 0.13 * air, 0.05),
        right_foot=(-0.26, 0.07 + 0.13 * air, 0.05),
    )


JUMPING = Action(("jumping", "jumping up", "hopping"), _jump)


def _wave(p: Phase) -> Pose:
    return Pose(
        right_hand=(-0.58 + 0.17 * sin(p, 2), 0.86 - 0.06 * cos(p, 4), 0.12), cock=-6 + 4 * sin(p), tilt=-3
    )


WAVING = Action(("waving", "waving hello", "waving a hand"), _wave)


def _sit(p: Phase) -> Pose:
    return Pose(
        pelvis=(0, 0.2, -0.1),
        tilt=5 * sin(p),
        cock=-9 * sin(p),
        left_hand=(0.3, 0.04, 0.26),
        right_hand=(-0.3, 0.04, 0.26),
        left_foot=(0.24, 0.12, 0.4 + 0.03 * sin(p)),
        right_foot=(-0.24, 0.12, 0.4 - 0.03 * sin(p)),
    )


SITTING = Action(("sitting", "sitting on the ground", "sitting down"), _sit)


def _dance(p: Phase) -> Pose:
    return Pose(
        pelvis=(0.13 * sin(p), 0.48 + 0.04 * cos(p, 2), 0),
        tilt=-14 * sin(p),
        cock=16 * sin(p),
        left_hand=(0.5, 0.5 + 0.35 * sin(p), 0.15),
        right_hand=(-0.5, 0.5 - 0.35 * sin(p), 0.15),
        left_foot=(0.2, 0.07 + 0.16 * np.maximum(0, -sin(p)), 0.08),
        right_foot=(-0.2, 0.07 + 0.16 * np.maximum(0, sin(p)), 0.08),
    )


DANCING = Action(("dancing", "doing a dance"), _dance)


def _spin(p: Phase) -> Pose:
    return Pose(
        yaw=360 * p,
        left_hand=(0.74, 0.4, 0.0),
        right_hand=(-0.74, 0.4, 0.0),
        left_foot=(0.12, 0.07, 0.05),
        right_foot=(-0.2, 0.2, -0.12),
    )


SPINNING = Action(("spinning", "turning around", "twirling"), _spin)
