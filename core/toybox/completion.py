"""Fills in the color of the prop and the backdrop that a caption leaves open, by prompt and seed."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from hashlib import sha256

import numpy as np

from core.toybox.backdrops import BACKDROPS, PROP_COLORS
from core.toybox.captions import articles, prop_phrases
from core.toybox.character import Color
from core.toybox.scenes import COLOR_NAMES
from core.toybox.subjects import SUBJECTS

# Smallest CIE 1976 color differences between what is drawn next to each other.
PROP_TO_SUBJECT, PROP_TO_PLACE, SUBJECT_TO_PLACE = 40.0, 50.0, 30.0


def complete(
    text: str,
    seed: int,
    *,
    place: bool = True,
    subject: str | None = None,
    excluded: Collection[str] = (),
    like: str = "",
) -> str:
    """The caption with a prop color and a plain backdrop added where it names none.

    Small models follow explicit attributes far better than open ones, which can change between the frames of
    a clip. "a panda on a swing" -> "a panda on a red swing on a light blue background". Both are drawn by a
    generator of the text and the seed, among those with enough contrast to each other and to the subject.

    place: whether to add a backdrop. subject: label of the subject, if known.
    excluded: colors and names of backdrops that are not drawn.
    like: a caption whose color and place are taken instead, where it names them.
    """
    digest = sha256(f"{seed}|{text.lower()}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    body = next((s.body for s in SUBJECTS if s.name == subject), None)
    named = named_place(text)
    ground = next((b.ground for b in BACKDROPS if b.name == named), None)
    color = named_color(text)
    if color is None and (of_other := named_color(like)):
        text = _with_color(text, of_other)
    elif color is None:
        # White and black props have too little contrast with pale backdrops and dark figures.
        unfit = ("white", "black", *excluded)
        candidates = [c for c in COLOR_NAMES if c not in unfit and c not in (named or "")]
        color = _draw(
            rng,
            candidates,
            [PROP_COLORS[c] for c in candidates],
            [(body, PROP_TO_SUBJECT), (ground, PROP_TO_PLACE)],
        )
        text = _with_color(text, color)
    if place and named is None and (of_other := named_place(like)):
        text = f"{text} {of_other}"
    elif place and named is None:
        drawn = named_color(text)
        plain = [b for b in BACKDROPS if b.plain and b.name not in excluded]
        plain = [b for b in plain if not drawn or drawn not in b.name]
        prop = PROP_COLORS[drawn] if drawn else None
        name = _draw(
            rng,
            [b.name for b in plain],
            [b.ground for b in plain],
            [(body, SUBJECT_TO_PLACE), (prop, PROP_TO_PLACE)],
        )
        text = f"{text} {name}"
    return articles(text)


def named_place(text: str) -> str | None:
    """Name of the backdrop that a caption ends in or mentions, "" for another background; None without."""
    lowered = text.lower()
    phrases = sorted(((p, b.name) for b in BACKDROPS for p in b.phrases), key=lambda pair: -len(pair[0]))
    for phrase, name in phrases:
        if phrase in lowered or articles(phrase) in lowered:
            return name
    return "" if "background" in lowered else None


def named_color(text: str) -> str | None:
    """The color that a caption names for the prop of its action, or None."""
    lowered = re.sub(r"\ban ", "a ", text.lower())
    for phrase in prop_phrases():
        for color in COLOR_NAMES:
            if phrase.replace("{c}", color) in lowered:
                return color
    return None


def _with_color(text: str, color: str) -> str:
    lowered = text.lower()
    for phrase in prop_phrases():
        bare = articles(phrase.replace("{c} ", ""))
        if bare in lowered:
            start = lowered.index(bare)
            return text[:start] + phrase.replace("{c}", color) + text[start + len(bare) :]
    return text


def _draw(
    rng: np.random.Generator,
    names: Sequence[str],
    colors: Sequence[Color],
    neighbors: Sequence[tuple[Color | None, float]],
) -> str:
    """A random name among those with enough contrast to every neighbor; where there is none, the best one."""
    margins = [
        min((color_difference(color, other) - least for other, least in neighbors if other), default=0.0)
        for color in colors
    ]
    allowed = [name for name, margin in zip(names, margins, strict=True) if margin >= 0]
    return str(rng.choice(allowed)) if allowed else names[int(np.argmax(margins))]


def color_difference(first: Color, second: Color) -> float:
    """CIE 1976 color difference: the Euclidean distance in CIELAB (D65 white) of two sRGB colors in [0,1]."""
    a, b = _lab(first), _lab(second)
    return float(np.linalg.norm(a - b))


def _lab(color: Color) -> np.ndarray:
    value = np.array(color)
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
