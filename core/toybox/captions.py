"""Captions of scenes in many wordings, and lookup of subjects, actions, colors and backdrops by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

from core.errors import UserError
from core.toybox.actions import ACTIONS
from core.toybox.backdrops import BACKDROPS
from core.toybox.scenes import COLOR_NAMES, PAIR_ACTIONS, Scene
from core.toybox.subjects import SUBJECTS

OPENINGS = (
    *("a {}",) * 3,
    "a cute {}",
    "a little {}",
    "a photo of a {}",
    "a picture of a {}",
    "a 3d render of a {}",
    "a cartoon {}",
    "a toy {}",
)
COUPLES = ("a couple walking", "a man and a woman walking", "a couple taking a walk")
BRUSHES = ("a brush painting on a canvas", "a paintbrush painting on a canvas")
SUBJECT_NAMES = tuple(subject.name for subject in SUBJECTS)
PLURALS = {
    "man": "men",
    "woman": "women",
    "lady": "ladies",
    "puppy": "puppies",
    "bunny": "bunnies",
    "pony": "ponies",
    "fox": "foxes",
    "red fox": "red foxes",
    "spaceman": "spacemen",
    "teddy": "teddies",
}


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """Random caption of the scene. It names the color and the backdrop with probability 0.9 each."""
    color = COLOR_NAMES[scene.color]
    place = str(rng.choice(scene.place.phrases))
    if scene.group == "couple":
        who = str(rng.choice(COUPLES))
        text = f"{who} under a {color} umbrella"
    elif scene.group == "brush":
        text = f"{rng.choice(BRUSHES)} with {color} paint"
    else:
        name = str(scene.who.names[0] if rng.random() < 0.6 else rng.choice(scene.who.names))
        phrase = str(rng.choice(scene.act.phrases))
        with_color_name = rng.random() < 0.9
        phrase = phrase.replace("{c}", color) if with_color_name else phrase.replace("{c} ", "")
        subject = f"two {plural(name)}" if scene.group == "pair" else str(rng.choice(OPENINGS)).format(name)
        text = f"{subject} {phrase}"
    return articles(f"{text} {place}" if rng.random() < 0.9 else text)


def articles(text: str) -> str:
    """The text with "a" replaced by "an" before vowels, except before "uni"."""
    return re.sub(r"\ba (?=[aeio]|u(?!ni))", "an ", text)


def plural(name: str) -> str:
    """Plural of a subject's name."""
    return PLURALS.get(name, name + "s")


def prop_phrases() -> list[str]:
    """All phrases of actions with "{c}" for the color of a prop, longest first."""
    phrases = [phrase for action in ACTIONS for phrase in action.phrases if "{c}" in phrase]
    return sorted(phrases, key=len, reverse=True)


def is_caption(text: str) -> bool:
    """Whether the text is a caption of the training images, with or without its color and its place."""
    text = _normalize(text)
    heads = [text] + [text.removesuffix(place) for place in _places() if text.endswith(place)]
    return any(
        head.removeprefix(who) in phrases
        for head in heads
        for subjects, phrases in _sentences()
        for who in subjects
        if head.startswith(who)
    )


@cache
def _places() -> list[str]:
    """The endings of captions that name a place."""
    return [f" {_normalize(phrase)}" for backdrop in BACKDROPS for phrase in backdrop.phrases]


@cache
def _sentences() -> list[tuple[set[str], set[str]]]:
    """Beginnings of captions, and the phrases that can follow each of them, in every color and without one.

    They are looked up, because a regular expression of them all takes longer to compile than a command to
    start.
    """
    names = [name for subject in SUBJECTS for name in subject.names]
    phrases = [phrase for action in ACTIONS for phrase in action.phrases]
    of_pairs = [phrase for action in ACTIONS if action.name in PAIR_ACTIONS for phrase in action.phrases]
    sentences = (
        ([opening.format(name) for opening in OPENINGS for name in names], phrases),
        ([f"two {plural(name)}" for name in names], of_pairs),
        (COUPLES, ["under a {c} umbrella"]),
        (BRUSHES, ["with {c} paint"]),
    )
    colors = ("", *(f"{name} " for name in COLOR_NAMES))
    return [
        (
            {f"{_normalize(subject)} " for subject in subjects},
            {_normalize(phrase.replace("{c} ", color)) for phrase in following for color in colors},
        )
        for subjects, following in sentences
    ]


def named_subject(name: str) -> int:
    """Index into SUBJECTS by any name of the subject. Raises UserError with the list when none matches."""
    return _named("subject", name, [subject.names for subject in SUBJECTS])


def named_action(name: str) -> int:
    """Index into ACTIONS by any phrase of the action without the color. Raises as `named_subject`."""
    return _named("action", name, [[p.replace("{c} ", "") for p in action.phrases] for action in ACTIONS])


def named_color(name: str) -> int:
    """Index into COLOR_NAMES by name. Raises as `named_subject`."""
    return _named("color", name, [[color] for color in COLOR_NAMES])


def named_backdrop(name: str) -> int:
    """Index into BACKDROPS by any phrase or by the plain color. Raises as `named_subject`."""
    return _named("backdrop", name, [[b.short_name, *b.phrases] for b in BACKDROPS])


def _named(kind: str, name: str, wordings: Sequence[Sequence[str]]) -> int:
    normalized = _normalize(name)
    for index, words in enumerate(wordings):
        if normalized in map(_normalize, words):
            return index
    available = ", ".join(words[0] for words in wordings)
    raise UserError(f"The toybox has no {kind} {name!r}; it has: {available}.")


def _normalize(text: str) -> str:
    """The text in lower case, with single spaces and with "an" replaced by "a"."""
    return re.sub(r"\ban ", "a ", " ".join(text.lower().split()))
