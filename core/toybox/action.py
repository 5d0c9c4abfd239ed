"""Actions: poses that loop over a phase in [0, 1), with their props."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.toybox.character import Color, Subject
from core.toybox.figure import Body, Pose, pose_body
from core.toybox.solids import Frame, SceneBuilder

Phase = np.ndarray  # (N,) in [0,1)


def sin(phase: Phase, cycles: int = 1, start: float = 0.0) -> np.ndarray:
    """Sine with `cycles` periods per loop, shifted ahead by the fraction `start` of a loop."""
    return np.sin(2 * np.pi * (cycles * phase + start))


def cos(phase: Phase, cycles: int = 1, start: float = 0.0) -> np.ndarray:
    """Cosine with `cycles` periods per loop, shifted ahead by the fraction `start` of a loop."""
    return np.cos(2 * np.pi * (cycles * phase + start))


@dataclass(frozen=True)
class Action:
    """A looping pose and its props.

    phrases: what follows the subject in a caption, with "{c}" for the prop's color; the first one names the
        action.
    """

    phrases: tuple[str, ...]
    pose: Callable[[Phase], Pose]
    props: Callable[[SceneBuilder, Body, Phase, Color], None] | None = None
    carrier: Callable[[Phase], Frame] | None = None  # frame that carries the figure: a swing's seat

    @property
    def name(self) -> str:
        """The first phrase, without the color."""
        return self.phrases[0].replace("{c} ", "")

    @property
    def colored(self) -> bool:
        """Whether captions of the action can name a prop color."""
        return "{c}" in self.phrases[0]

    def perform(
        self, s: SceneBuilder, subject: Subject, phase: Phase, color: Color, base: Frame | None = None
    ) -> Body:
        """Adds the subject in this action, with its props, to the scene and returns its joints.

        phase: (N,) moments of the loop. base: frame of the figure; an action's own carrier takes precedence.
        """
        carrier = self.carrier(phase) if self.carrier else base
        body = pose_body(self.pose(phase), len(phase), carrier)
        subject.sculpt(s, body)
        if self.props:
            self.props(s, body, phase, color)
        return body
