"""The animal characters: their solids, colors and names in captions."""

from __future__ import annotations

import numpy as np

from core.toybox.character import (
    BLACK,
    CREAM,
    PINK,
    SIDES,
    WHITE,
    Subject,
    eyes,
    muzzle,
    pointed_ears,
    rgb,
    round_ears,
    skull,
    tail,
)
from core.toybox.figure import Body
from core.toybox.solids import Frame, SceneBuilder, rotation


def _panda(s: SceneBuilder, f: Frame) -> None:
    skull(s, f, WHITE)
    round_ears(s, f, BLACK, r=0.165)
    for side in SIDES:
        s.ball(f, (side * 0.175, 0.02, 0.305), (0.115, 0.145, 0.08), BLACK, rotation("z", side * -25))
        s.ball(f, (side * 0.165, 0.05, 0.385), 0.038, WHITE)
        s.eye(f, (side * 0.17, 0.04, 0.385), 0.09)
    muzzle(s, f, WHITE, (0.14, 0.1, 0.1), z=0.34)


def _panda_band(s: SceneBuilder, body: Body) -> None:
    s.ball(body.torso, (0, 0.4, 0), (0.31, 0.13, 0.235), BLACK)


PANDA = Subject(("panda", "panda bear", "giant panda"), _panda, WHITE, limb=BLACK, extras=_panda_band)


ORANGE = rgb("ee7a1c")


def _fox(s: SceneBuilder, f: Frame) -> None:
    skull(s, f, ORANGE, (0.43, 0.36, 0.36))
    pointed_ears(s, f, ORANGE, CREAM, BLACK)
    for side in SIDES:
        s.ball(f, (side * 0.24, -0.16, 0.19), (0.2, 0.145, 0.17), WHITE)
    s.cone(f, (0, -0.12, 0.27), (0, -0.14, 0.47), 0.13, 0.06, WHITE)
    s.ball(f, (0, -0.1, 0.53), 0.07, BLACK)
    eyes(s, f, 0.16, 0.06, 0.325)


def _fox_tail(s: SceneBuilder, body: Body) -> None:
    tail(s, body, [(0, 0.02, -0.2), (0.14, 0.05, -0.45), (0.24, 0.26, -0.58)], (0.09, 0.17, 0.14), ORANGE)
    tail(s, body, [(0.25, 0.3, -0.59), (0.3, 0.46, -0.6)], (0.13, 0.05), WHITE)


FOX = Subject(
    ("fox", "red fox"), _fox, ORANGE, WHITE, hand=rgb("3a2a26"), foot=rgb("3a2a26"), extras=_fox_tail
)


BROWN, TAN = rgb("7a4a26"), rgb("c9986a")


def _bear(s: SceneBuilder, f: Frame) -> None:
    skull(s, f, BROWN)
    round_ears(s, f, BROWN, TAN)
    muzzle(s, f, TAN)
    eyes(s, f)


BEAR = Subject(("bear", "brown bear", "grizzly bear"), _bear, BROWN, TAN)


GINGER = rgb("e0963f")


def _corgi(s: SceneBuilder, f: Frame) -> None:
    skull(s, f, GINGER, (0.43, 0.36, 0.36))
    for side in SIDES:
        s.ball(f, (side * 0.31, 0.34, 0), (0.15, 0.23, 0.09), GINGER, rotation("z", side * -22))
        s.ball(f, (side * 0.31, 0.34, 0.055), (0.085, 0.15, 0.06), PINK, rotation("z", side * -22))
        s.ball(f, (side * 0.19, -0.17, 0.21), (0.17, 0.13, 0.16), WHITE)
    s.ball(f, (0, 0.14, 0.26), (0.075, 0.24, 0.14), WHITE, rotation("x", -22))
    muzzle(s, f, WHITE, (0.15, 0.115, 0.16))
    s.ball(f, (0, -0.265, 0.42), (0.065, 0.075, 0.05), PINK)
    eyes(s, f, 0.18)


CORGI = Subject(("corgi", "corgi dog", "puppy"), _corgi, GINGER, WHITE, hand=WHITE, foot=WHITE)


def _rabbit(s: SceneBuilder, f: Frame) -> None:
    fur = rgb("ece6e4")
    skull(s, f, fur, (0.41, 0.37, 0.36))
    for side in SIDES:
        s.ball(f, (side * 0.17, 0.48, -0.02), (0.11, 0.31, 0.08), fur, rotation("z", side * -9))
        s.ball(f, (side * 0.17, 0.49, 0.035), (0.062, 0.22, 0.055), PINK, rotation("z", side * -9))
        s.ball(f, (side * 0.26, -0.11, 0.26), (0.085, 0.065, 0.06), PINK)
    muzzle(s, f, WHITE, (0.14, 0.09, 0.1), PINK, z=0.32)
    s.box(f, (0, -0.24, 0.36), (0.055, 0.06, 0.025), WHITE)
    eyes(s, f, y=0.06)


def _rabbit_tail(s: SceneBuilder, body: Body) -> None:
    s.ball(body.torso, (0, 0.02, -0.28), 0.12, WHITE)


RABBIT = Subject(("rabbit", "bunny", "white rabbit"), _rabbit, rgb("ece6e4"), WHITE, extras=_rabbit_tail)


ASH = rgb("8b8f99")


def _cat(s: SceneBuilder, f: Frame) -> None:
    dark = rgb("53565f")
    skull(s, f, ASH, (0.43, 0.35, 0.35))
    pointed_ears(s, f, ASH, PINK, up=0.26)
    for x in (-0.11, 0.0, 0.11):
        s.ball(f, (x, 0.27, 0.19), (0.034, 0.12, 0.07), dark, rotation("x", -35))
    for side in SIDES:
        s.ball(f, (side * 0.17, 0.03, 0.31), (0.095, 0.105, 0.06), rgb("8fdc4e"))
        s.ball(f, (side * 0.165, 0.03, 0.36), (0.04, 0.085, 0.03), BLACK)
        s.eye(f, (side * 0.17, 0.03, 0.37), 0.09)
        s.ball(f, (side * 0.09, -0.15, 0.31), (0.105, 0.08, 0.08), WHITE)
    s.ball(f, (0, -0.09, 0.38), (0.06, 0.045, 0.045), PINK)


def _cat_tail(s: SceneBuilder, body: Body) -> None:
    points = [(0, 0, -0.2), (0.2, 0.0, -0.42), (0.36, 0.22, -0.46), (0.34, 0.5, -0.44)]
    tail(s, body, points, (0.075, 0.075, 0.075, 0.075), ASH)


CAT = Subject(("cat", "gray cat", "kitten"), _cat, ASH, WHITE, hand=WHITE, foot=WHITE, extras=_cat_tail)


RED = rgb("d9261c")


def _lobster(s: SceneBuilder, f: Frame) -> None:
    skull(s, f, RED, (0.38, 0.36, 0.34))
    for side in SIDES:
        s.cone(f, (side * 0.15, 0.25, 0.12), (side * 0.2, 0.42, 0.18), 0.06, 0.06, RED)
        s.ball(f, (side * 0.2, 0.48, 0.2), 0.125, WHITE)
        s.ball(f, (side * 0.2, 0.49, 0.3), (0.065, 0.075, 0.04), BLACK)
        s.eye(f, (side * 0.2, 0.48, 0.325), 0.1)
        s.chain(
            f,
            [
                np.array(p)
                for p in ((side * 0.08, 0.26, 0.2), (side * 0.36, 0.6, 0.16), (side * 0.62, 0.66, 0.05))
            ],
            (0.035, 0.03, 0.025),
            rgb("a81812"),
        )
    s.ball(f, (0, -0.14, 0.27), (0.18, 0.04, 0.09), rgb("6e0f0c"))


def _lobster_parts(s: SceneBuilder, body: Body) -> None:
    for side, hand in zip(SIDES, (body.left_hand, body.right_hand), strict=True):
        claw = hand.child((side * 0.04, 0.02, 0.02), rotation("z", side * -22))
        s.ball(claw, (side * 0.02, 0.08, 0), (0.17, 0.15, 0.11), RED)
        s.ball(claw, (side * 0.085, 0.21, 0), (0.08, 0.16, 0.085), RED, rotation("z", side * 6))
        s.ball(claw, (side * -0.1, 0.19, 0), (0.06, 0.14, 0.07), rgb("b81d15"), rotation("z", side * -8))
    for y, r in ((0.34, 0.2), (0.2, 0.22), (0.06, 0.2)):
        s.ball(body.torso, (0, y, 0.2), (r, 0.05, 0.1), rgb("b81d15"))
    for i, y in enumerate((0.1, -0.02, -0.12)):
        s.ball(body.torso, (0, y, -0.24 - 0.11 * i), (0.2 - 0.03 * i, 0.13, 0.11), rgb("b81d15"))
    for turn in (-50, 0, 50):
        fan = body.torso.child((0, -0.2, -0.46), rotation("y", turn))
        s.ball(fan, (0, 0, -0.1), (0.12, 0.05, 0.14), RED)


LOBSTER = Subject(("lobster", "red lobster"), _lobster, RED, rgb("f2a07c"), extras=_lobster_parts)


NAVY = rgb("232c4a")


def _penguin(s: SceneBuilder, f: Frame) -> None:
    skull(s, f, NAVY, (0.4, 0.38, 0.36))
    for side in SIDES:
        s.ball(f, (side * 0.15, 0.0, 0.2), (0.17, 0.2, 0.17), WHITE)
    s.cone(f, (0, -0.07, 0.33), (0, -0.1, 0.53), 0.11, 0.035, rgb("f59a1f"))
    eyes(s, f, 0.16, 0.07, 0.35)


PENGUIN = Subject(("penguin",), _penguin, NAVY, WHITE, leg=rgb("f59a1f"), hand=NAVY, foot=rgb("f59a1f"))


LEAF = rgb("58b432")


def _frog(s: SceneBuilder, f: Frame) -> None:
    skull(s, f, LEAF, (0.46, 0.31, 0.36))
    for side in SIDES:
        s.ball(f, (side * 0.24, 0.28, 0.1), 0.175, LEAF)
        s.ball(f, (side * 0.25, 0.31, 0.17), 0.125, WHITE)
        s.ball(f, (side * 0.25, 0.32, 0.27), (0.065, 0.075, 0.04), BLACK)
        s.eye(f, (side * 0.25, 0.31, 0.295), 0.1)
    s.ball(f, (0, -0.13, 0.16), (0.36, 0.145, 0.235), rgb("c9e59a"))
    s.ball(f, (0, -0.065, 0.24), (0.31, 0.04, 0.16), rgb("2c5f1a"))


FROG = Subject(("frog", "green frog"), _frog, LEAF, rgb("c9e59a"))


GOLD = rgb("e8bd62")


def _retriever(s: SceneBuilder, f: Frame) -> None:
    shade = rgb("b98231")
    skull(s, f, GOLD, (0.39, 0.37, 0.36))
    for side in SIDES:
        s.ball(f, (side * 0.39, -0.03, 0.0), (0.1, 0.29, 0.16), shade, rotation("z", side * 10))
    muzzle(s, f, rgb("f4dda2"), (0.17, 0.13, 0.2), z=0.36)
    s.ball(f, (0, -0.27, 0.45), (0.07, 0.09, 0.05), PINK)
    eyes(s, f, 0.15, 0.08)


def _retriever_parts(s: SceneBuilder, body: Body) -> None:
    tail(s, body, [(0, 0.02, -0.22), (0.08, 0.14, -0.46), (0.14, 0.4, -0.54)], (0.07, 0.12, 0.06), GOLD)
    s.ball(body.torso, (0, 0.47, 0.0), (0.23, 0.06, 0.235), rgb("2f7de0"))


GOLDEN_RETRIEVER = Subject(
    ("golden retriever", "golden retriever dog", "yellow dog"),
    _retriever,
    GOLD,
    rgb("f4dda2"),
    extras=_retriever_parts,
)


CHESTNUT = rgb("9a5128")


def _horse(s: SceneBuilder, f: Frame) -> None:
    mane = rgb("2e1a12")
    skull(s, f, CHESTNUT, (0.31, 0.36, 0.34))
    s.cone(f, (0, -0.02, 0.18), (0, -0.2, 0.5), 0.24, 0.175, CHESTNUT)
    s.ball(f, (0, -0.24, 0.58), (0.185, 0.155, 0.13), CREAM)
    for side in SIDES:
        s.cone(f, (side * 0.17, 0.28, -0.04), (side * 0.21, 0.5, -0.04), 0.09, 0.03, CHESTNUT)
        s.ball(f, (side * 0.08, -0.2, 0.7), 0.04, mane)
        s.ball(f, (side * 0.25, 0.1, 0.22), (0.065, 0.085, 0.08), BLACK)
        s.eye(f, (side * 0.29, 0.1, 0.275), 0.065, (side * 0.6, 0, 0.8))
    s.ball(f, (0, 0.15, 0.31), (0.065, 0.17, 0.08), WHITE, rotation("x", -20))
    s.chain(
        f,
        [np.array(p) for p in ((0, 0.37, 0.14), (0, 0.36, -0.16), (0, 0.14, -0.35), (0, -0.2, -0.36))],
        (0.1, 0.12, 0.12, 0.09),
        mane,
    )


def _horse_tail(s: SceneBuilder, body: Body) -> None:
    tail(s, body, [(0, 0.08, -0.24), (0, 0.12, -0.42), (0, -0.28, -0.5)], (0.07, 0.1, 0.06), rgb("2e1a12"))


HORSE = Subject(
    ("horse", "brown horse", "pony"),
    _horse,
    CHESTNUT,
    foot=rgb("2e1a12"),
    hand=rgb("2e1a12"),
    extras=_horse_tail,
)
