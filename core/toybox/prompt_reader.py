"""Interprets the words of one prompt: subject, action, group, place, color, view and negations."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence

from core.toybox.actions import ACTIONS
from core.toybox.captions import articles, plural
from core.toybox.lexicon import FUNCTION_WORDS, Item, Kind, listed, scan
from core.toybox.scenes import PAIR_ACTIONS, index_of
from core.toybox.wordings import (
    ACTION_WORDINGS,
    AGENTS,
    BACKDROP_COLORS,
    NATURAL_COLORS,
    NEAR_BACKDROP_COLORS,
    PROP_COLOR_HINTS,
    SUBJECT_WORDINGS,
)

# Least cosine similarities of words in no table and the wording they are read as. Measured on 70 words and 70
# phrases that the tables do not have: 19 of 38 subjects and 32 of 38 actions were read correctly, 5 and 1
# wrongly; of what the world does not have 2 of 32 and 8 of 32 were taken for something it has.
SUBJECT_THRESHOLD, ACTION_THRESHOLD = 0.6, 0.5

Nearest = Callable[[str, Sequence[str]], tuple[int, float]]
"""Maps a text and candidates to the index of the candidate nearest in meaning and their cosine similarity."""

COUPLE = "a couple walking under a {c} umbrella"
BRUSH = "a brush painting on a canvas with {c} paint"
UMBRELLA, BERET, BAGUETTE = "holding a umbrella", "wearing a beret", "holding a baguette"
BERET_AND_BAGUETTE = "wearing a beret and holding a baguette"
WHITE_BACKGROUND = "on a white background"
# Of several actions in a prompt, the first one of the lowest rank is drawn. All others have rank 0.
RANKS = {
    **dict.fromkeys((BERET, BAGUETTE, UMBRELLA, "holding a balloon"), 1),
    **dict.fromkeys(("running", "jumping", "waving", "dancing", "spinning"), 2),
    **dict.fromkeys(("walking", "sitting"), 3),
    "standing": 4,
}
NEAR_RANK = 1.5  # added to the rank of an action that is only the nearest one
ADJECTIVES: tuple[Kind, ...] = ("color", "filler", "opening")
ARTICLES = ("a", "an", "the")
ADJECTIVE_OPENINGS = ("a cute {}", "a little {}", "a toy {}")
CONNECTIVES = ("and", "is", "are", "who", "that", "which")
PRONOUNS = (
    "he",
    "she",
    "someone",
    "somebody",
    "person",
    "human",
    "human being",
    "people",
    "folk",
    "male",
    "female",
)
ONE_OR_TWO = "The bundled model draws one figure, or two of a kind"


class PromptReader:
    """The items of one prompt. Its methods interpret one kind each and collect notes."""

    def __init__(self, prompt: str, nearest: Nearest | None) -> None:
        self.prompt = prompt
        items = scan(prompt)
        self.items = [item for item in items if not item.negated]
        self.denied = [item for item in items if item.negated]
        self.nearest = nearest
        self.notes: list[str] = []
        self.suggestion: str | None = None
        self.read = set[int]()  # starts of the unknown words that were read as the nearest known wording
        self.compound = list[Item]()  # adjacent subjects, as in "robot cat"
        self.drawn: Item | None = None  # the last of them
        self.doing: Item | None = None  # the action

    def subject(self) -> str | None:
        """Label of the first subject; of adjacent ones, as in "robot cat", the last."""
        found = self._of("subject")
        if self._of("couple", "brush") and not found:
            return "man"
        if not found:
            return self._nearest_subject()
        self.compound = found[:1]
        for other in found[1:]:
            if self.compound[-1].end != other.start or self.compound[-1].plural:
                break
            self.compound.append(other)
        self.drawn = next((item for item in reversed(self.compound) if not item.near), self.compound[-1])
        if self.drawn.near:
            self._note_nearest(self.drawn.typed, f"a {self.drawn.value}")
        return self.drawn.value

    def _nearest_subject(self) -> str | None:
        words = list[str]()
        for item in self.items:  # up to the first verb
            if item.kind in ("action", "view") or item.typed.endswith("ing"):
                break
            words += [item.typed] * (item.kind == "word")
        if not words and any(item.typed in listed(AGENTS) for item in self._of("action")):
            return "man"
        if not words or not self.nearest:
            return None
        candidates, labels = _candidates(SUBJECT_WORDINGS, "a ")
        matches = [(*self.nearest(f"a {word}", candidates), word) for word in words]
        index, similarity, word = max(matches, key=lambda match: match[1])
        if similarity < SUBJECT_THRESHOLD:
            self.suggestion = labels[index]
            return None
        self._note_nearest(word, f"a {labels[index]}")
        self.read |= {item.start for item in self._of("word") if item.typed == word}
        return labels[index]

    def action(self, has_subject: bool) -> tuple[str | None, str]:
        """Label of the action, and the words that stand for one where none is known."""
        found = sorted(
            self._of("action"),
            key=lambda item: (RANKS.get(item.value, 0) + NEAR_RANK * item.near, item.start),
        )
        labels = [item.value for item in found]
        if not found:
            return self._nearest_action(has_subject)
        self.doing = found[0]
        if found[0].near:
            self._note_nearest(found[0].typed, found[0].value)
        if labels[0] in (BERET, BAGUETTE) and {BERET, BAGUETTE} <= set(labels):
            return BERET_AND_BAGUETTE, ""
        others = [item.value for item in found if not item.near and RANKS.get(item.value, 0) < 3]
        if any(label != labels[0] for label in others):
            self.notes.append(f"The bundled model draws one action at a time: here {articles(labels[0])}.")
        return labels[0], ""

    def _nearest_action(self, has_subject: bool) -> tuple[str | None, str]:
        phrase = self._unknown_words(after=self.drawn.end if self.drawn else 0)
        if not has_subject:
            return None, ""
        if not phrase or phrase.split()[0] in FUNCTION_WORDS:
            return "standing", ""
        if self.nearest:
            candidates, labels = _candidates(ACTION_WORDINGS)
            index, similarity = self.nearest(phrase, candidates)
            if similarity >= ACTION_THRESHOLD:
                self._note_nearest(phrase, labels[index])
                self.read |= {item.start for item in self._of("word")}
                return labels[index], ""
        self.notes.append(f'The bundled model does not know "{phrase}": it draws what it can.')
        return None, phrase

    def group(self, name: str | None, action: str | None) -> tuple[str | None, str | None, str]:
        """Subject, action and group after what the world knows of groups."""
        if self._of("brush") and not self.drawn:
            return "man", None, "brush"
        couples = self._of("couple")
        if couples and (not self.drawn or couples[0].start < self.drawn.start):
            if action in ("standing", "walking", UMBRELLA):
                return "man", "walking", "couple"
            self.notes.append("The bundled model draws couples only walking under an umbrella: here a man.")
            return "man", action, ""
        if name is None or self.drawn is None:
            return name, action, ""
        count = next((item.kind for item in self._of("pair", "many") if self._counts(item)), None)
        others = [item for item in self._of("subject") if item.start >= self.drawn.end]
        others = [item for item in others if item.typed not in PRONOUNS]
        twin = any(item.value == name and self._joined(item) for item in others)
        if twin or (self.drawn.plural and not count):
            count = "pair"
        mixed = [item for item in self._of("subject") if item.value != name and item.typed not in PRONOUNS]
        mixed = [item for item in mixed if not (item.near and item in self.compound)]
        pair = bool(count) and (action is None or action in PAIR_ACTIONS)
        shown = f"two {plural(name)}" if pair else f"a {name}"
        if count and not pair:
            self.notes.append(
                articles(f"The bundled model does not draw two figures {action}: here a {name}.")
            )
        elif mixed or count == "many":
            self.notes.append(f"{ONE_OR_TWO}: here {articles(shown)}.")
        return name, action, "pair" if pair else ""

    def _joined(self, item: Item) -> bool:
        """Whether "and" stands before a figure, with nothing but small words between."""
        before = [other for other in self.items if other.start < item.start]
        small = (*ADJECTIVES, "pair", "many")
        while before and (before[-1].kind in small or before[-1].typed in ARTICLES):
            before.pop()
        return bool(before) and before[-1].typed in ("and", "with")

    def _counts(self, count: Item) -> bool:
        """Whether a number counts the subject, and not a prop."""
        following = (
            item
            for item in self.items
            if item.start >= count.end
            and item.kind not in (*ADJECTIVES, "pair", "many")
            and item.typed not in (*ARTICLES, "of")
        )
        return next(following, None) in self.compound

    def place(self) -> str | None:
        """Name of the backdrop, or None where the prompt leaves it open."""
        places = self._of("place")
        if places:
            sunset = [item for item in places if item.value.endswith("sunset")]
            beach = any(item.value == "on a beach" for item in places)
            chosen = sunset[0] if beach and sunset else min(places, key=lambda item: (item.near, item.start))
            if chosen.near:
                self._note_nearest(chosen.typed, chosen.value)
            return chosen.value
        for item in self._of("plain"):
            words = " ".join(other.typed for other in self._adjectives_of(item))
            words = f" {words} {item.typed} "
            for table, near in ((BACKDROP_COLORS, False), (NEAR_BACKDROP_COLORS, True)):
                for color in sorted(_flat(table), key=len, reverse=True):
                    if f" {color} " in words:
                        name = _flat(table)[color]
                        if near:
                            self._note_nearest(f"{color} background", f"a {name} background")
                        return f"on a {name} background"
        return WHITE_BACKGROUND if any(item.kind == "plain" for item in self.denied) else None

    def _adjectives_of(self, item: Item) -> list[Item]:
        """Colors and adjectives inside an item and directly before it."""
        start, found = item.start, [o for o in self.items if item.start < o.start < item.end]
        while before := next((o for o in self.items if o.end == start and o.kind in ADJECTIVES), None):
            found.append(before)
            start = before.start
        return sorted(found, key=lambda other: other.start)

    def color(self, name: str | None, action: str | None) -> str | None:
        """Color of the prop, or None where the prompt leaves it open or the action has no colored prop."""
        of_backdrop = {o for item in self._of("plain") for o in self._adjectives_of(item)}
        of_subject = {o for item in self._of("subject") for o in self._adjectives_of(item)}
        colors = [item for item in self._of("color") if item not in of_backdrop]
        for item in colors:
            if item in of_subject and name and item.typed not in listed(NATURAL_COLORS.get(name, "")):
                self.notes.append(f"The bundled model draws every {name} in the same colors.")
        colors = [item for item in colors if item not in of_subject]
        colored = action is not None and ACTIONS[index_of(ACTIONS, action)].colored
        if not colored and not self._of("couple", "brush"):
            return None
        doing = self.doing
        if doing:
            colors.sort(key=lambda item: max(doing.start - item.end, item.start - doing.end, 0))
        if colors and not colors[0].value:
            self.notes.append(f"The bundled model knows no {colors[0].typed} props.")
            return None
        if colors:
            return colors[0].value
        hints = _flat(PROP_COLOR_HINTS) if action == "drinking a glass of juice" else {}
        typed = f" {doing.typed} " if doing else ""
        known = [hint for hint in hints if f" {hint} " in typed]
        return hints[max(known, key=len)] if known else None

    def view(self) -> tuple[float | None, float | None]:
        """Azimuth and elevation of the view that the prompt names, None for what it leaves open."""
        azimuth = elevation = None
        for item in self._of("view"):
            around, above = literal_eval(item.value)
            azimuth = around if azimuth is None else azimuth
            elevation = above if elevation is None else elevation
        if self._of("framing"):
            self.notes.append("The bundled model always draws the whole figure.")
        if self._of("camera"):
            self.notes.append("The camera of the bundled model stands still.")
        return azimuth, elevation

    def note_unknown_words(self) -> None:
        """Notes the words that are left out."""
        words = [item for item in self._of("word") if item.start not in self.read]
        described = self.compound[0].start if self.compound else -1
        words = [item for item in words if item.end != described]  # an adjective of the subject
        if words:
            listed_words = ", ".join(f'"{item.typed}"' for item in words)
            self.notes.append(f"The bundled model does not know {listed_words}.")

    def negations(self, name: str | None, action: str | None) -> tuple[str, list[str]]:
        """The negative prompt, and the colors and backdrops that must not be filled in."""
        texts, excluded = list[str](), list[str]()
        for item in self.denied:
            if item.kind == "subject" and item.value != name:
                texts.append(articles(f"a {item.value}"))
            elif item.kind == "action" and item.value != action:
                texts.append(articles(item.value))
            elif item.kind == "place":
                texts.append(item.value)
            elif item.kind == "word":
                self.notes.append(
                    f'The bundled model does not know "{item.typed}", so it cannot leave it out.'
                )
            if item.kind in ("color", "place"):
                excluded.append(item.value)
        return ", ".join(dict.fromkeys(texts)), excluded

    def rewritten(
        self,
        name: str | None,
        action: str | None,
        phrase: str,
        group: str,
        color: str | None,
        backdrop: str | None,
    ) -> str:
        """The prompt as a caption. phrase: takes the place of an unknown action."""
        if group in ("couple", "brush"):
            text = COUPLE if group == "couple" else BRUSH
        else:
            doing = ACTIONS[index_of(ACTIONS, action)].phrases[0] if action else phrase
            if name is None:
                subject = self._unknown_words(after=0)
                if not subject:
                    return self.prompt
            else:
                subject = f"two {plural(name)}" if group == "pair" else self._opening().format(name)
            text = f"{subject} {doing}".strip()
        text = text.replace("{c}", color) if color else text.replace("{c} ", "")
        return articles(f"{text} {backdrop}" if backdrop else text)

    def _opening(self) -> str:
        """The first opening that the prompt asks for; adjectives only where they are the subject's."""
        for item in self._of("opening"):
            adjective = item.value in ("a cute {}", "a little {}", "a toy {}") and not item.typed.endswith(
                "of"
            )
            if not adjective or (self.drawn and item in self._adjectives_of(self.drawn)):
                return item.value
        return "a {}"

    def _unknown_words(self, after: int) -> str:
        """The words from a token on that are in no table, with the small words between them."""
        kept, small = list[Item](), list[Item]()
        for item in (item for item in self.items if item.start >= after):
            if item.kind == "word" and item.start not in self.read:
                kept += [*small, item]
                small = []
            elif item.kind in ("function", "color", "filler") and item.typed not in CONNECTIVES:
                small.append(item)
            else:
                small = []
        while kept and kept[0].kind == "filler":
            kept.pop(0)
        return " ".join(item.typed for item in kept)

    def _of(self, *kinds: Kind) -> list[Item]:
        return [item for item in self.items if item.kind in kinds]

    def _note_nearest(self, typed: str, drawn: str) -> None:
        self.notes.append(f'The bundled model does not know "{typed}" and draws "{articles(drawn)}" instead.')


def _flat(table: Mapping[str, str]) -> dict[str, str]:
    """Each wording of a table with the name that it stands for."""
    return {wording: name for name, words in table.items() for wording in listed(words)}


def _candidates(table: Mapping[str, str], start: str = "") -> tuple[list[str], list[str]]:
    """All wordings of a table behind `start`, except those with a preposition in front, and their names."""
    flat = {w: name for w, name in _flat(table).items() if not w.startswith(("with ", "in ", "on "))}
    return [start + wording for wording in flat], list(flat.values())
