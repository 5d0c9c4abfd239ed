"""References to pretrained checkpoints: local diffusers folders or Hugging Face ids, loaded on demand."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from core.errors import UserError
from core.io.presets import load_preset
from core.pretrained.hub import checkpoint_kind, resolve_checkpoint
from core.pretrained.reading import reading
from video.model_reference import ModelReference
from video.options import ClipOptions
from video.pipelines.families import ANIMATEDIFF, Family, find_family

if TYPE_CHECKING:
    import torch

    from video.clip_model import ClipModel
    from video.record import ExpectedCost


class CheckpointReference:
    """A reference to a diffusers checkpoint: a video model, or an image model for a motion adapter."""

    bundled = False
    follows_scripts = False
    decoding_memory: float = 0.0

    def __init__(self, name: str, of: Family) -> None:
        """name: local folder or Hugging Face id. of: its model family."""
        self.name = name
        self.family = of
        self.preset = of.preset

    def frame_rate(self, options: ClipOptions) -> float:
        """Frames per second that the model samples."""
        return options.fps

    def drawn_rate(self, options: ClipOptions) -> float:
        """Frames per second of the family's preset, or those given where the model reads them."""
        preset = load_preset(self.preset, ClipOptions, "gen-video")
        return options.fps if self.family.reads_fps else preset.fps

    def frames_in(self, seconds: float, options: ClipOptions) -> int:
        """Frames for so many seconds, to the nearest number that the model can sample."""
        step = self.family.frame_step
        return 1 + step * round((seconds * options.fps - 1) / step)

    def check(self, options: ClipOptions, given: Collection[str] = ()) -> None:
        """Raises UserError for the first option that this model cannot apply."""
        if self.family.title == ANIMATEDIFF:
            self._check_motion(options)
        self.family.check(options)

    def output_shape(self, options: ClipOptions) -> tuple[int, int, int]:
        """Number, height and width of the frames."""
        width, height = self.family.resolution(options)
        return options.frames, height, width

    def check_run(self, *, resume: bool) -> None:
        """Accepts it."""

    def _check_motion(self, options: ClipOptions) -> None:
        """Raises UserError unless the options name a motion adapter and an offload mode that it allows."""
        if not options.motion:
            raise UserError(
                f"{self.name} is an image model: give an AnimateDiff adapter with --motion, or --motion none "
                "for independent frames."
            )
        if options.offload in ("layers", "group"):
            raise UserError(
                f"{self.family.title} cannot apply --offload {options.offload}: give --offload model."
            )

    def expected_cost(self, options: ClipOptions, device: torch.device, force: bool) -> ExpectedCost | None:
        """Memory and time, of headers alone; None where the weights have to be fetched, and with `force`."""
        from video.pipelines.context_parallel import check_parallel
        from video.pipelines.estimate import check_memory

        check_offload(options, device)
        check_parallel(options)
        folder = resolve_checkpoint(self.name, weights=False)
        if force or not any(folder.glob("*/*.safetensors")):
            return None
        with reading(folder):
            return check_memory(folder, self.family, options, device)

    def with_tier(self, options: ClipOptions, device: torch.device) -> ClipOptions:
        """These options: checkpoints have no tiers."""
        return options

    def open(self, options: ClipOptions, device: torch.device, force: bool) -> ClipModel:
        """Loads the model. force: even if the estimate exceeds the free memory.

        Raises UserError for weights that are missing or damaged, and for too little memory.
        """
        from video.pipelines.animated_model import load_animatediff
        from video.pipelines.context_parallel import check_parallel, spread
        from video.pipelines.estimate import check_memory
        from video.pipelines.load import load_pipeline

        check_offload(options, device)
        check_parallel(options)
        folder = resolve_checkpoint(self.name)
        with reading(folder):
            cost = None if force else check_memory(folder, self.family, options, device)
            if self.family.title == ANIMATEDIFF:
                model = load_animatediff(folder, self.family, options, device)
            elif options.context_parallel:
                pipeline = load_pipeline(folder, self.family, options, device)
                model = spread(pipeline, options.context_parallel)
            else:
                model = load_pipeline(folder, self.family, options, device)
        model.record.expected = cost
        return model


def checkpoint_reference(name: str) -> ModelReference:
    """A reference to a diffusers folder or a Hugging Face id; downloads only its configs.

    Raises UserError when it is not a model that gen-video supports.
    """
    folder = resolve_checkpoint(name, weights=False)
    family = find_family(folder)
    if family is None:
        raise UserError(
            f"{name} has the class {checkpoint_kind(folder)}, which gen-video does not support: give a "
            "checkpoint of Wan, LTX, CogVideoX or ModelScope, or of Stable Diffusion 1.x or XL with --motion."
        )
    return CheckpointReference(name, family)


def check_offload(options: ClipOptions, device: torch.device) -> None:
    """Raises UserError for --offload on the CPU, where the weights are already in the CPU's memory."""
    if options.offload and device.type == "cpu":
        raise UserError(
            "--offload moves weights between GPU and CPU memory, and the device is the CPU: omit --offload."
        )
