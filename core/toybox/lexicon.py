"""Finds known wordings in a prompt: stems, longest matches, and the scope of negations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from core.toybox import wordings

Kind = Literal[
    "subject", "action", "place", "plain", "color", "opening", "view", "framing", "camera", "pair", "many",
    "couple", "brush", "filler", "negation", "function", "word",
]  # fmt: skip

DETERMINERS = {
    "a", "an", "the", "some", "its", "his", "her", "their", "my", "your", "our", "this", "that", "these",
    "those", "is", "are", "was", "were", "be", "been", "being", "am", "it", "s", "very", "really", "so",
    "just", "all", "which", "who", "whose",
}  # fmt: skip
PREPOSITIONS = {
    "on", "in", "at", "with", "under", "of", "to", "from", "by", "over", "into", "near", "onto", "for",
    "through", "inside", "behind", "beside", "above", "below", "during", "against", "around", "across",
    "along", "before", "after", "among", "upon", "off", "out", "up", "down", "while",
}  # fmt: skip
KNOWN_THINGS = ("subject", "action", "place", "plain", "couple", "brush", "view")
FUNCTION_WORDS = DETERMINERS | PREPOSITIONS | {"and", "or", "but", "then", "do", "does", "has", "have", "as"}
REQUESTS = {"draw", "paint", "mak", "show", "creat", "generat", "imagin", "render"}  # as first words
# After these a negation ends.
ENDS_OF_NEGATION = {"but", "just", "only", "while", "yet", "then", "instead"}

IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "mice": "mouse", "wolves": "wolf", "rode": "ride",
    "ridden": "ride", "ate": "eat", "eaten": "eat", "drank": "drink", "drunk": "drink", "held": "hold",
    "wore": "wear", "worn": "wear", "sat": "sit", "stood": "stand", "ran": "run", "swung": "swing",
    "spun": "spin", "drew": "draw", "drawn": "draw", "taught": "teach", "made": "make", "taken": "take",
    "took": "take", "threw": "throw", "thrown": "throw", "lying": "lie", "seen": "seen", "loaves": "loaf",
    "slept": "sleep", "wrote": "write", "written": "write", "flew": "fly", "has": "have", "having": "have",
    "does": "do", "doing": "do", "done": "do", "goes": "go", "going": "go", "grey": "gray",
    "puppies": "puppy", "spacemen": "spaceman", "corgis": "corgi", "skis": "ski", "shown": "show",
    "fishes": "fish", "bicycling": "bicycle", "stare": "gaze", "stares": "gaze", "staring": "gaze",
}  # fmt: skip
PLURALS = {"men", "women", "children", "people", "folk", "mice", "wolves", "kids", "spacemen"}
UNSTEMMED = {
    "swing", "spring", "evening", "morning", "string", "during", "nothing", "something", "anything", "king",
    "sing", "ring", "wing", "thing", "ceiling", "glasses", "his", "this", "is", "was", "us", "s", "its",
    "yes", "bus", "canvas", "arctic", "red", "bed", "sled", "need", "feed", "weed", "speed", "seed",
    "hundred", "circus", "macro", "as", "always", "calculus", "mathematics", "maths", "sunglasses", "shoes",
    "jeans", "mars",
}  # fmt: skip


@dataclass(frozen=True)
class Token:
    """A word of a prompt. stem: what is compared. clause: number of the stretch between punctuation marks."""

    text: str
    stem: str
    clause: int


@dataclass(frozen=True)
class Item:
    """A known wording, or a single other word, with its tokens start <= i < end.

    value: label of the kind's table. typed: the words as typed. near: the label is only the nearest one.
    """

    kind: Kind
    value: str
    start: int
    end: int
    typed: str
    near: bool = False
    negated: bool = False
    plural: bool = False


@dataclass(frozen=True)
class Entry:
    """What a wording stands for."""

    kind: Kind
    value: str
    near: bool = False


def stem(word: str) -> str:
    """The form that stands for all inflections of a word: "riding", "rides", "rode" -> "rid"."""
    word = IRREGULAR.get(word, word)
    if word in UNSTEMMED or len(word) < 3:
        return word
    if word.endswith(("ies", "ied")) and len(word) > 4:
        word = word[:-3] + "y"
    elif re.search(r"(s|x|z|ch|sh)es$", word):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if word in UNSTEMMED:
        return word
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            word = word.removesuffix(ending)
            if word[-1] == word[-2] and word[-1] not in "lszfeo":
                word = word[:-1]
            break
    return word.removesuffix("e") if len(word) > 3 else word


def tokenize(prompt: str) -> list[Token]:
    """The words of a prompt in lower case; hyphens separate words, a possessive s is dropped."""
    tokens: list[Token] = []
    clause = 0
    prompt = prompt.replace("w/o ", "without ").replace("w/ ", "with ")
    for piece in re.findall(r"[^\W_]+(?:['\u2019][^\W_]+)?|[,.;:!?()|\"]", prompt.lower()):
        if not piece[0].isalnum():
            clause += 1
            continue
        text = piece.replace("\u2019", "'").removesuffix("'s")
        tokens.append(Token(text, stem(text), clause))
    return tokens


@cache
def _corrected(word: str) -> str:
    """The word that a misspelling stands for, or the word itself."""
    right, other = listed(wordings.OFTEN_MISTYPED), listed(wordings.NOT_MISTYPED)
    if len(word) < 5 or stem(word) in _known_stems() or word in other:
        return word
    return next((known for known in right if known[0] == word[0] and _one_edit(word, known)), word)


@cache
def _known_stems() -> set[str]:
    return {part for pattern in lexicon() for part in pattern}


def _one_edit(first: str, second: str) -> bool:
    """Whether one letter is wrong, missing or too many, or two neighbors are swapped."""
    if len(first) > len(second):
        first, second = second, first
    at = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), len(first))
    if len(first) < len(second):
        return first[at:] == second[at + 1 :]
    swapped = first[at : at + 2] == second[at : at + 2][::-1] and first[at + 2 :] == second[at + 2 :]
    return swapped or first[at + 1 :] == second[at + 1 :]


def listed(text: str) -> list[str]:
    """The wordings of a table's entry, which commas separate."""
    return [" ".join(wording.split()) for wording in text.split(",") if wording.strip()]


def _pattern(wording: str) -> tuple[str, ...]:
    """Stems of a wording without determiners."""
    tokens = tokenize(wording)
    return tuple(token.stem for token in tokens if token.text not in DETERMINERS) or tuple(
        token.stem for token in tokens
    )


@cache
def lexicon() -> dict[tuple[str, ...], Entry]:
    """All wordings by their stems. A wording in several tables belongs to the first of them."""
    found: dict[tuple[str, ...], Entry] = {}

    def add(kind: Kind, value: str, words: str, near: bool = False) -> None:
        for wording in listed(words):
            found.setdefault(_pattern(wording), Entry(kind, value, near))

    for color, words in wordings.COLOR_WORDINGS.items():
        add("color", color, words)
    add("color", "", wordings.UNKNOWN_COLORS)
    tables: tuple[tuple[Kind, Mapping[str, str], bool], ...] = (
        ("subject", wordings.SUBJECT_WORDINGS, False),
        ("action", wordings.ACTION_WORDINGS, False),
        ("place", wordings.PLACE_WORDINGS, False),
        ("opening", wordings.OPENINGS, False),
        ("subject", wordings.NEAR_SUBJECTS, True),
        ("action", wordings.NEAR_ACTIONS, True),
        ("place", wordings.NEAR_PLACES, True),
    )
    for kind, table, near in tables:
        for value, words in table.items():
            add(kind, value, words, near)
    for camera, words in wordings.VIEWS.items():
        add("view", repr(camera), words)
    add("plain", "", wordings.PLAIN)
    add("framing", "", wordings.FRAMINGS)
    add("camera", "", wordings.CAMERA_MOTIONS)
    add("pair", "", wordings.PAIR_COUNTS)
    add("many", "", wordings.MANY_COUNTS)
    add("couple", "", wordings.COUPLES)
    add("brush", "", wordings.BRUSHES)
    add("negation", "", wordings.NEGATIONS)
    add("filler", "", wordings.FILLERS)
    return found


@cache
def _verbatim() -> set[str]:
    """All wordings of subjects as they are written, to tell plurals."""
    tables = (wordings.SUBJECT_WORDINGS, wordings.NEAR_SUBJECTS)
    return {wording for table in tables for words in table.values() for wording in listed(words)}


def _transparent(token: Token) -> bool:
    """Whether a pattern may continue behind the token: a color, an adjective or an adverb."""
    entry = lexicon().get((token.stem,))
    known = entry is not None and entry.kind in ("color", "opening", "filler", "pair", "many")
    return known or (entry is None and token.text.endswith("ly") and token.text not in FUNCTION_WORDS)


def _spans(tokens: Sequence[Token], start: int, words: int) -> Iterator[list[int]]:
    """Indices of `words` tokens of one clause, the first at `start`; what patterns may skip lies between."""
    if words == 1:
        yield [start]
        return
    for i in range(start + 1, len(tokens)):
        if tokens[i].clause != tokens[start].clause:
            return
        if tokens[i].text in DETERMINERS:
            continue
        yield from ([start, *rest] for rest in _spans(tokens, i, words - 1))
        if not _transparent(tokens[i]):
            return


@cache
def _longest() -> int:
    return max(map(len, lexicon()))


def _match(tokens: Sequence[Token], start: int) -> tuple[list[int], Entry] | None:
    """The longest wording that begins at a token, with the indices of its words."""
    for words in range(_longest(), 0, -1):
        for chosen in _spans(tokens, start, words):
            entry = lexicon().get(tuple(tokens[i].stem for i in chosen))
            if entry and not _is_subject_of_verb(tokens, chosen):
                return chosen, entry
    return None


def _is_subject_of_verb(tokens: Sequence[Token], chosen: Sequence[int]) -> bool:
    """Whether the words are a noun and its verb with an object, as in "a horse riding a bicycle"."""
    first, last = tokens[chosen[0]], tokens[chosen[-1]]
    if len(chosen) != 2 or first.stem not in ("hors", "pony") or last.stem != "rid":
        return False
    for following in tokens[chosen[1] + 1 : chosen[1] + 2]:
        entry = lexicon().get((following.stem,))
        modifies = entry is not None and entry.kind == "subject"  # "a horse riding robot"
        return (
            following.clause == last.clause and not modifies and following.text not in PREPOSITIONS | {"and"}
        )
    return False


def _plural(words: Sequence[str]) -> bool:
    last = words[-1]
    if last in PLURALS:
        return True
    return last.endswith("s") and not last.endswith("ss") and " ".join(words) not in _verbatim()


def scan(prompt: str) -> list[Item]:
    """The items of a prompt in order; those in the scope of a negation are marked."""
    tokens = [replace(token, stem=stem(_corrected(token.text))) for token in tokenize(prompt)]
    items: list[Item] = []
    i = 0
    while i < len(tokens):
        text = tokens[i].text
        requested = i == 0 and tokens[i].stem in REQUESTS
        matched = None if text in DETERMINERS or requested else _match(tokens, i)
        if matched:
            chosen, entry = matched
            end = chosen[-1] + 1
            typed = [tokens[j].text for j in range(i, end)]
            items.append(
                Item(
                    entry.kind, entry.value, i, end, " ".join(typed), entry.near,
                    plural=entry.kind == "subject" and _plural([tokens[j].text for j in chosen]),
                )
            )  # fmt: skip
            # Colors and adjectives between the words of the wording are items of their own.
            for j in range(i, end):
                inner = lexicon().get((tokens[j].stem,))
                if j not in chosen and tokens[j].text not in DETERMINERS and inner:
                    items.append(Item(inner.kind, inner.value, j, j + 1, tokens[j].text))
            i = end
            continue
        adverb = text.endswith("ly") and text not in FUNCTION_WORDS
        kind: Kind = "function" if text in FUNCTION_WORDS else "filler" if adverb or requested else "word"
        items.append(Item(kind, text, i, i + 1, text))
        i += 1
    return _negate(items, tokens)


def _negate(items: list[Item], tokens: Sequence[Token]) -> list[Item]:
    """Marks what a negation covers: the next known wording, or unknown words up to the next preposition.

    "or", "nor" and, before a noun, "and" carry the negation on. Punctuation and "but" end it.
    """
    result: list[Item] = []
    active = carried = word_seen = False
    clause = -1
    for index, item in enumerate(items):
        if tokens[item.start].clause != clause or item.typed in ENDS_OF_NEGATION:
            active = carried = False
            clause = tokens[item.start].clause
        following = items[index + 1] if index + 1 < len(items) else None
        if item.kind == "negation":
            active, word_seen = not (following and following.typed in ("only", "just")), False
        elif item.kind == "function":
            if active and word_seen and item.typed in PREPOSITIONS:
                active = False
            verb_next = bool(following and tokens[following.start].text.endswith("ing"))
            if active and item.typed in ("or", "nor"):
                word_seen = False
            if carried and (item.typed in ("or", "nor") or (item.typed == "and" and not verb_next)):
                active, carried, word_seen = True, False, False
        elif active and word_seen and item.kind in KNOWN_THINGS:
            active = False
        elif active:
            item = replace(item, negated=True)
            if item.kind in KNOWN_THINGS:
                active, carried = False, True
            word_seen |= item.kind == "word"
        else:
            carried = False
        result.append(item)
    return result
