"""All characters. A character's index is its label in prepared shards, so new characters are appended."""

from __future__ import annotations

from core.toybox.animals import (
    BEAR,
    CAT,
    CORGI,
    FOX,
    FROG,
    GOLDEN_RETRIEVER,
    HORSE,
    LOBSTER,
    PANDA,
    PENGUIN,
    RABBIT,
)
from core.toybox.character import Subject
from core.toybox.other_characters import ASTRONAUT, DRAGON, MAN, ROBOT, SKELETON, TEDDY_BEAR, WOMAN

SUBJECTS: tuple[Subject, ...] = (
    PANDA,
    FOX,
    BEAR,
    CORGI,
    RABBIT,
    CAT,
    ROBOT,
    LOBSTER,
    PENGUIN,
    FROG,
    TEDDY_BEAR,
    GOLDEN_RETRIEVER,
    HORSE,
    ASTRONAUT,
    SKELETON,
    DRAGON,
    MAN,
    WOMAN,
)
