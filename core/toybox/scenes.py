"""Scenes: a subject, an action, a prop color and a backdrop, with solids at any moment and rendered images.

A tenth of all pairs of subject and action is held out of training (`held_out`). The pairs of `SHOWCASE`, the
most common prompts, are never held out.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from core.toybox import props
from core.toybox.actions import ACTIONS, Action
from core.toybox.backdrops import BACKDROPS, PROP_COLORS, Backdrop
from core.toybox.camera import Camera, Crop
from core.toybox.character import Color, Subject
from core.toybox.render import SceneRender, render
from core.toybox.solids import Frame, SceneBuilder, Solids, rotation
from core.toybox.subjects import SUBJECTS

COLOR_NAMES = tuple(PROP_COLORS)
SHADOW_DEPTH = 0.38


class Named(Protocol):
    """A subject, an action or a backdrop."""

    @property
    def name(self) -> str:
        """Its label."""
        ...


def index_of(items: Sequence[Named], name: str) -> int:
    """Index of the subject, action or backdrop with that name. Raises ValueError when there is none."""
    for i, item in enumerate(items):
        if item.name == name:
            return i
    raise ValueError(f"the toybox has no {name!r}; it has {', '.join(item.name for item in items)}")


def held_out(subject: str, action: str) -> bool:
    """Whether the pair of names is held out of training.

    One pair in ten is: those whose CRC-32 of "subject|action" is divisible by ten. `SHOWCASE` never is.
    """
    showcase = {(SUBJECTS[piece.subject].name, ACTIONS[piece.action].name) for piece in SHOWCASE}
    return (subject, action) not in showcase and zlib.crc32(f"{subject}|{action}".encode()) % 10 == 0


@dataclass(frozen=True)
class Scene:
    """Indices into SUBJECTS, ACTIONS, COLOR_NAMES and BACKDROPS.

    group: "" for one figure, "pair" for two equal figures, "couple" for a man and a woman under one umbrella,
        "brush" for a paintbrush painting on a canvas, without a figure.
    """

    subject: int
    action: int
    color: int
    backdrop: int
    group: str = ""

    @property
    def who(self) -> Subject:
        """The subject."""
        return SUBJECTS[self.subject]

    @property
    def act(self) -> Action:
        """The action."""
        return ACTIONS[self.action]

    @property
    def place(self) -> Backdrop:
        """The backdrop."""
        return BACKDROPS[self.backdrop]

    @property
    def held_out(self) -> bool:
        """Whether the pair of subject and action is held out of training."""
        return held_out(self.who.name, self.act.name)

    def solids(self, phase: np.ndarray) -> Solids:
        """The scene's solids at the moments `phase` (N,) of its loop."""
        return self.build(phase).solids()

    def build(self, phase: np.ndarray) -> SceneBuilder:
        """The scene's solids and eyes at the moments `phase` (N,) of its loop."""
        s = SceneBuilder(len(phase))
        color = PROP_COLORS[COLOR_NAMES[self.color]]
        world = Frame.world(len(phase))
        if self.group == "brush":
            _brush_on_canvas(s, phase, color)
        elif self.group == "couple":
            walking = ACTIONS[index_of(ACTIONS, "walking")]
            man, woman = SUBJECTS[index_of(SUBJECTS, "man")], SUBJECTS[index_of(SUBJECTS, "woman")]
            walking.perform(s, man, phase, color, world.child((-0.4, 0, 0), scale=0.86))
            walking.perform(s, woman, (phase + 0.5) % 1, color, world.child((0.4, 0, 0), scale=0.82))
            props.umbrella(s, world.child((-0.06, 0.85, 0.22), scale=0.95), color)
        elif self.group == "pair":
            for side in (-1, 1):
                base = world.child((side * 0.55, 0, 0), rotation("y", -side * 12), 0.8)
                self.act.perform(s, self.who, (phase + (side > 0) * 0.25) % 1, color, base)
        else:
            self.act.perform(s, self.who, phase, color)
        return s


def _brush_on_canvas(s: SceneBuilder, phase: np.ndarray, color: Color) -> None:
    world = Frame.world(s.count)
    props.easel(s, world.child((0.1, 0, -0.1), rotation("y", -12), 1.35), color)
    stroke = np.stack(
        [0.05 + 0.3 * np.sin(2 * np.pi * phase), 1.35 + 0.2 * np.cos(2 * np.pi * phase), 0.55 + 0 * phase], -1
    )
    props.brush(s, world.child(stroke, rotation("y", 65) @ rotation("x", -25)), color, 2.0)


def render_scenes(
    scenes: list[Scene],
    phase: Tensor,
    camera: Camera,
    shadow: Tensor,
    size: int = 64,
    supersampling: int = 2,
    device: torch.device | str = "cpu",
    textureless: bool = False,
    crop: Crop | None = None,
) -> tuple[Tensor, SceneRender]:
    """Images of several scenes with the same number n of frames each.

    phase, camera and shadow (bool) have one entry per frame, (len(scenes) * n,), in the order of the scenes.
    textureless: figures and props in one gray, as in `render`; the backdrop has its colors.
    crop: the part of the images to render; it costs its share of the time and equals that part of the entire
        images up to rounding.
    Returns color over the backdrop (N,3,size,size) in [0,1] and the render without backdrop.
    """
    frames = len(phase) // len(scenes)
    moments = phase.cpu().numpy().reshape(len(scenes), frames)
    solids = Solids.cat([scene.solids(p) for scene, p in zip(scenes, moments, strict=True)]).to(device)
    picture = render(solids, camera.to(device), size, supersampling, textureless, crop)
    backdrop = torch.cat(
        [
            scene.place.paint(p.to(device), size, crop)
            for scene, p in zip(scenes, phase.split(frames), strict=True)
        ]
    )
    backdrop = backdrop * (1 - SHADOW_DEPTH * picture.shadow * shadow.to(device)[:, None, None, None])
    return picture.color + backdrop * (1 - picture.alpha), picture


def named_scene(
    subject: str, action: str, color: str = "red", backdrop: str = BACKDROPS[2].name, group: str = ""
) -> Scene:
    """The scene with these names. Raises ValueError with the list of names when one does not exist."""
    if color not in PROP_COLORS:
        raise ValueError(f"the toybox has no color {color!r}; it has {', '.join(COLOR_NAMES)}")
    parts = index_of(SUBJECTS, subject), index_of(ACTIONS, action)
    return Scene(*parts, COLOR_NAMES.index(color), index_of(BACKDROPS, backdrop), group)


SHOWCASE = (
    named_scene("panda", "on a swing", "red", "on the grass"),
    named_scene("fox", "holding a game controller", "blue"),
    named_scene("lobster", "playing a saxophone"),
    named_scene("corgi", "wearing a beret and holding a baguette"),
    named_scene("skeleton", "drinking a glass of juice"),
    named_scene("teddy bear", "mixing chemicals", "green", group="pair"),
    named_scene("astronaut", "riding a horse", backdrop="at night"),
    named_scene("golden retriever", "eating ice cream", "pink", "on a beach at sunset"),
    named_scene("horse", "drinking a glass of juice", "blue", "on the grass"),
    named_scene("man", "walking", backdrop="in the rain", group="couple"),
    named_scene("man", "standing", "blue", group="brush"),
    named_scene("bear", "in a calculus class"),
)
"""Well-known example images of text-to-video and text-to-3D papers, as scenes of the toybox."""


PAIR_ACTIONS = (
    *("standing", "walking", "running", "jumping", "waving", "dancing"),
    *("playing a guitar", "mixing chemicals", "eating ice cream", "drinking a glass of juice"),
    *("juggling balls", "reading a book"),
)


def random_scene(rng: np.random.Generator, held: bool | None = False, showcase: float = 0.0) -> Scene:
    """Random scene.

    held: draw only pairs that are not held out (False), only held-out pairs (True), or any (None). Unless it
        is True, one scene in thirty has a group instead of a single figure.
    showcase: probability of a scene of `SHOWCASE` instead, with a random color and backdrop.
    """
    while True:
        subject, action = int(rng.integers(len(SUBJECTS))), int(rng.integers(len(ACTIONS)))
        color = int(rng.integers(len(COLOR_NAMES)))
        # An independent coin per backdrop: two thirds of the scenes are plain, as distillation needs.
        candidates = [i for i, b in enumerate(BACKDROPS) if b.plain == (rng.random() < 0.6)]
        if not candidates:
            continue
        backdrop = int(rng.choice(candidates))
        if showcase and rng.random() < showcase:
            piece = SHOWCASE[rng.integers(len(SHOWCASE))]
            return replace(piece, color=color, backdrop=backdrop)
        group = ""
        if held is not True and rng.random() < 1 / 30:
            group = str(rng.choice(["pair", "pair", "couple", "brush"]))
            if group == "pair":
                action = index_of(ACTIONS, str(rng.choice(PAIR_ACTIONS)))
        scene = Scene(subject, action, color, backdrop, group)
        if held is None or group in ("couple", "brush") or scene.held_out == held:
            return scene


def contents(scene: Scene) -> str:
    """Short name of the scene, for file names."""
    if scene.group in ("couple", "brush"):
        return scene.group
    pair = " pair" if scene.group == "pair" else ""
    return f"{scene.who.name}{pair}, {scene.act.name}"
