"""Prompts as people type them are read as the subjects, actions, places and views that they name."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from core.models.nearest_wording import nearest_wording
from core.toybox import wordings
from core.toybox.actions import ACTIONS
from core.toybox.backdrops import BACKDROPS, PROP_COLORS
from core.toybox.camera import Camera
from core.toybox.captions import articles, caption, is_caption
from core.toybox.completion import color_difference, complete, named_color, named_place
from core.toybox.dataset import draw_cameras
from core.toybox.figure import Pose, pose_body
from core.toybox.lexicon import lexicon, listed, scan, stem
from core.toybox.prompts import PromptReading, read_prompt, sentences
from core.toybox.scenes import COLOR_NAMES, random_scene
from core.toybox.subjects import SUBJECTS

WORDINGS = Path(__file__).with_name("wordings.txt")
GROUPS = ("pair", "couple", "brush")


def typed_wordings() -> list[list[str]]:
    """The lines of wordings.txt: prompt, subject, action, and what else is read."""
    lines = WORDINGS.read_text(encoding="utf-8").splitlines()
    return [[part.strip() for part in line.split(" | ")] for line in lines if not line.startswith("#")]


def reads(reading: PromptReading, expected: str) -> bool:
    """Whether a reading has a group, a view, a negative prompt, a place or a color."""
    kind, _, value = expected.partition(" ")
    if expected in GROUPS:
        return reading.group == expected
    if kind in ("view", "elevation"):
        return float(value) == (reading.azimuth if kind == "view" else reading.elevation)
    if kind == "negative":
        return reading.negative == value
    if kind in ("on", "in", "at"):
        return reading.text.endswith(expected)
    return re.search(rf"\b{expected}\b", reading.text) is not None


def test_people_s_wordings_are_read() -> None:
    wrong = list[str]()
    rows = typed_wordings()
    for prompt, subject, action, *more in rows:
        reading = read_prompt(prompt, 0)
        right = (reading.subject, reading.action or "none") == (subject, action)
        groups = [part for part in more if part in GROUPS] or [""]
        if not right or reading.group not in groups or not all(reads(reading, part) for part in more):
            wrong.append(f"{prompt} -> {reading}")
    assert len(rows) >= 200 and not wrong, "\n".join(wrong)


def test_captions_are_read_as_their_scenes_and_stay_as_they_are() -> None:
    rng = np.random.default_rng(3)

    def without_color(text: str) -> str:
        text = re.sub(rf"\b(?:{'|'.join(COLOR_NAMES)}) ", "", text)
        return re.sub(r"\ban ", "a ", text)

    for _ in range(600):
        scene = random_scene(rng)
        text = caption(scene, rng)
        reading = read_prompt(text, 1)
        assert is_caption(text) and reading.group == scene.group
        assert (reading.notes, reading.negative, reading.azimuth) == ((), "", None), text
        if scene.group != "couple" and scene.group != "brush":
            assert (reading.subject, reading.action) == (scene.who.name, scene.act.name), text
        # Only a color or a backdrop may be added; what is named stays byte for byte.
        colored = named_color(text) is not None or not scene.act.colored
        if colored and named_place(text) is not None and not scene.group:
            assert reading.text == text
        assert without_color(reading.text).startswith(without_color(text)), (text, reading.text)


def test_the_training_captions_have_not_changed() -> None:
    rng, digest = np.random.default_rng(0), hashlib.sha256()
    for _ in range(2000):
        digest.update(caption(random_scene(rng, showcase=0.1), rng).encode() + b"\n")
    assert digest.hexdigest() == "d5b6788fc06d398995791c27228e1f3395cb0f316a4aa66b02b561fa2d657111"


@pytest.mark.parametrize(
    "text", ["a fox", "a panda swings", "two pandas on a red swing", "a panda on a swing!"]
)
def test_other_prompts_are_not_captions(text: str) -> None:
    assert not is_caption(text)


def test_tables_name_what_exists_and_agree() -> None:
    subjects = {subject.name: subject for subject in SUBJECTS}
    actions = {action.name: action for action in ACTIONS}
    for table, near, named, least in (
        (wordings.SUBJECT_WORDINGS, wordings.NEAR_SUBJECTS, subjects, 4),
        (wordings.ACTION_WORDINGS, wordings.NEAR_ACTIONS, actions, 8),
        (wordings.PLACE_WORDINGS, wordings.NEAR_PLACES, {b.name: b for b in BACKDROPS if not b.plain}, 12),
    ):
        assert set(table) == set(named) and set(near) <= set(named)
        for name, words in table.items():
            assert len(listed(words)) >= least, name
            for wording in listed(words):
                small = ("function", "color", "opening", "filler")
                found = [item for item in scan(f"it, {wording}") if item.kind not in small]
                assert found and found[0].value == name, (wording, found)
    for name, words in wordings.BACKDROP_COLORS.items():
        assert name in [backdrop.short_name for backdrop in BACKDROPS] and name in listed(words)
    assert set(wordings.COLOR_WORDINGS) == set(COLOR_NAMES)


@pytest.mark.parametrize(
    "forms",
    [
        "ride rides riding rode ridden",
        "juggle juggles juggling juggled",
        "swing swings swinging swung",
        "run runs running ran",
        "eat eats eating ate eaten",
        "carry carries carrying carried",
        "wave waves waving waved",
        "hop hops hopping hopped",
        "puppy puppies",
        "fox foxes",
        "glass glass",
        "corgi corgis",
        "man men",
    ],
)
def test_inflections_share_a_stem(forms: str) -> None:
    assert len({stem(form) for form in forms.split()}) == 1


def test_different_words_have_different_stems() -> None:
    words = "ring rang string bed bead king kind spin spinning swim wing wine panda pan cat cart"
    assert stem("spin") == stem("spinning")
    assert len({stem(word) for word in words.split()}) == len(words.split()) - 1


def test_one_wrong_letter_is_read_but_words_of_their_own_are_not_changed() -> None:
    mistyped = {"rabit": "rabbit", "pengiun": "penguin", "saxaphone": "saxophone", "dancng": "dancing"}
    for wrong, right in mistyped.items():
        assert scan(f"it, {wrong}")[-1].value == scan(f"it, {right}")[-1].value
    for word in ("house", "printing", "placing", "rabbi", "stinging", "beech", "potato", "sewing"):
        assert [item.value for item in scan(f"it, {word}")[1:]] == [word]


def test_all_patterns_are_found_by_their_own_words() -> None:
    assert len(lexicon()) > 2000
    assert max(len(pattern) for pattern in lexicon()) < 9


def eye(prompt: str) -> torch.Tensor:
    """Position (3,) of the camera that a prompt asks for, elevation 0 unless it names one."""
    reading = read_prompt(prompt, 0)
    angles = [torch.tensor([value or 0.0]) for value in (reading.azimuth, reading.elevation)]
    return Camera(angles[0], angles[1]).axes()[0][0]


def test_views_in_words_place_the_camera_where_they_say() -> None:
    body = pose_body(Pose(left_hand=(0.4, 0.2, 0.1), right_hand=(-0.4, 0.2, 0.1)), 1, None)
    left = float(np.asarray(body.left_hand.origin)[0, 0])  # the figure faces +z
    assert float(eye("a fox from the front")[2]) > 6 and float(eye("a fox seen from behind")[2]) < -6
    assert float(eye("a fox from the left")[0]) * left > 0 > float(eye("a fox from the right side")[0]) * left
    level, high, low = (float(eye(f"a fox {view}")[1]) for view in ("dancing", "from above", "from below"))
    assert low < level < high
    back_left = eye("the back view of a fox, from above")
    assert back_left[2] < 0 and back_left[1] > level
    text = read_prompt("the side view of a dancing panda", 0).text
    assert text.startswith("a panda dancing on") and "view" not in text


@pytest.mark.parametrize(
    ("prompt", "text", "note"),
    [
        ("a fox and a bear dancing", "a fox dancing", "one figure, or two of a kind: here a fox."),
        ("three foxes dancing", "two foxes dancing", "or two of a kind: here two foxes."),
        ("two foxes on swings", "a fox on a", "does not draw two figures on a swing: here a fox."),
        ("a robot dancing and waving", "a robot dancing", "one action at a time: here dancing."),
        ("a couple dancing", "a man dancing", "couples only walking under an umbrella"),
        ("a close-up of a cat", "a cat standing", "always draws the whole figure"),
        ("a polar bear waving", "a bear waving", 'does not know "polar bear" and draws "a bear" instead'),
        ("a blue cat reading", "a cat reading", "draws every cat in the same colors"),
        ("a fox holding a brown balloon", "a fox holding a", "knows no brown props"),
        ("a dog without a collar", "a golden retriever standing", 'know "collar", so it cannot leave it out'),
        ("a panda waving in Paris", "a panda waving", 'does not know "paris"'),
        (
            "a horse repairing a car",
            "a horse repairing a car",
            'know "repairing a car": it draws what it can',
        ),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(prompt: str, text: str, note: str) -> None:
    reading = read_prompt(prompt, 0)
    assert reading.text.startswith(text) and len(reading.notes) == 1
    assert note in reading.notes[0] and reading.notes[0].endswith(".")


@pytest.mark.parametrize(
    ("prompt", "text", "negative"),
    [
        ("not a fox but a panda on a swing", "a panda on a", "a fox"),
        ("a panda without a hat", "a panda standing", "wearing a beret"),
        ("a panda without a hat on a red swing", "a panda on a red swing", "wearing a beret"),
        ("no guitar or saxophone, a bear waving", "a bear waving", "playing a guitar, playing a saxophone"),
        (
            "a bear without a balloon and an umbrella",
            "a bear standing",
            "holding a balloon, holding an umbrella",
        ),
        ("a bear without a balloon and waving", "a bear waving", "holding a balloon"),
        ("a cat rather than a dog", "a cat standing", "a golden retriever"),
        ("a fox that is not dancing, sitting", "a fox sitting", "dancing"),
        ("not only a fox dancing", "a fox dancing", ""),
        ("a red fox, not a blue fox", "a fox standing", ""),
    ],
)
def test_negations_go_to_the_negative_prompt(prompt: str, text: str, negative: str) -> None:
    reading = read_prompt(prompt, 0)
    assert reading.text.startswith(text) and reading.negative == negative


def test_denied_colors_and_places_are_not_filled_in() -> None:
    assert all(
        named_color(read_prompt("a panda with a balloon, not red", s).text) != "red" for s in range(40)
    )
    assert any(named_color(read_prompt("a panda with a balloon", s).text) == "red" for s in range(40))
    assert read_prompt("a fox waving, no background", 0).text == "a fox waving on a white background"


def test_a_prompt_without_a_subject_keeps_its_words() -> None:
    reading = read_prompt("a purple toaster", 0)
    assert reading.subject is None and reading.text.startswith("a purple toaster on a")
    assert "a purple toaster" in reading.unknown_subject and "panda, fox" in reading.unknown_subject
    assert not read_prompt("a panda", 0).unknown_subject
    assert read_prompt("", 0).subject is None


def test_objects_have_no_place_and_no_view() -> None:
    reading = read_prompt("a fox holding a controller on a beach, from behind", 0, place=False)
    assert re.fullmatch(r"a fox holding an? \w+ game controller", reading.text)
    assert reading.azimuth is None and len(reading.notes) == 2
    assert re.fullmatch(
        r"a fox holding an? \w+ controller", read_prompt("a fox holding a controller", 0, place=False).text
    )
    assert read_prompt("a puppy, not a cat", 0, place=False).negative == "a cat"


def test_words_in_no_table_are_read_as_the_nearest_ones() -> None:
    def nearest(text: str, candidates: Sequence[str]) -> tuple[int, float]:
        wanted = {"a wombatoid": "a wombat", "gyrating": "dance"}
        return (
            (candidates.index(wanted[text]), 0.9)
            if text in wanted and wanted[text] in candidates
            else (0, 0.1)
        )

    assert read_prompt("a fox gyrating wildly", 0, nearest=nearest).action == "dancing"
    assert read_prompt("a fox blipping wildly", 0, nearest=nearest).action is None
    unknown = read_prompt("a blipper dancing", 0, nearest=nearest)
    assert unknown.subject is None and unknown.suggestion == "panda"


@pytest.mark.parametrize(
    ("prompt", "subject", "action"),
    [
        ("a panda performing pirouettes on a stage", "panda", "spinning"),
        ("a thoroughbred waving", "horse", "waving"),
        ("a robot stirring a cauldron", "robot", "mixing chemicals"),
        ("a toaster repairing a car", None, None),
    ],
)
def test_the_text_encoder_finds_the_nearest_wording(
    prompt: str, subject: str | None, action: str | None
) -> None:
    reading = read_prompt(prompt, 0, nearest=nearest_wording)
    assert (reading.subject, reading.action) == (subject, action)


def test_a_camera_by_hand_overrides_views_and_is_noted_where_none_was_trained() -> None:
    reading = read_prompt("a fox, seen from behind and above", 0)
    assert (reading.azimuth, reading.elevation) == (180, 35)
    lower = reading.with_camera(None, 10.0)
    assert (lower.azimuth, lower.elevation, lower.notes) == (180, None, reading.notes)
    rng = np.random.default_rng(0)
    _, trained = draw_cameras(rng, 10_000)
    for elevation in (trained.min(), trained.max()):
        assert reading.with_camera(0.0, float(elevation)).notes == reading.notes
    for elevation in (trained.min() - 1, trained.max() + 1):
        (note,) = set(reading.with_camera(0.0, float(elevation)).notes) - {*reading.notes}
        assert "from -8 to 45 degrees" in note


def test_sentences_are_told_once_and_name_the_prompt_among_several() -> None:
    reading = read_prompt("a fox and a bear", 0)
    assert sentences([reading, reading]) == list(reading.notes)
    several = sentences([reading, read_prompt("a toaster", 0)])
    assert several[0].startswith("a fox and a bear: The bundled model") and "in: a toaster." in several[1]
    assert sentences([reading], notes=False) == []


def test_completion_follows_from_the_seed_and_the_prompt() -> None:
    one = complete("a panda on a swing", 0, subject="panda")
    assert one == complete("a panda on a swing", 0, subject="panda")
    assert re.fullmatch(r"a panda on an? \w+ swing on an? [\w ]+ background", one)
    by_seed = {complete("a panda on a swing", seed, subject="panda") for seed in range(20)}
    assert len(by_seed) > 10
    places = {named_place(complete(f"a {s.name} dancing", 0, subject=s.name)) for s in SUBJECTS}
    assert len(places) >= 4
    for text in ("a fox holding a red controller on a beach", "a cat dancing in the snow"):
        assert complete(text, 3) == text
    assert complete("a cat dancing", 3).startswith("a cat dancing on a")
    assert complete("a cat dancing", 3, place=False) == "a cat dancing"
    # The color of the backdrop or of the subject is not that of the prop.
    assert named_color(complete("a red fox on a swing on a white background", 0)) is not None


def test_what_is_filled_in_stands_out() -> None:
    body = {subject.name: subject.body for subject in SUBJECTS}
    ground = {backdrop.name: backdrop.ground for backdrop in BACKDROPS}
    for subject in SUBJECTS:
        for seed in range(12):
            text = complete(f"a {subject.name} on a swing", seed, subject=subject.name)
            color, place = named_color(text), named_place(text)
            assert color and place and color not in place
            assert color_difference(PROP_COLORS[color], ground[place]) >= 45
            assert color_difference(body[subject.name], ground[place]) >= 20, (text, subject.name)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((1, 1, 1), (0, 0, 0), 100.0),
        ((1, 0, 0), (0, 1, 0), 170.6),  # (53.24, 80.09, 67.20) and (87.73, -86.18, 83.18) in CIELAB
        ((0.2, 0.4, 0.6), (0.2, 0.4, 0.6), 0.0),
    ],
)
def test_color_differences(first: tuple[float, ...], second: tuple[float, ...], expected: float) -> None:
    difference = color_difference((first[0], first[1], first[2]), (second[0], second[1], second[2]))
    assert difference == pytest.approx(expected, abs=0.2)


def test_articles_of_what_is_rewritten() -> None:
    for prompt, *_ in typed_wordings():
        text = read_prompt(prompt, 5).text
        assert text == articles(text) and "{" not in text and "  " not in text
