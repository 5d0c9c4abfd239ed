"""The other characters: people, toys, a robot, a skeleton and a dragon."""

from __future__ import annotations

from core.toybox.character import (
    BLACK,
    CREAM,
    SIDES,
    Color,
    Subject,
    eyes,
    muzzle,
    rgb,
    round_ears,
    skull,
    tail,
)
from core.toybox.figure import Body
from core.toybox.solids import Frame, SceneBuilder, rotation

STEEL, SCREEN, BLUE = rgb("9aa4b4"), rgb("17233f"), rgb("2a62d9")


def _robot(s: SceneBuilder, f: Frame) -> None:
    s.box(f, (0, 0, 0), (0.38, 0.32, 0.29), STEEL)
    s.box(f, (0, 0.01, 0.27), (0.31, 0.24, 0.045), SCREEN)
    for side in SIDES:
        s.ball(f, (side * 0.14, 0.06, 0.31), (0.09, 0.09, 0.03), rgb("4fe3f2"))
        s.eye(f, (side * 0.14, 0.06, 0.335), 0.085)
        s.ball(f, (side * 0.41, 0, 0), (0.07, 0.11, 0.11), BLUE)
    s.box(f, (0, -0.13, 0.31), (0.15, 0.032, 0.02), rgb("4fe3f2"))
    s.cone(f, (0, 0.3, 0), (0, 0.48, 0), 0.035, 0.03, STEEL)
    s.ball(f, (0, 0.53, 0), 0.095, rgb("e5322d"))


def _robot_torso(s: SceneBuilder, f: Frame) -> None:
    s.box(f, (0, 0.2, 0), (0.29, 0.28, 0.22), STEEL)
    s.box(f, (0, 0.2, 0.2), (0.19, 0.16, 0.045), SCREEN)
    for x, color in ((-0.09, "f2c230"), (0.0, "e5322d"), (0.09, "4fd26b")):
        s.ball(f, (x, 0.21, 0.25), 0.045, rgb(color))


ROBOT = Subject(
    ("robot", "android"), _robot, STEEL, hand=BLUE, foot=BLUE, torso=_robot_torso, limb_radius=0.085
)


HONEY, RED = rgb("d3a05a"), rgb("d9261c")


def _teddy(s: SceneBuilder, f: Frame) -> None:
    skull(s, f, HONEY)
    round_ears(s, f, HONEY, CREAM, r=0.17)
    muzzle(s, f, CREAM, (0.17, 0.13, 0.13), rgb("5a3218"))
    eyes(s, f, 0.17, 0.07, r=0.065)


def _teddy_bow(s: SceneBuilder, body: Body) -> None:
    for side in SIDES:
        s.cone(body.torso, (side * 0.05, 0.46, 0.27), (side * 0.19, 0.46, 0.25), 0.05, 0.105, RED)
    s.ball(body.torso, (0, 0.46, 0.29), 0.065, rgb("a3130f"))
    for _, _, ankle in body.legs:
        s.ball(Frame(ankle, body.base.rotation, body.base.scale), (0, 0.01, 0.2), (0.08, 0.06, 0.05), CREAM)


TEDDY_BEAR = Subject(("teddy bear", "teddy", "plush bear"), _teddy, HONEY, CREAM, extras=_teddy_bow)


SUIT = rgb("e9edf2")


def _astronaut(s: SceneBuilder, f: Frame) -> None:
    skull(s, f, SUIT, (0.43, 0.41, 0.41))
    s.ball(f, (0, 0.0, 0.13), (0.345, 0.275, 0.33), rgb("2b3a63"))
    s.ball(f, (0.13, 0.11, 0.4), (0.07, 0.05, 0.03), rgb("bfe0ff"), rotation("z", 25))
    for side in SIDES:
        s.ball(f, (side * 0.42, 0, 0), (0.06, 0.12, 0.12), rgb("f08c1e"))


def _astronaut_pack(s: SceneBuilder, body: Body) -> None:
    s.box(body.torso, (0, 0.3, -0.28), (0.26, 0.28, 0.12), rgb("b4bcc8"))
    s.box(body.torso, (0, 0.26, 0.25), (0.14, 0.09, 0.04), rgb("f08c1e"))


ASTRONAUT = Subject(
    ("astronaut", "spaceman"),
    _astronaut,
    SUIT,
    hand=rgb("8f98a6"),
    foot=rgb("8f98a6"),
    extras=_astronaut_pack,
    limb_radius=0.12,
    hand_radius=0.13,
)


BONE, PIT = rgb("efe9da"), rgb("1d1b22")


def _skeleton(s: SceneBuilder, f: Frame) -> None:
    skull(s, f, BONE, (0.38, 0.36, 0.36))
    s.box(f, (0, -0.28, 0.14), (0.19, 0.11, 0.15), BONE)
    for side in SIDES:
        s.ball(f, (side * 0.155, 0.0, 0.29), (0.115, 0.125, 0.09), PIT)
        s.eye(f, (side * 0.16, 0.0, 0.37), 0.1)
        s.box(f, (side * 0.075, -0.3, 0.29), (0.022, 0.08, 0.02), PIT)
    s.ball(f, (0, -0.14, 0.34), (0.05, 0.06, 0.05), PIT)


def _ribs(s: SceneBuilder, f: Frame) -> None:
    s.ball(f, (0, 0.24, 0), (0.2, 0.27, 0.16), PIT)
    s.cone(f, (0, 0.0, -0.03), (0, 0.5, -0.03), 0.06, 0.06, BONE)
    s.box(f, (0, 0.3, 0.16), (0.045, 0.17, 0.03), BONE)
    for y, r in ((0.4, 0.25), (0.27, 0.26), (0.14, 0.22)):
        s.ball(f, (0, y, 0), (r, 0.042, r * 0.74), BONE)
    s.ball(f, (0, -0.02, 0), (0.22, 0.09, 0.14), BONE)


SKELETON = Subject(("skeleton",), _skeleton, BONE, torso=_ribs, limb_radius=0.06, hand_radius=0.095)


PURPLE = rgb("7c4bc0")


def _dragon(s: SceneBuilder, f: Frame) -> None:
    skull(s, f, PURPLE, (0.38, 0.36, 0.35))
    s.ball(f, (0, -0.13, 0.36), (0.24, 0.165, 0.21), PURPLE)
    for side in SIDES:
        s.ball(f, (side * 0.09, -0.07, 0.55), 0.04, BLACK)
        s.cone(f, (side * 0.2, 0.28, -0.03), (side * 0.31, 0.6, -0.14), 0.09, 0.025, CREAM)
        s.ball(f, (side * 0.17, 0.12, 0.29), (0.095, 0.11, 0.07), rgb("ffe04a"))
        s.ball(f, (side * 0.165, 0.12, 0.35), (0.04, 0.085, 0.03), BLACK)
        s.eye(f, (side * 0.17, 0.12, 0.36), 0.09)
    for y, z in ((0.4, 0.08), (0.36, -0.16), (0.16, -0.36)):
        s.cone(f, (0, y * 0.8, z * 0.8), (0, y * 1.3, z * 1.3), 0.08, 0.02, rgb("37c7a4"))


def _dragon_parts(s: SceneBuilder, body: Body) -> None:
    wing = rgb("37c7a4")
    for side in SIDES:
        s.ball(body.torso, (side * 0.46, 0.5, -0.28), (0.3, 0.17, 0.045), wing, rotation("z", side * 38))
        s.ball(body.torso, (side * 0.4, 0.26, -0.28), (0.24, 0.12, 0.045), wing, rotation("z", side * 8))
    tail(s, body, [(0, -0.02, -0.2), (0.16, -0.2, -0.45), (0.42, -0.16, -0.55)], (0.15, 0.11, 0.05), PURPLE)


DRAGON = Subject(("dragon", "purple dragon", "baby dragon"), _dragon, PURPLE, CREAM, extras=_dragon_parts)


SKIN = rgb("f0bf98")


def _face(s: SceneBuilder, f: Frame, hair: Color) -> None:
    skull(s, f, SKIN, (0.37, 0.38, 0.35))
    s.ball(f, (0, 0.13, -0.07), (0.405, 0.32, 0.36), hair)
    s.ball(f, (0, -0.07, 0.36), (0.05, 0.055, 0.05), rgb("e0a078"))
    s.ball(f, (0, -0.19, 0.31), (0.09, 0.035, 0.04), rgb("c2453f"))
    eyes(s, f, 0.15, 0.02, 0.32, 0.06)


def _man(s: SceneBuilder, f: Frame) -> None:
    _face(s, f, rgb("3b2a20"))


MAN = Subject(
    ("man", "boy", "guy"),
    _man,
    rgb("2f6fb8"),
    limb=rgb("2f6fb8"),
    leg=rgb("3a3f52"),
    hand=SKIN,
    foot=rgb("5a3b28"),
)


def _woman(s: SceneBuilder, f: Frame) -> None:
    hair = rgb("b5482a")
    _face(s, f, hair)
    for side in SIDES:
        s.cone(f, (side * 0.34, 0.05, -0.05), (side * 0.36, -0.38, -0.04), 0.12, 0.09, hair)


WOMAN = Subject(
    ("woman", "girl", "lady"),
    _woman,
    rgb("d0405f"),
    limb=rgb("d0405f"),
    leg=rgb("4a4560"),
    hand=SKIN,
    foot=rgb("5a3b28"),
)
