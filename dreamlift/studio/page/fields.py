"""Fields that the forms of clips and of objects share."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import gradio as gr
import yaml

from core.bundled import BUNDLED_NAME, OTHERS
from core.io.presets import CONFIGS
from dreamlift.studio.work.submissions import Kind, preset_names

LARGEST_DRAWN = 2**31 - 1  # of seeds drawn by chance: short enough to be typed again
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}  # of events of the page
Fields = dict[str, Any]  # components of Gradio, which does not type their events
FIRST_PRESETS = ("draft", "standard", "fine")  # of the bundled models
DISTILLED = "distilled"  # the preset of the draft tier
AUTOMATIC = "automatic"  # the tier that suits the machine


def prompt_field(kind: Kind, examples: Sequence[str]) -> tuple[gr.Textbox, gr.Button]:
    """The prompt with examples, and the button that submits the form."""
    prompt = gr.Textbox(
        label="Prompt",
        lines=1,  # so that Enter submits
        max_lines=6,
        placeholder=examples[0],
        autofocus=kind == "clip",
        elem_id=f"{kind}-prompt",
    )
    gr.Examples([[each] for each in examples], [prompt], label="Try one", api_visibility="private")
    make = gr.Button(f"Make the {kind}", variant="primary", size="lg", elem_id=f"{kind}-make")
    return prompt, make


def model_field() -> gr.Dropdown:
    """The choice of a model; folders and ids of the hub can be typed."""
    hub: dict[str, Any] = yaml.safe_load((CONFIGS / "hub.yaml").read_text(encoding="utf-8"))
    choices = [
        ("bundled: toy characters", BUNDLED_NAME),
        *((f"bundled: {name}", name) for name in OTHERS),
        *((f"hub: {name} ({owner_name})", name) for name, owner_name in hub["names"].items()),
    ]
    return gr.Dropdown(
        choices,
        value=BUNDLED_NAME,
        label="Model",
        info="Or type a folder, or OWNER/NAME of the Hugging Face hub.",
        allow_custom_value=True,
    )


def preset_field(kind: Kind, chosen: str) -> gr.Dropdown:
    """The choice of a preset: those of the bundled models first."""
    others = [name for name in preset_names(kind) if name not in FIRST_PRESETS]
    return gr.Dropdown([*FIRST_PRESETS, *others], value=chosen, label="Preset", min_width=160)


def tier_field(tiers: Sequence[str]) -> gr.Radio:
    """The choice of a tier, or of none."""
    return gr.Radio([AUTOMATIC, *tiers], value=AUTOMATIC, label="Tier", min_width=160)


def given_tier(values: dict[str, Any], preset: Any) -> dict[str, Any]:
    """The tier of a form as an option, unless it is automatic or the preset's."""
    return {} if values["tier"] in (AUTOMATIC, preset.tier) else {"tier": values["tier"]}


def seed_fields() -> Fields:
    """A seed, a lock and a dice, in one row."""
    with gr.Row(elem_classes="seed", equal_height=True):
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=110)
        lock = gr.Checkbox(False, label="Lock", info="Else new each time.", min_width=100)
        dice = gr.Button("Roll the dice", size="sm", min_width=90, elem_classes="dice")
    dice.click(draw_seed, None, seed, **QUIET)
    return {"seed": seed, "lock": lock}


def seed_of(values: dict[str, Any]) -> int:
    """The seed that a form submits: a new one, unless it is locked."""
    return int(values["seed"] or 0) if values["lock"] else draw_seed()


def draw_seed() -> int:
    """A seed by chance."""
    return random.randint(0, LARGEST_DRAWN)


def optional(choices: Iterable[str], nothing: str) -> list[tuple[str, str]]:
    """Choices of a dropdown, the first of which is none of them."""
    return [(nothing, ""), *((choice, choice) for choice in choices)]


def changed(values: dict[str, Any], preset: Any, names: Iterable[str]) -> dict[str, Any]:
    """The values of a form that differ from those of a preset. Empty ones are the preset's."""
    given = {name: values[name] for name in names if values[name] not in (None, "")}
    return {name: value for name, value in given.items() if value != getattr(preset, name)}
