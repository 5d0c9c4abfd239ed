"""Text to video from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from core.bundled import BUNDLED_NAME
from core.errors import UserError
from core.io.machine import pick_device
from core.io.presets import load_preset
from core.sampling_options import SamplerName
from dreamlift.front_door import EndOfStep, resolve_seed, step_callback, warn_of
from video.clip_model import ClipModel
from video.find_model import find_model
from video.job import ClipJob, read_prompts
from video.model_reference import ModelReference, settle
from video.options import ClipOptions, Extension, preset_of_tier
from video.text_to_video import Clip, sample_clip


class TextToVideo:
    """Makes clips from prompts. Made by `from_pretrained`; what the `gen-video` command makes, byte for byte.

    clip = TextToVideo.from_pretrained("bundled")("a panda on a swing", seed=0)
    clip.frames; clip.save("panda.mp4"); clip
    """

    def __init__(
        self,
        model: ClipModel,
        reference: ModelReference,
        options: ClipOptions,
        preset: str,
        device: torch.device,
    ) -> None:
        """options: the defaults of every call, of the preset named."""
        self.model, self.reference, self.options = model, reference, options
        self.preset, self.device = preset, device

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = BUNDLED_NAME,
        *,
        preset: str | None = None,
        device: str = "auto",
        tier: str | None = None,
        torch_dtype: str | None = None,
        motion_adapter: str | None = None,
        lora: tuple[str, ...] = (),
        offload: str | None = None,
        storage: str | None = None,
        cache: str | None = None,
        attention: str | None = None,
        force: bool = False,
    ) -> TextToVideo:
        """Loads a model.

        name: "bundled" or "emoji", a folder, or an id of the Hugging Face hub.
        preset: "draft", "standard", "fine", one of configs/gen-video or a YAML file; the one that fits the
            model unless given.
        tier: "exact", "fast" or "draft", of this project's models; what suits the device unless given, see
            `core.tiers`.
        torch_dtype: "float32", "bfloat16" or "float16", for checkpoints.
        motion_adapter: AnimateDiff adapter for an image checkpoint, or "none".
        lora: LoRA weights, NAME or NAME@SCALE. offload, storage, cache, attention: see `gen-video --help`.
        force: load even if the estimate of memory exceeds what is free.

        Raises UserError for models and options that cannot be used.
        """
        given = None if name == BUNDLED_NAME else str(name)
        reference = find_model(given)
        preset = preset or preset_of_tier(tier) or reference.preset
        options = load_preset(preset, ClipOptions, "gen-video").with_changes(
            model=given,
            tier=tier,
            motion=motion_adapter,
            lora=lora or None,
            dtype=torch_dtype,
            offload=offload,
            storage=storage,
            cache=cache,
            attention=attention,
        )
        reference.check(options)
        chosen = pick_device(device)
        options = reference.with_tier(options, chosen)
        return cls(reference.open(options, chosen, force), reference, options, preset, chosen)

    def __call__(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        num_frames: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        width: int | None = None,
        height: int | None = None,
        num_seconds: float | None = None,
        image: str | Path | None = None,
        last_image: str | Path | None = None,
        video: str | Path | None = None,
        strength: float | None = None,
        background: str | None = None,
        loop: bool | None = None,
        extension: Extension | None = None,
        sampler: SamplerName | None = None,
        eta: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        guidance_rescale: float | None = None,
        azimuth: float | None = None,
        elevation: float | None = None,
        phase: float | None = None,
        fps: float | None = None,
        super_resolution: int | None = None,
        complete: bool = True,
        callback_on_step_end: EndOfStep | None = None,
    ) -> Clip:
        """Makes one clip. What is not given is the preset's.

        prompt: may change over time, as in "0: a panda standing | 2: a panda waving" (seconds: prompt).
        num_seconds: length of the clip, in place of num_frames.
        image: path of a picture that becomes the first frame. last_image: with `image`, of the last frame.
        video, strength: path of a clip to start from, noised to so much of the way, in (0, 1].
        background: color below transparent parts of given pictures, white unless given; or "transparent",
            for clips of the bundled model without their plain backdrop.
        loop: the last frame is followed by the first.
        extension: "guidance" or "replacement", of one window of a long clip by the next.
        azimuth, elevation: of the camera, in degrees.
        super_resolution: its denoising steps; 0 leaves the frames at the model's own size.
        complete: read the prompt into words that the bundled model knows, its views and negations too, and
            fill in the color and the place that it leaves open. What cannot be drawn is a warning.
        The sampling options are those of `core.sampling_options.SamplingOptions`.

        Raises UserError for what the model cannot do.
        """
        text = read_prompts(prompt, None)[0].prompt
        number = resolve_seed(seed, generator)
        if last_image is not None and image is None:
            raise UserError("A last image needs a first one: give both image and last_image.")
        changes: dict[str, Any] = dict(
            negative=negative_prompt,
            frames=num_frames,
            seconds=num_seconds,
            steps=num_inference_steps,
            guidance=guidance_scale,
            width=width,
            height=height,
            image=image if last_image is None else None,
            interpolate=None if last_image is None else (image, last_image),
            video=video,
            strength=strength,
            loop=loop,
            extension=extension,
            sampler=sampler,
            eta=eta,
            guidance_interval=guidance_interval,
            guidance_rescale=guidance_rescale,
            azimuth=azimuth,
            elevation=elevation,
            phase=phase,
            fps=fps,
            super_resolution=super_resolution,
            background=background,
        )
        options = settle(
            self.reference,
            self.options.with_changes(**changes),
            [text],
            {name for name, value in changes.items() if value is not None},
        )
        job = ClipJob(text, number, Path("clip.mp4"))
        if self.reference.bundled and complete:
            job = job.with_reading(azimuth, elevation, fill=not options.has_given_frames)
            warn_of(job.reading)
        on_step = step_callback(self, callback_on_step_end)
        return sample_clip(
            self.model,
            job,
            options,
            preset=self.preset,
            device=self.device,
            on_step=on_step,
            complete=complete,
        )
