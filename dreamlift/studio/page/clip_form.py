"""The form of a clip: its fields, what they submit, and what a preset puts into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import gradio as gr

from core.bundled import BUNDLED_NAME
from core.errors import UserError
from core.io.clips.formats import FORMATS
from core.io.presets import load_preset
from core.sampling_options import SamplerName
from core.tiers import Tier
from dreamlift.studio.library import Library
from dreamlift.studio.page.fields import (
    AUTOMATIC,
    DISTILLED,
    FIRST_PRESETS,
    QUIET,
    Fields,
    changed,
    given_tier,
    model_field,
    optional,
    preset_field,
    prompt_field,
    seed_fields,
    seed_of,
    tier_field,
)
from video.find_model import find_model
from video.options import ClipOptions, preset_of_tier

# fields that presets fill
OF_PRESETS = ("sampler", "steps", "guidance", "negative", "frames", "fps", "scale")
EXAMPLES = ("a panda on a swing", "a fox waving, in the snow", "0: a cat sitting | 2: a cat jumping")
STANDARD = FIRST_PRESETS[1]
CONTINUE, REDRAW = "continue its last frame", "draw it again, noised"  # what becomes of a given clip


class ClipForm:
    """The fields, by the names of options, and what depends on them."""

    def __init__(self) -> None:
        """Builds the fields where Gradio's context is."""
        preset = load_clip_preset(STANDARD)
        self.prompt, self.make = prompt_field("clip", EXAMPLES)
        self.problem, self.costs = gr.HTML(), gr.HTML()
        with gr.Row():
            self.preset = preset_field("clip", STANDARD)
            self.tier = tier_field([*get_args(Tier)])
        self.model = model_field()
        self.fields: Fields = {
            "prompt": self.prompt,
            "preset": self.preset,
            "tier": self.tier,
            "model": self.model,
            **seed_fields(),
            **_sampling_fields(preset),
            **_file_fields(preset),
            **_camera_fields(preset),
            **_start_fields(),
        }
        self._connect()

    def _connect(self) -> None:
        """A preset fills fields; tier and model choose a preset."""
        filled = [self.fields[name] for name in ("preset", "tier", "model", *OF_PRESETS)]

        def fill(preset: str) -> list[Any]:
            options = load_clip_preset(preset)
            values = (getattr(options, name) or "" for name in OF_PRESETS)
            return [preset, options.tier or AUTOMATIC, options.model or BUNDLED_NAME, *values]

        def fill_by_model(model: str) -> list[Any]:
            filled = fill(preset_of_model(model))
            return [*filled[:2], model, *filled[3:]]

        def fill_by_tier(tier: str, preset: str) -> list[Any]:
            """The draft tier has a preset of its own; the others keep what is there."""
            if (tier == "draft") == (preset == DISTILLED):
                return [gr.skip()] * len(filled)
            filled_in = fill(preset_of_tier(tier) or STANDARD)
            return [filled_in[0], tier, *filled_in[2:]]

        self.preset.input(fill, self.preset, filled, **QUIET)
        self.tier.input(fill_by_tier, [self.tier, self.preset], filled, **QUIET)
        self.model.input(fill_by_model, self.model, filled, **QUIET)

    def submission(self, values: dict[str, Any], library: Library) -> dict[str, Any]:
        """What the form submits. values: of `fields`. Raises UserError for unusable files."""
        options = changed(values, load_clip_preset(values["preset"]), [*OF_PRESETS, "loop"])
        options |= given_tier(values, load_clip_preset(values["preset"]))
        if values["by_hand"]:
            options |= {"azimuth": values["azimuth"], "elevation": values["elevation"]}
        if values["image"]:
            options["image"] = _upload(values["image"], library)
        if values["video"]:
            video = _upload(values["video"], library)
            if values["going_on"] == CONTINUE:
                options["image"] = library.add_last_frame(video)
            else:
                options |= {"video": video, "strength": values["strength"]}
        model = (values["model"] or "").strip()
        return {
            "kind": "clip",
            "prompt": values["prompt"] or "",
            "seed": seed_of(values),
            "model": None if model in ("", BUNDLED_NAME) else model,
            "preset": values["preset"],
            "format": values["format"],
            "options": options,
        }

    def values(self, submission: dict[str, Any], library: Library) -> dict[str, Any]:
        """Values of `fields` that submit the same, up to options that the form does not have."""
        preset = submission["preset"] or STANDARD
        options, given = load_clip_preset(preset), submission["options"]
        files = {name: str(library.find(given[name])) for name in ("image", "video") if name in given}
        return {
            "prompt": submission["prompt"],
            "preset": preset,
            "tier": given.get("tier", options.tier) or AUTOMATIC,
            "model": submission["model"] or options.model or BUNDLED_NAME,
            "format": submission["format"],
            "by_hand": "azimuth" in given,
            "azimuth": given.get("azimuth", options.azimuth),
            "elevation": given.get("elevation", options.elevation),
            **{name: given.get(name, getattr(options, name)) for name in (*OF_PRESETS, "loop")},
            "image": files.get("image"),
            "video": files.get("video"),
            "going_on": REDRAW if "video" in given else CONTINUE,
            "strength": given.get("strength", 0.6),
            "seed": submission["seed"],
            "lock": True,
        }


def _sampling_fields(preset: ClipOptions) -> Fields:
    with gr.Accordion("Sampling", open=False):
        negative = gr.Textbox(label="Negative prompt", lines=1, placeholder="what not to show")
        samplers = optional(get_args(SamplerName), "the model's own")
        sampler = gr.Dropdown(samplers, value=preset.sampler, label="Sampler")
        with gr.Row():
            steps = gr.Slider(1, 100, preset.steps, step=1, label="Steps")
            guidance = gr.Slider(0, 20, preset.guidance, step=0.1, label="Guidance scale")
    return {"negative": negative, "sampler": sampler, "steps": steps, "guidance": guidance}


def _file_fields(preset: ClipOptions) -> Fields:
    with gr.Accordion("Length and file", open=False):
        with gr.Row():
            frames = gr.Slider(1, 256, preset.frames, step=1, label="Frames", info="Sampled; see rate.")
            fps = gr.Slider(1, 50, preset.fps, step=1, label="Frame rate", info="A second; 16: doubled.")
        loop = gr.Checkbox(False, label="Loop", info="The end meets the beginning.")
        with gr.Row():
            scale = gr.Slider(1, 8, preset.scale, step=1, label="Enlargement")
            ending = gr.Dropdown([*FORMATS], value=FORMATS[0], label="File format")
    return {"frames": frames, "fps": fps, "loop": loop, "scale": scale, "format": ending}


def _camera_fields(preset: ClipOptions) -> Fields:
    with gr.Accordion("Camera", open=False):
        by_hand = gr.Checkbox(False, label="Set the camera", info="Else the prompt's, or the preset's.")
        with gr.Row():
            azimuth = gr.Slider(-180, 180, preset.azimuth, step=1, label="Azimuth in degrees")
            elevation = gr.Slider(-20, 80, preset.elevation, step=1, label="Elevation in degrees")
    return {"by_hand": by_hand, "azimuth": azimuth, "elevation": elevation}


def _start_fields() -> Fields:
    sources: Any = ["upload", "clipboard"]
    with gr.Accordion("Start from a picture or a clip", open=False):
        with gr.Row():
            image = gr.Image(
                type="filepath", format="png", sources=sources, label="Picture: the first frame", height=200
            )
            video = gr.Video(sources=["upload"], label="Clip", height=200)
        going_on = gr.Radio([CONTINUE, REDRAW], value=CONTINUE, label="What becomes of the clip")
        strength = gr.Slider(
            0.05, 1, 0.6, step=0.05, label="Strength", info="How far it is noised; at 1 nothing is left."
        )
    return {"image": image, "video": video, "going_on": going_on, "strength": strength}


def load_clip_preset(name: str) -> ClipOptions:
    """A preset of configs/gen-video."""
    return load_preset(f"gen-video/{name}", ClipOptions)


def preset_of_model(model: str) -> str:
    """The preset that fits a model; raises Gradio's error for models that cannot be found."""
    try:
        return find_model(None if model == BUNDLED_NAME else model).preset
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error


def _upload(path: str, library: Library) -> str:
    return library.add_upload(Path(path).read_bytes(), Path(path).name)
