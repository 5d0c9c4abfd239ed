"""The type of an action: a pose that loops over a phase in [0, 1), and the props that go with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.toybox.character import Color, Subject
from core.toybox.figure import Body, Pose, pose_body
from core.toybox.solids import Frame, SceneBuilder

Phase = np.ndarray  # (N,) in [0,1)


def sin(phase: Phase, cycles: int = 1, start: float = 0.0) -> np.ndarray:
    """A sine of `cycles` periods a loop, `start` of a loop ahead."""
    return np.sin(2 * np.pi * (cycles * phase + start))


def cos(phase: Phase, cycles: int = 1, start: float = 0.0) -> np.ndarray:
    """A cosine of `cycles` periods a loop, `start` of a loop ahead."""
    return np.cos(2 * np.pi * (cycles * phase + start))


@dataclass(frozen=True)
class Action:
    """`phrases` follow the subject in a caption, "{c}" is the prop's color; the first names the action."""

    phrases: tuple[str, ...]
    pose: Callable[[Phase], Pose]
    props: Callable[[SceneBuilder, Body, Phase, Color], None] | None = None
    carrier: Callable[[Phase], Frame] | None = None  # what carries the figure: a swing's seat

    @property
    def name(self) -> str:
        return self.phrases[0].replace("{c} ", "")

    @property
    def colored(self) -> bool:
        return "{c}" in self.phrases[0]

    def perform(
        self, s: SceneBuilder, subject: Subject, phase: Phase, color: Color, base: Frame | None = None
    ) -> Body:
        """Adds the subject in this action, with its props, to the scene."""
        carrier = self.carrier(phase) if self.carrier else base
        body = pose_body(self.pose(phase), len(phase), carrier)
        subject.sculpt(s, body)
        if self.props:
            self.props(s, body, phase, color)
        return body
