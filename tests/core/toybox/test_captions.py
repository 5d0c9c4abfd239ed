"""Captions describe their scenes; subjects, actions, colors and backdrops are found by name."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from core.errors import UserError
from core.toybox.actions import ACTIONS
from core.toybox.backdrops import BACKDROPS
from core.toybox.captions import (
    SUBJECT_NAMES,
    articles,
    caption,
    named_action,
    named_backdrop,
    named_color,
    named_subject,
    plural,
)
from core.toybox.scenes import COLOR_NAMES, Scene, random_scene
from core.toybox.subjects import SUBJECTS


def phrase_in(phrase: str, text: str) -> bool:
    """Whether a caption contains an action's phrase with any color or none, with "a" or "an"."""
    pattern = r"\ban? ".join(map(re.escape, re.split(r"\ban? ", phrase)))
    colors = "|".join(COLOR_NAMES)
    return re.search(pattern.replace(r"\{c\}\ ", f"((?:{colors}) )?"), text) is not None


def test_captions_name_subject_action_color_and_backdrop() -> None:
    rng = np.random.default_rng(0)
    colored = placed = alone = 0
    for _ in range(2000):
        scene = random_scene(rng)
        text = caption(scene, rng)
        assert "{" not in text and "  " not in text
        places = [b.phrases for b in BACKDROPS if any(text.endswith(articles(p)) for p in b.phrases)]
        assert places in ([], [scene.place.phrases]) or scene.place.phrases in places
        placed += bool(places)
        if scene.group in ("couple", "brush"):
            word = "brush" if scene.group == "brush" else "(couple|man and a woman) (taking a )?walk"
            assert re.search(word, text) and COLOR_NAMES[scene.color] in text
            continue
        assert any(name in text or plural(name) in text for name in scene.who.names)
        assert any(phrase_in(phrase, text) for phrase in scene.act.phrases), text
        assert text.startswith("two ") == (scene.group == "pair")
        if scene.act.colored:
            alone += 1
            named = [c for c in COLOR_NAMES if any(p.replace("{c}", c) in text.replace("an ", "a ")
                    for p in scene.act.phrases)]  # fmt: skip
            assert named in ([], [COLOR_NAMES[scene.color]]), text
            colored += bool(named)
    assert 0.86 < placed / 2000 < 0.94
    assert 0.86 < colored / alone < 0.94


def test_captions_vary_and_depend_only_on_the_seed() -> None:
    scene = Scene(1, 9, 4, 2)
    texts = {caption(scene, np.random.default_rng(i)) for i in range(200)}
    assert len(texts) > 60
    assert any("gamepad" in text for text in texts) and any("video game controller" in text for text in texts)
    assert caption(scene, np.random.default_rng(7)) == caption(scene, np.random.default_rng(7))


def test_the_demo_prompts_are_captions_of_their_scenes() -> None:
    for subject, action, prompt in (
        (0, 8, "a panda on a swing"),
        (1, 9, "a fox holding a video game controller"),
    ):
        rng = np.random.default_rng(0)
        assert any(caption(Scene(subject, action, 0, 0), rng) == prompt for _ in range(10000))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a astronaut on a orange swing", "an astronaut on an orange swing"),
        ("a panda eating a ice cream cone", "a panda eating an ice cream cone"),
        ("a red umbrella", "a red umbrella"),
        ("a umbrella", "an umbrella"),
        ("a unicorn", "a unicorn"),
        ("panda a", "panda a"),
    ],
)
def test_articles(text: str, expected: str) -> None:
    assert articles(text) == expected


def test_plurals() -> None:
    names = ("man", "woman", "puppy", "teddy", "fox", "corgi dog", "lobster")
    expected = ["men", "women", "puppies", "teddies", "foxes", "corgi dogs", "lobsters"]
    assert [plural(name) for name in names] == expected


def test_names_are_found_by_any_wording() -> None:
    assert [named_subject(name) for name in SUBJECT_NAMES] == list(range(len(SUBJECTS)))
    assert [named_action(action.name) for action in ACTIONS] == list(range(len(ACTIONS)))
    assert [named_backdrop(place.short_name) for place in BACKDROPS] == list(range(len(BACKDROPS)))
    assert SUBJECTS[named_subject(" Grizzly  Bear")].name == "bear"
    assert ACTIONS[named_action("playing with a gamepad")].name == "holding a game controller"
    assert named_action("holding an umbrella") == named_action("holding a umbrella")
    assert named_backdrop("against an orange background") == named_backdrop("orange")
    assert COLOR_NAMES[named_color("blue")] == "blue"


@pytest.mark.parametrize(
    ("find", "message"),
    [
        (named_subject, "The toybox has no subject 'wolf'; it has: panda, fox"),
        (named_action, "The toybox has no action 'wolf'; it has: standing, walking"),
        (named_color, "The toybox has no color 'wolf'; it has: red, orange"),
        (named_backdrop, "The toybox has no backdrop 'wolf'; it has: white, gray"),
    ],
)
def test_unknown_names_raise_with_the_list_of_names(find: Callable[[str], int], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        find("wolf")
