"""Contact sheets of the toybox: what there is, at the size at which models learn it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw, ImageFont

from core.toybox.actions import ACTIONS
from core.toybox.backdrops import BACKDROPS, PROP_COLOURS
from core.toybox.captions import articles
from core.toybox.scenes import COLOUR_NAMES, Scene, index_of
from core.toybox.shots import Shot, photograph
from core.toybox.subjects import SUBJECTS

SIZE, ENLARGED = 64, 2  # px of a picture, and how many times it is shown larger
GAP, LETTER = 4, 13  # px
PAPER, INK = (250, 250, 248), (40, 40, 44)


@dataclass(frozen=True)
class Sheet:
    """Shots in reading order, `columns` in a row."""

    shots: tuple[Shot, ...]
    columns: int

    def draw(self) -> Image.Image:
        """The sheet, in 256 colours."""
        cell = SIZE * ENLARGED
        row_height = cell + LETTER + 2 * GAP
        rows = -(-len(self.shots) // self.columns)
        page = Image.new("RGB", (self.columns * (cell + GAP) + GAP, rows * row_height + GAP), PAPER)
        pen, font = ImageDraw.Draw(page), ImageFont.load_default(LETTER)
        for i, (shot, picture) in enumerate(
            zip(self.shots, photograph(self.shots, SIZE).pixels, strict=True)
        ):
            row, column = divmod(i, self.columns)
            corner = (GAP + column * (cell + GAP), GAP + row * row_height)
            pen.text(corner, shot.label, fill=INK, font=font)
            enlarged = Image.fromarray(picture).resize((cell, cell), Image.Resampling.NEAREST)
            page.paste(enlarged, (corner[0], corner[1] + LETTER + GAP))
        # A palette that loses no small thing's colour, then fitted to the many.
        return page.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)


def scene(subject: str, action: str, colour: str = "red", backdrop: str = BACKDROPS[2].name) -> Scene:
    """The scene of these names. Raises ValueError, listing what there is, when the toybox lacks one."""
    if colour not in PROP_COLOURS:
        raise ValueError(f"the toybox has no colour {colour!r}; it has {', '.join(COLOUR_NAMES)}")
    parts = index_of(SUBJECTS, subject), index_of(ACTIONS, action)
    return Scene(*parts, COLOUR_NAMES.index(colour), index_of(BACKDROPS, backdrop))


def subjects() -> Sheet:
    """Every subject, from the front and from behind."""
    shots = []
    for subject in SUBJECTS:
        standing = scene(subject.name, "standing")
        shots += [Shot(standing, azimuth=20, label=subject.name), Shot(standing, azimuth=145)]
    return Sheet(tuple(shots), 8)


def actions() -> Sheet:
    """Every action at four moments of its loop, subjects in turn."""
    shots = []
    for i, action in enumerate(ACTIONS):
        acting = Scene(i % len(SUBJECTS), i, i % 7, 2 + i % 6)
        azimuth = 50 if action.name in ("on a swing", "riding a bicycle", "riding a horse", "running") else 20
        for moment in range(4):
            label = "" if moment else articles(action.name)
            shots.append(Shot(acting, moment / 4, azimuth, label=label))
    return Sheet(tuple(shots), 8)


def backdrops() -> Sheet:
    """Every backdrop, a balloon of another colour before each."""
    shots = []
    for i, backdrop in enumerate(BACKDROPS):
        colour = COLOUR_NAMES[i % len(COLOUR_NAMES)]
        held = scene("rabbit", "holding a balloon", colour, backdrop.name)
        shots.append(Shot(held, 0.25, label=backdrop.short_name))
    return Sheet(tuple(shots), 7)


def views() -> Sheet:
    """One scene at one moment from eight sides at three heights."""
    held = scene("fox", "holding a game controller", "blue")
    angles = [(azimuth, elevation) for elevation in (0, 15, 40) for azimuth in range(0, 360, 45)]
    shots = (Shot(held, 0.25, az, el, label=f"az {az}, el {el}") for az, el in angles)
    return Sheet(tuple(shots), 8)


def memorable() -> Sheet:
    """The pictures that papers on text-to-video and text-to-3D are remembered by, as this world has them."""
    drinking, dressed = "drinking a glass of juice", "wearing a beret and holding a baguette"
    shots = (
        Shot(scene("panda", "on a swing", "red", "on the grass"), 0.2, 50, label="panda on a swing"),
        Shot(scene("fox", "holding a game controller", "blue"), 0.2, label="fox, controller"),
        Shot(scene("lobster", "playing a saxophone"), 0.2, label="lobster with a sax"),
        Shot(scene("corgi", dressed), 0.2, label="corgi in a beret"),
        Shot(scene("skeleton", drinking), 0.4, label="skeleton, red wine"),
        Shot(
            replace(scene("teddy bear", "mixing chemicals", "green"), company="pair"),
            0.2,
            0,
            label="teddies, chemicals",
        ),
        Shot(scene("astronaut", "riding a horse", backdrop="at night"), 0.2, 50, label="astronaut, horse"),
        Shot(
            scene("golden retriever", "eating ice cream", "pink", "on a beach at sunset"),
            0.4,
            label="dog, ice cream",
        ),
        Shot(scene("horse", drinking, "blue", "on the grass"), 0.4, label="horse drinking"),
        Shot(
            replace(scene("man", "walking", backdrop="in the rain"), company="couple"),
            0.2,
            0,
            label="couple in the rain",
        ),
        Shot(replace(scene("man", "standing", "blue"), company="brush"), 0.2, 0, label="brush on a canvas"),
        Shot(scene("bear", "in a calculus class"), 0.2, 0, label="bear in calculus"),
    )
    return Sheet(shots, 6)


SHEETS: dict[str, Callable[[], Sheet]] = {
    "subjects": subjects,
    "actions": actions,
    "backdrops": backdrops,
    "views": views,
    "memorable": memorable,
}
