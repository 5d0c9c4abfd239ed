"""Contact sheets of the toybox at the size of the training images."""

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

SIZE, ENLARGED = 64, 2  # pixels of an image, and its magnification on the sheet
GAP, LETTER = 4, 13  # pixels
PAPER, INK = (250, 250, 248), (40, 40, 44)


@dataclass(frozen=True)
class Sheet:
    """Labeled views in reading order, `columns` per row."""

    views: tuple[SceneView, ...]
    columns: int

    def draw(self) -> Image.Image:
        """The sheet as an image with a palette of 256 colors."""
        cell = SIZE * ENLARGED
        row_height = cell + LETTER + 2 * GAP
        rows = -(-len(self.views) // self.columns)
        page = Image.new("RGB", (self.columns * (cell + GAP) + GAP, rows * row_height + GAP), PAPER)
        pen, font = ImageDraw.Draw(page), ImageFont.load_default(LETTER)
        for i, (view, picture) in enumerate(
            zip(self.views, render_scene_views(self.views, SIZE).pixels, strict=True)
        ):
            row, column = divmod(i, self.columns)
            corner = (GAP + column * (cell + GAP), GAP + row * row_height)
            pen.text(corner, view.label, fill=INK, font=font)
            enlarged = Image.fromarray(picture).resize((cell, cell), Image.Resampling.NEAREST)
            page.paste(enlarged, (corner[0], corner[1] + LETTER + GAP))
        # Maximum coverage keeps the colors of small parts; k-means then fits the palette to all pixels.
        return page.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)


def subjects() -> Sheet:
    """Every subject, from the front and from behind."""
    cells = []
    for subject in SUBJECTS:
        standing = named_scene(subject.name, "standing")
        cells += [SceneView(standing, azimuth=20, label=subject.name), SceneView(standing, azimuth=145)]
    return Sheet(tuple(cells), 8)


def actions() -> Sheet:
    """Every action at four moments of its loop, with alternating subjects."""
    cells = []
    for i, action in enumerate(ACTIONS):
        acting = Scene(i % len(SUBJECTS), i, i % 7, 2 + i % 6)
        azimuth = 50 if action.name in ("on a swing", "riding a bicycle", "riding a horse", "running") else 20
        for moment in range(4):
            label = "" if moment else articles(action.name)
            cells.append(SceneView(acting, moment / 4, azimuth, label=label))
    return Sheet(tuple(cells), 8)


def backdrops() -> Sheet:
    """Every backdrop behind a rabbit with a balloon, in alternating colors."""
    cells = []
    for i, backdrop in enumerate(BACKDROPS):
        color = COLOR_NAMES[i % len(COLOR_NAMES)]
        scene = named_scene("rabbit", "holding a balloon", color, backdrop.name)
        cells.append(SceneView(scene, 0.25, label=backdrop.short_name))
    return Sheet(tuple(cells), 7)


def views() -> Sheet:
    """One scene at one moment from eight azimuths at three elevations."""
    scene = named_scene("fox", "holding a game controller", "blue")
    angles = [(azimuth, elevation) for elevation in (0, 15, 40) for azimuth in range(0, 360, 45)]
    cells = (SceneView(scene, 0.25, az, el, label=f"az {az}, el {el}") for az, el in angles)
    return Sheet(tuple(cells), 8)


def showcase() -> Sheet:
    """The scenes of `SHOWCASE`."""
    views_and_labels = (
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
    cells = (
        SceneView(piece, phase, azimuth, label=label)
        for piece, (phase, azimuth, label) in zip(SHOWCASE, views_and_labels, strict=True)
    )
    return Sheet(tuple(cells), 6)


SHEETS: dict[str, Callable[[], Sheet]] = {
    "subjects": subjects,
    "actions": actions,
    "backdrops": backdrops,
    "views": views,
    "showcase": showcase,
}
