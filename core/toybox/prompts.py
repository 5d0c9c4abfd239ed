"""Reads prompts as people type them into the captions that the bundled models are trained on.

The words of a prompt are compared with `core.toybox.wordings`, and the prompt is written again as a caption:
"the side view of a dancing panda" becomes "a panda dancing", seen from azimuth 90. A prompt that is a caption
already stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from core.toybox.captions import SUBJECT_NAMES, is_caption
from core.toybox.completion import complete
from core.toybox.prompt_reader import Nearest, PromptReader
from core.toybox.wordings import TRAINED_ELEVATIONS


@dataclass(frozen=True)
class PromptReading:
    """What a prompt was read as.

    prompt: as typed. text: the prompt for the model.
    negative: the negative prompt of the prompt's negations, or "".
    azimuth, elevation: of the camera in degrees where the prompt names a view, else None.
    notes: one sentence for each thing that the bundled model cannot express.
    subject, action: labels, None where none was recognized. group: as in `core.toybox.scenes.Scene`.
    suggestion: where no subject was recognized, the known one nearest in meaning, if that can be collected.
    """

    prompt: str
    text: str
    negative: str = ""
    azimuth: float | None = None
    elevation: float | None = None
    notes: tuple[str, ...] = ()
    subject: str | None = None
    action: str | None = None
    group: str = ""
    suggestion: str | None = None

    @property
    def unknown_subject(self) -> str:
        """A sentence with the known subjects where the prompt names none of them; else ""."""
        if self.subject:
            return ""
        nearest = f' The nearest one it knows is "{self.suggestion}".' if self.suggestion else ""
        return (
            f"The bundled model knows no subject in: {self.prompt}.{nearest} It knows "
            f"{', '.join(SUBJECT_NAMES)}; for others give another model."
        )

    @property
    def summary(self) -> str:
        """The text, the view and the negative prompt in one line."""
        view = {"azimuth": self.azimuth, "elevation": self.elevation}
        parts = [f"{name} {value:g}" for name, value in view.items() if value is not None]
        return ", ".join([self.text, *parts, *([f"negative: {self.negative}"] if self.negative else [])])

    def with_camera(self, azimuth: float | None, elevation: float | None) -> PromptReading:
        """The reading with a camera given by hand, in degrees, in place of the view that the prompt names.

        None leaves that view. An elevation that the bundled model was not trained on is noted.
        """
        low, high = TRAINED_ELEVATIONS
        notes = self.notes
        if elevation is not None and not low <= elevation <= high:
            limits = f"The bundled model is trained on elevations from {low} to {high} degrees"
            notes += (f"{limits}: at {elevation:g} figures may fall apart.",)
        return replace(
            self,
            azimuth=self.azimuth if azimuth is None else None,
            elevation=self.elevation if elevation is None else None,
            notes=notes,
        )

    def negative_with(self, other: str) -> str:
        """The negative prompt behind another one, which may be empty, or end with it already."""
        if other.endswith(self.negative):  # such as that of a run record, of which the clip is made again
            return other
        return ", ".join(text for text in (other, self.negative) if text)


def read_prompt(
    prompt: str,
    seed: int,
    *,
    place: bool = True,
    nearest: Nearest | None = None,
    like: str = "",
    fill: bool = True,
    within: Callable[[str, Callable[[str], str]], str] | None = None,
) -> PromptReading:
    """The reading of a prompt, with the open color and place filled in by the seed and the reading itself.

    place: False for objects, which have all views and no place but a plain background; only the color of the
        prop is filled in.
    fill: False leaves open what the prompt leaves open.
    like: a caption whose color and place are taken where the prompt names none, as of an earlier shot.
    within: cuts a text so that a text encoder takes what a function makes of it.
    nearest: finds the known wording nearest to words that are in no table; without it they stay as they are.
    """
    reader = PromptReader(prompt, nearest)
    name = reader.subject()
    action, phrase = reader.action(name is not None)
    name, action, group = reader.group(name, action)
    backdrop = reader.place()
    color = reader.color(name, action)
    azimuth, elevation = reader.view()
    negative, excluded = reader.negations(name, action)
    if not place and (azimuth is not None or elevation is not None):
        azimuth = elevation = None
        reader.notes.append("An object is seen from all sides: the view is left out.")
    if not place and backdrop and not backdrop.endswith("background"):
        backdrop = None
        reader.notes.append("An object has no place around it: the place is left out.")
        caption = False
    else:
        caption = is_caption(prompt)
    if name and action and not phrase:
        reader.note_unknown_words()
    text = prompt if caption else reader.rewritten(name, action, phrase, group, color, backdrop)
    if fill:
        finish = partial(complete, seed=seed, place=place, subject=name, excluded=excluded, like=like)
        text = finish(within(text, finish) if within else text)
    notes = tuple(dict.fromkeys(reader.notes))
    return PromptReading(
        prompt, text, negative, azimuth, elevation, notes, name, action, group, reader.suggestion
    )


def sentences(readings: Iterable[PromptReading], notes: bool = True) -> list[str]:
    """What to tell a person about the readings of one or several prompts, each sentence once.

    notes: False for prompts that are drawn as they are; then only unknown subjects are reported.
    """
    readings = list(readings)
    several = len({reading.prompt for reading in readings}) > 1
    collected = dict[str, None]()
    for reading in readings:
        if reading.unknown_subject:
            collected[reading.unknown_subject] = None
        for note in reading.notes if notes else ():
            collected[f"{reading.prompt}: {note}" if several else note] = None
    return list(collected)
