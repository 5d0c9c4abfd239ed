"""Contact sheets of the toybox: what there is, at the size at which models learn it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from core.toybox.actions import ACTIONS
from core.toybox.backdrops import BACKDROPS
from core.toybox.captions import articles
from core.toybox.scene_views import SceneView, render_scene_views
from core.toybox.scenes import COLOR_NAMES, SHOWCASE, Scene, named_scene
from core.toybox.subjects import SUBJECTS

SIZE, ENLARGED = 64, 2  # px of a picture, and how many times it is shown larger
GAP, LETTER = 4, 13  # px
PAPER, INK = (250, 250, 248), (40, 40, 44)


@dataclass(frozen=True)
class Sheet:
    """Shots in reading order, `columns` in a row."""

    views: tuple[SceneView, ...]
    columns: int

    def draw(self) -> Image.Image:
        """The sheet, in 256 colors."""
        cell = SIZE * ENLARGED
        row_height = cell + LETTER + 2 * GAP
        rows = -(-len(self.views) // self.columns)
        page = Image.new("RGB", (self.columns * (cell + GAP) + GAP, rows * row_height + GAP), PAPER)
        pen, font = ImageDraw.Draw(page), ImageFont.load_default(LETTER)
        for i, (shot, picture) in enumerate(
            zip(self.views, render_scene_views(self.views, SIZE).pixels, strict=True)
        ):
            row, column = divmod(i, self.columns)
            corner = (GAP + column * (cell + GAP), GAP + row * row_height)
            pen.text(corner, shot.label, fill=INK, font=font)
            enlarged = Image.fromarray(picture).resize((cell, cell), Image.Resampling.NEAREST)
            page.paste(enlarged, (corner[0], corner[1] + LETTER + GAP))
        # A palette that loses no small thing's color, then fitted to the many.
        return page.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)


def subjects() -> Sheet:
    """Every subject, from the front and from behind."""
    shots = []
    for subject in SUBJECTS:
        standing = named_scene(subject.name, "standing")
        shots += [SceneView(standing, azimuth=20, label=subject.name), SceneView(standing, azimuth=145)]
    return Sheet(tuple(shots), 8)


def actions() -> Sheet:
    """Every action at four moments of its loop, subjects in turn."""
    shots = []
    for i, action in enumerate(ACTIONS):
        acting = Scene(i % len(SUBJECTS), i, i % 7, 2 + i % 6)
        azimuth = 50 if action.name in ("on a swing", "riding a bicycle", "riding a horse", "running") else 20
        for moment in range(4):
            label = "" if moment else articles(action.name)
            shots.append(SceneView(acting, moment / 4, azimuth, label=label))
    return Sheet(tuple(shots), 8)


def backdrops() -> Sheet:
    """Every backdrop, a balloon of another color before each."""
    shots = []
    for i, backdrop in enumerate(BACKDROPS):
        color = COLOR_NAMES[i % len(COLOR_NAMES)]
        held = named_scene("rabbit", "holding a balloon", color, backdrop.name)
        shots.append(SceneView(held, 0.25, label=backdrop.short_name))
    return Sheet(tuple(shots), 7)


def views() -> Sheet:
    """One scene at one moment from eight sides at three heights."""
    held = named_scene("fox", "holding a game controller", "blue")
    angles = [(azimuth, elevation) for elevation in (0, 15, 40) for azimuth in range(0, 360, 45)]
    shots = (SceneView(held, 0.25, az, el, label=f"az {az}, el {el}") for az, el in angles)
    return Sheet(tuple(shots), 8)


def showcase() -> Sheet:
    """The pictures that people ask for first."""
    seen = (
        (0.2, 50, "panda on a swing"),
        (0.2, 15, "fox, controller"),
        (0.2, 15, "lobster with a sax"),
        (0.2, 15, "corgi in a beret"),
        (0.4, 15, "skeleton, red wine"),
        (0.2, 0, "teddies, chemicals"),
        (0.2, 50, "astronaut, horse"),
        (0.4, 15, "dog, ice cream"),
        (0.4, 15, "horse drinking"),
        (0.2, 0, "couple in the rain"),
        (0.2, 0, "brush on a canvas"),
        (0.2, 0, "bear in calculus"),
    )
    shots = (
        SceneView(piece, phase, azimuth, label=label)
        for piece, (phase, azimuth, label) in zip(SHOWCASE, seen, strict=True)
    )
    return Sheet(tuple(shots), 6)


SHEETS: dict[str, Callable[[], Sheet]] = {
    "subjects": subjects,
    "actions": actions,
    "backdrops": backdrops,
    "views": views,
    "memorable": showcase,
}
