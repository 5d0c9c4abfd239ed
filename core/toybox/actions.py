"""All actions. An action's index is its label in prepared shards, so new actions are appended."""

from __future__ import annotations

from core.toybox.action import Action
from core.toybox.held_props import (
    BERET_AND_BAGUETTE,
    DRINKING,
    EATING_ICE_CREAM,
    HOLDING_BAGUETTE,
    HOLDING_BALLOON,
    HOLDING_CONTROLLER,
    HOLDING_UMBRELLA,
    JUGGLING,
    LIFTING_WEIGHTS,
    MIXING_CHEMICALS,
    PLAYING_GUITAR,
    PLAYING_SAXOPHONE,
    READING,
    WEARING_BERET,
)
from core.toybox.motions import DANCING, JUMPING, RUNNING, SITTING, SPINNING, STANDING, WALKING, WAVING
from core.toybox.riding import CYCLING, IN_CLASS, PAINTING, RIDING_HORSE, SKATEBOARDING, SWINGING

ACTIONS: tuple[Action, ...] = (
    STANDING,
    WALKING,
    RUNNING,
    JUMPING,
    WAVING,
    SITTING,
    DANCING,
    SPINNING,
    SWINGING,
    HOLDING_CONTROLLER,
    PLAYING_GUITAR,
    PLAYING_SAXOPHONE,
    WEARING_BERET,
    HOLDING_BAGUETTE,
    BERET_AND_BAGUETTE,
    SKATEBOARDING,
    CYCLING,
    RIDING_HORSE,
    EATING_ICE_CREAM,
    DRINKING,
    PAINTING,
    READING,
    HOLDING_UMBRELLA,
    HOLDING_BALLOON,
    MIXING_CHEMICALS,
    JUGGLING,
    LIFTING_WEIGHTS,
    IN_CLASS,
)
