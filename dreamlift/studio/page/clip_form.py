"""The form of a clip: its fields, what they submit, and what a preset puts into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import gradio as gr

from core.bundled import BUNDLED_NAME
from core.errors import UserError
from core.io.presets import load_preset
from core.sampling_options import SamplerName
from dreamlift.studio.library import Library
from dreamlift.studio.page.fields import (
    DISTILLED,
    FIRST_PRESETS,
    QUIET,
    Fields,
    changed,
    draw_seed,
    model_field,
    optional,
    preset_field,
    seed_fields,
)
from video.find_model import find_model
from video.options import EXTENSIONS, ClipOptions

OF_PRESETS = (
    "sampler",
    "steps",
    "guidance",
    "negative",
    "frames",
    "fps",
    "scale",
)  # fields that presets fill
EXAMPLES = (
    "a panda on a swing",
    "a fox waving, in the snow",
    "a robot dancing at night",
    "0: a cat sitting | 2: a cat jumping",
)
STANDARD = FIRST_PRESETS[1]


class ClipForm:
    """The fields, by the names of options, and what depends on them."""

    def __init__(self) -> None:
        """Builds the fields where Gradio's context is."""
        preset = load_clip_preset(STANDARD)
        self.prompt = gr.Textbox(
            label="Prompt",
            lines=2,
            max_lines=6,
            placeholder=EXAMPLES[0],
            autofocus=True,
            elem_id="clip-prompt",
        )
        gr.Examples(
            [[example] for example in EXAMPLES], [self.prompt], label="Try one", api_visibility="private"
        )
        with gr.Row():
            self.tier = gr.Radio(
                [("full", "full"), ("draft: quick, the distilled model", "draft")], value="full", label="Tier"
            )
            self.preset = preset_field("clip")
        self.model = model_field()
        seed = seed_fields()
        with gr.Accordion("Sampling", open=False):
            negative = gr.Textbox(label="Negative prompt", lines=1, placeholder="what not to show")
            with gr.Row():
                sampler = gr.Dropdown(
                    optional(get_args(SamplerName), "the model's own"), value=preset.sampler, label="Sampler"
                )
                steps = gr.Slider(1, 100, preset.steps, step=1, label="Steps")
                guidance = gr.Slider(0, 20, preset.guidance, step=0.1, label="Guidance scale")
        with gr.Accordion("Length and file", open=False):
            with gr.Row():
                frames = gr.Slider(1, 128, preset.frames, step=1, label="Frames")
                fps = gr.Slider(
                    1,
                    50,
                    preset.fps,
                    step=1,
                    label="Frames per second",
                    info="From 16 on, more are drawn between.",
                )
            with gr.Row():
                loop = gr.Checkbox(False, label="Loop", info="The end meets the beginning.")
                scale = gr.Slider(1, 8, preset.scale, step=1, label="Enlargement")
                ending = gr.Dropdown([*EXTENSIONS], value=EXTENSIONS[0], label="File format")
        with gr.Accordion("Camera", open=False):
            by_hand = gr.Checkbox(False, label="Set the camera", info="Else the prompt's, or the preset's.")
            with gr.Row():
                azimuth = gr.Slider(-180, 180, preset.azimuth, step=1, label="Azimuth in degrees")
                elevation = gr.Slider(-20, 80, preset.elevation, step=1, label="Elevation in degrees")
        with gr.Accordion("Start from a picture or a clip", open=False):
            with gr.Row():
                image = gr.Image(
                    type="filepath",
                    format="png",
                    sources=["upload", "clipboard"],
                    label="First frame",
                    height=220,
                )
                video = gr.Video(sources=["upload"], label="Clip to go on from", height=220)
            strength = gr.Slider(
                0.05,
                1,
                0.6,
                step=0.05,
                label="Strength",
                info="How far the clip is noised; at 1 nothing of it is left.",
            )
        self.fields: Fields = {
            "prompt": self.prompt,
            "preset": self.preset,
            "model": self.model,
            "by_hand": by_hand,
            "format": ending,
            "image": image,
            "video": video,
            "strength": strength,
            "loop": loop,
            "azimuth": azimuth,
            "elevation": elevation,
            "negative": negative,
            "sampler": sampler,
            "steps": steps,
            "guidance": guidance,
            "frames": frames,
            "fps": fps,
            "scale": scale,
            **seed,
        }
        self._connect()

    def _connect(self) -> None:
        """A preset fills fields; tier and model choose a preset."""
        filled = [self.fields[name] for name in OF_PRESETS]

        def fill(preset: str) -> list[Any]:
            options = load_clip_preset(preset)
            tier, model = options.tier or "full", options.model or BUNDLED_NAME
            return [tier, model, *(getattr(options, name) or "" for name in OF_PRESETS)]

        def preset_of_tier(tier: str) -> list[Any]:
            preset = DISTILLED if tier == "draft" else STANDARD
            return [gr.update(value=preset if preset != DISTILLED else None), *fill(preset)[1:]]

        self.preset.input(fill, self.preset, [self.tier, self.model, *filled], **QUIET)
        self.tier.input(preset_of_tier, self.tier, [self.preset, self.model, *filled], **QUIET)
        self.model.input(preset_of_model, self.model, self.preset, **QUIET).success(
            lambda preset, model: [*fill(preset)[2:]], [self.preset, self.model], filled, **QUIET
        )

    def submission(self, values: dict[str, Any], library: Library) -> dict[str, Any]:
        """What the form submits. values: of `fields`. Raises UserError for unusable files."""
        preset_name = values["preset"] or DISTILLED
        options = changed(values, load_clip_preset(preset_name), [*OF_PRESETS, "loop"])
        if values["by_hand"]:
            options |= {"azimuth": values["azimuth"], "elevation": values["elevation"]}
        for name in ("image", "video"):
            if values[name]:
                path = Path(values[name])
                options[name] = library.add_upload(path.read_bytes(), path.name)
        if "video" in options:
            options["strength"] = values["strength"]
        model = (values["model"] or "").strip()
        return {
            "kind": "clip",
            "prompt": values["prompt"] or "",
            "seed": int(values["seed"] or 0) if values["lock"] else draw_seed(),
            "model": None if model in ("", BUNDLED_NAME) else model,
            "preset": preset_name,
            "format": values["format"],
            "options": options,
        }


def load_clip_preset(name: str) -> ClipOptions:
    """A preset of configs/gen-video."""
    return load_preset(f"gen-video/{name}", ClipOptions)


def preset_of_model(model: str) -> str:
    """The preset that fits a model; raises Gradio's error for models that cannot be found."""
    try:
        return find_model(None if model == BUNDLED_NAME else model).preset
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error
