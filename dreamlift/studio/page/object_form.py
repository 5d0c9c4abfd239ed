"""The form of an object: its fields, what they submit, and what a preset puts into them."""

from __future__ import annotations

from typing import Any, get_args

import gradio as gr

from core.bundled import BUNDLED_NAME
from core.tiers import ArithmeticTier
from dream3d.job import OBJECT
from dream3d.options import Loss, ObjectOptions, TargetSampler
from dream3d.presets import load_named_preset
from dreamlift.studio.library import Library
from dreamlift.studio.page.fields import (
    AUTOMATIC,
    FIRST_PRESETS,
    QUIET,
    Fields,
    changed,
    given_tier,
    model_field,
    preset_field,
    prompt_field,
    seed_fields,
    seed_of,
    tier_field,
)

OF_PRESETS = ("iterations", "loss", "sampler", "negative", "faces", "texture")  # fields that presets fill
EXAMPLES = ("a fox holding a controller", "a green dragon", "an astronaut waving")


class ObjectForm:
    """The fields, by the names of options, and what depends on them."""

    def __init__(self) -> None:
        """Builds the fields where Gradio's context is."""
        preset = load_named_preset(FIRST_PRESETS[0])
        self.prompt, self.make = prompt_field("object", EXAMPLES)
        self.problem, self.costs = gr.HTML(), gr.HTML()
        with gr.Row():
            self.preset = preset_field("object", FIRST_PRESETS[0])
            self.tier = tier_field([*get_args(ArithmeticTier)])  # the draft tier is a preset
        self.model = model_field()
        seed = seed_fields()
        with gr.Accordion("Optimization", open=False):
            negative = gr.Textbox(label="Negative prompt", lines=1, placeholder="what not to show")
            with gr.Row():
                loss = gr.Dropdown([*get_args(Loss)], value=preset.loss, label="Loss")
                sampler = gr.Dropdown([*get_args(TargetSampler)], value=preset.sampler, label="Sampler")
            with gr.Row():
                iterations = gr.Slider(10, 2000, preset.iterations, step=10, label="Iterations")
                guidance = gr.Slider(0, 150, 0, step=0.5, label="Guidance scale", info="0: the preset's.")
        with gr.Accordion("Mesh and file", open=False):
            with gr.Row():
                faces = gr.Slider(500, 50_000, preset.faces, step=500, label="Faces")
                texture = gr.Slider(128, 2048, preset.texture, step=128, label="Texture")
            ending = gr.Dropdown(
                [*OBJECT.extensions],
                value=OBJECT.extensions[0],
                label="File format",
                info="A GLB is always written.",
            )
        self.fields: Fields = {
            "prompt": self.prompt,
            "preset": self.preset,
            "tier": self.tier,
            "model": self.model,
            "format": ending,
            "guidance": guidance,
            "iterations": iterations,
            "loss": loss,
            "sampler": sampler,
            "negative": negative,
            "faces": faces,
            "texture": texture,
            **seed,
        }
        filled = [self.fields[name] for name in OF_PRESETS]

        def fill(name: str) -> list[Any]:
            options = load_named_preset(name)
            return [getattr(options, field) for field in OF_PRESETS]

        self.preset.input(fill, self.preset, filled, **QUIET)

    def submission(self, values: dict[str, Any], library: Library) -> dict[str, Any]:
        """What the form submits. values: of `fields`."""
        options = changed(values, load_named_preset(values["preset"]), OF_PRESETS)
        options |= given_tier(values, load_named_preset(values["preset"]))
        if values["guidance"]:
            options["guidance"] = values["guidance"]
        model = (values["model"] or "").strip()
        return {
            "kind": "object",
            "prompt": values["prompt"] or "",
            "seed": seed_of(values),
            "model": None if model in ("", BUNDLED_NAME) else model,
            "preset": values["preset"],
            "format": values["format"],
            "options": options,
        }

    def values(self, submission: dict[str, Any], library: Library) -> dict[str, Any]:
        """Values of `fields` that submit the same, up to options that the form does not have."""
        preset = submission["preset"] or FIRST_PRESETS[1]
        options: ObjectOptions = load_named_preset(preset)
        given = submission["options"]
        return {
            "prompt": submission["prompt"],
            "preset": preset,
            "tier": given.get("tier", options.tier) or AUTOMATIC,
            "model": submission["model"] or BUNDLED_NAME,
            "format": submission["format"],
            "guidance": given.get("guidance", 0),
            **{name: given.get(name, getattr(options, name)) for name in OF_PRESETS},
            "seed": submission["seed"],
            "lock": True,
        }
