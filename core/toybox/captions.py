"""Captions of scenes in many wordings, and lookup of subjects, actions, colors and backdrops by name."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from core.errors import UserError
from core.toybox.actions import ACTIONS
from core.toybox.backdrops import BACKDROPS
from core.toybox.scenes import COLOR_NAMES, Scene
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
        who = str(rng.choice(["a couple walking", "a man and a woman walking", "a couple taking a walk"]))
        text = f"{who} under a {color} umbrella"
    elif scene.group == "brush":
        text = (
            str(rng.choice(["a brush painting on a canvas", "a paintbrush painting on a canvas"]))
            + f" with {color} paint"
        )
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


def known_subject(prompt: str) -> str | None:
    """Label of the subject that a prompt mentions, or None.

    Longer names take precedence: "teddy bear" over "bear".
    """
    known = [(name, subject.name) for subject in SUBJECTS for name in subject.names]
    known += [(plural(name), label) for name, label in known] + [
        ("couple", "man"),
        ("paintbrush", "brush"),
        ("brush", "brush"),
    ]
    for name, label in sorted(known, key=lambda pair: -len(pair[0])):
        if re.search(rf"\b{re.escape(name)}\b", prompt.lower()):
            return label
    return None


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


def complete_prompt(prompt: str, seed: int) -> str:
    """The prompt with a seeded prop color and a seeded plain backdrop added where it names none.

    Small models follow explicit attributes far better than open ones, which can change between the frames of
    a clip. "a panda on a swing" -> "a panda on a red swing on a light blue background".
    """
    rng = np.random.default_rng(seed)
    text = _colored(prompt, rng)
    place = str(rng.choice([b.name for b in BACKDROPS if b.plain]))
    lowered = prompt.lower()
    if "background" not in lowered and not any(p in lowered for b in BACKDROPS for p in b.phrases):
        text = f"{text} {place}"
    return articles(text)


def with_color(prompt: str, seed: int) -> str:
    """The prompt with a seeded prop color added where it names none."""
    return articles(_colored(prompt, np.random.default_rng(seed)))


def _colored(prompt: str, rng: np.random.Generator) -> str:
    # White and black props have too little contrast with pale backdrops and dark figures.
    color = str(rng.choice([name for name in COLOR_NAMES if name not in ("white", "black")]))
    lowered = prompt.lower()
    if any(re.search(rf"\b{name}\b", lowered) for name in COLOR_NAMES):
        return prompt
    phrases = [phrase for action in ACTIONS for phrase in action.phrases if "{c}" in phrase]
    for phrase in sorted(phrases, key=len, reverse=True):
        bare = articles(phrase.replace("{c} ", ""))
        if bare in lowered:
            start = lowered.index(bare)
            return prompt[:start] + phrase.replace("{c}", color) + prompt[start + len(bare) :]
    return prompt
