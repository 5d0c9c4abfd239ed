"""Text to 3D from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from core.bundled import BUNDLED_NAME, bundled_model
from core.io.machine import pick_device
from dream3d.job import ObjectJob, check_prompt
from dream3d.optimization.optimize import OptimizationState
from dream3d.options import ImageModelReference, ObjectOptions, check_model_reference
from dream3d.presets import load_object_preset
from dream3d.text_to_3d import LoadedModel, Object3D, finish_object, load_model, start_optimization
from dreamlift.front_door import resolve_seed, warn_of


class TextTo3D:
    """Makes textured meshes from prompts. Made by `from_pretrained`; what `dream3d` makes, byte for byte.

    fox = TextTo3D.from_pretrained("bundled")("a fox holding a controller", seed=0)
    fox.mesh; fox.save("fox.glb"); fox
    """

    def __init__(self, loaded: LoadedModel, options: ObjectOptions, preset: str) -> None:
        """options: the defaults of every call, of the preset named."""
        self.loaded, self.options, self.preset = loaded, options, preset

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = BUNDLED_NAME,
        *,
        preset: str | None = None,
        device: str = "auto",
        tier: str | None = None,
        torch_dtype: str | None = None,
        lora: tuple[str, ...] = (),
        offload: bool = False,
    ) -> TextTo3D:
        """Loads an image model to distill from.

        name: "bundled" or "emoji", a folder, or an id of the Hugging Face hub.
        preset: "draft", "standard", "fine", "checkpoint" or a YAML file; fits the model unless given.
        tier: "exact", "fast" or "draft" (the preset draft), of this project's models; what suits the device
            unless given, see `core.tiers`.
        torch_dtype: "float32", "bfloat16" or "float16", for checkpoints, as are lora (NAME or NAME@SCALE) and
            offload (weights wait in the CPU's memory).

        Raises UserError for models and options that cannot be used.
        """
        bundled = name == BUNDLED_NAME
        folder = str(bundled_model(name) or name)
        reference = ImageModelReference(folder, bundled, torch_dtype, tuple(lora), offload)
        preset, options = load_object_preset(preset, reference, tier)
        options = options.with_changes(tier=tier)
        check_model_reference(reference, options)
        return cls(load_model(reference, pick_device(device)), options, preset)

    def __call__(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        loss: str | None = None,
        field: str | None = None,
        complete: bool = True,
        callback_on_step_end: Callable[[Any, int, OptimizationState], Any] | None = None,
    ) -> Object3D:
        """Makes one object. What is not given is the preset's.

        num_inference_steps: iterations of the optimization.
        loss: "x0", "sds", "sjc", "csd", "vsd" or "ism". field: "voxel" or "hash".
        complete: read the prompt into words that the bundled model knows, its negations too, and fill in the
            color that it leaves open. What cannot be expressed is a warning.
        callback_on_step_end: called as (pipeline, iteration from 0, `OptimizationState`) after each one;
            returning True ends the optimization early.

        Raises UserError for what the model cannot do.
        """
        check_prompt(prompt)
        model, reference = self.loaded.model, self.loaded.reference
        options = self.options.with_changes(
            iterations=num_inference_steps,
            guidance=guidance_scale,
            negative=negative_prompt,
            loss=loss,
            field=field,
        )
        check_model_reference(reference, options)
        options = self.loaded.settle(options)
        job = ObjectJob(prompt, resolve_seed(seed, generator), Path("object.glb"))
        if reference.bundled and complete:
            job = job.with_reading()
            warn_of(job.reading)
            options = job.adjusted(options)
        optimization = start_optimization(model, job.text, options, seed=job.seed, bundled=reference.bundled)
        for state in optimization:
            if callback_on_step_end and callback_on_step_end(self, state.iteration - 1, state) is True:
                break
        return finish_object(optimization, self.loaded, job, preset=self.preset)
