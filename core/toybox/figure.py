"""Forward kinematics of a figure from its pose. Proportions are those of a toy: half of the height is head.

In figure units the pelvis is 0.5 above the ground and the center of the head is at 1.38. A figure faces +z
and its left is +x. Hand positions are in the torso's frame, whose origin is the pelvis; foot positions are in
the figure's base frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from core.toybox.solids import Frame, SceneBuilder, rotation

SHOULDER, HIP, NECK = np.array([0.27, 0.42, 0.0]), np.array([0.15, -0.02, 0.0]), np.array([0.0, 0.5, 0.0])
UPPER_ARM, FOREARM, THIGH, SHIN = 0.29, 0.27, 0.24, 0.24
HEAD_ABOVE_NECK = 0.38

Number = float | np.ndarray
Point = tuple[Number, Number, Number]
Joints = tuple[np.ndarray, np.ndarray, np.ndarray]


def vector(x: Number, y: Number, z: Number, count: int) -> np.ndarray:
    """Points (N,3) from three numbers or (N,) arrays, N = `count`."""
    return np.stack([np.broadcast_to(np.asarray(v, float), (count,)) for v in (x, y, z)], -1)


@dataclass(frozen=True)
class Pose:
    """A pose at N moments. Numbers are constants or (N,), angles in degrees, hands and feet (x, y, z)."""

    pelvis: Point = (0.0, 0.5, 0.0)
    yaw: Number = 0.0  # of the figure, counter-clockwise from above
    lean: Number = 0.0  # of the torso, forward
    tilt: Number = 0.0  # of the torso, toward its right
    nod: Number = 0.0  # of the head, forward
    look: Number = 0.0  # of the head, toward its left
    cock: Number = 0.0  # of the head, toward its right
    left_hand: Point = (0.42, 0.05, 0.1)
    right_hand: Point = (-0.42, 0.05, 0.1)
    left_foot: Point = (0.17, 0.07, 0.05)
    right_foot: Point = (-0.17, 0.07, 0.05)
    place: Point = (0.0, 0.0, 0.0)
    scale: float = 1.0


@dataclass(frozen=True)
class Body:
    """The joints of a posed figure: frames for attached solids, world points (N,3) for the limbs."""

    base: Frame
    torso: Frame
    head: Frame  # at the head's center
    left_hand: Frame  # with the torso's axes
    right_hand: Frame
    arms: tuple[Joints, Joints]  # of (shoulder, elbow, hand), left then right
    legs: tuple[Joints, Joints]  # of (hip, knee, foot)

    def hands_middle(self) -> Frame:
        """Frame between the two hands, with the torso's axes."""
        return Frame(
            (self.left_hand.origin + self.right_hand.origin) / 2, self.torso.rotation, self.torso.scale
        )


def two_bone_ik(start: np.ndarray, target: np.ndarray, upper: float, lower: float, pole: np.ndarray):
    """Two-bone inverse kinematics: the middle and end joints (N,3), bent toward `pole` (N,3)."""
    offset = target - start
    length = np.linalg.norm(offset, axis=-1, keepdims=True).clip(1e-6)
    direction = offset / length
    length = length.clip(abs(upper - lower) + 1e-3, (upper + lower) * 0.999)
    along = (upper**2 - lower**2 + length**2) / (2 * length)
    side = pole - (pole * direction).sum(-1, keepdims=True) * direction
    side = side / np.linalg.norm(side, axis=-1, keepdims=True).clip(1e-6)
    middle = start + along * direction + np.sqrt((upper**2 - along**2).clip(0)) * side
    return middle, start + length * direction


def pose_body(pose: Pose, count: int, base: Frame | None = None) -> Body:
    """Joints of a figure in `pose` at `count` moments, in the frame `base` (default: the world)."""
    base = base or Frame.world(count)
    base = base.child(vector(*pose.place, count), rotation("y", pose.yaw), pose.scale)
    turn = np.broadcast_to(rotation("x", pose.lean) @ rotation("z", pose.tilt), (count, 3, 3))
    torso = base.child(vector(*pose.pelvis, count), turn)
    gaze = rotation("y", pose.look) @ rotation("x", pose.nod) @ rotation("z", pose.cock)
    head = torso.child(NECK, np.broadcast_to(gaze, (count, 3, 3)))
    head = head.child((0, HEAD_ABOVE_NECK, 0))

    mirror = np.array([-1.0, 1.0, 1.0])
    size = base.scale
    arms, legs, hands = [], [], []
    for side, hand, foot in ((1.0, pose.left_hand, pose.left_foot), (-1.0, pose.right_hand, pose.right_foot)):
        flip = np.ones(3) if side > 0 else mirror
        shoulder = torso.point(SHOULDER * flip)
        out = torso.rotation @ np.array([side * 0.9, -0.7, -0.25])
        elbow, wrist = two_bone_ik(
            shoulder, torso.point(vector(*hand, count)), UPPER_ARM * size, FOREARM * size, out
        )
        arms.append((shoulder, elbow, wrist))
        hands.append(Frame(wrist, torso.rotation, size))
        hip = torso.point(HIP * flip)
        forward = base.rotation @ np.array([side * 0.25, 0.1, 1.0])
        knee, ankle = two_bone_ik(hip, base.point(vector(*foot, count)), THIGH * size, SHIN * size, forward)
        legs.append((hip, knee, ankle))
    return Body(base, torso, head, hands[0], hands[1], tuple(arms), tuple(legs))


def bone(s: SceneBuilder, a: np.ndarray, b: np.ndarray, ra: float, rb: float, color: ArrayLike) -> None:
    """A round cone between two world points (N,3)."""
    s.cone(Frame.world(s.count), a, b, ra, rb, color)
