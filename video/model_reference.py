"""References to models whose weights are not loaded yet. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from core.bundled import BUNDLED_VIDEO, model_beside
from core.errors import UserError
from core.io.base_model import image_size, later_stage, read_config, reads_attributes
from core.tiers import compute_dtype, default_tier
from video.options import FRAME_RATE, ClipOptions, frame_doublings, refuse_negative, refuse_options
from video.sampling.script import parse_script

if TYPE_CHECKING:
    import torch

    from video.clip_model import ClipModel
    from video.record import ExpectedCost

DECODING = 400  # bytes for a pixel: activations of the first stage's decoder, as measured
GFLOP = 4.3  # of one unit of `work_units`, at the rate of matrix products
LOWERED = 0.66  # of the time, where products are computed in bfloat16
DECODING_STEPS = 3.5  # denoising steps of a frame that take as long as decoding and enlarging it
WINDOW = 16  # frames that models in this project's format sample at once


class ModelReference(Protocol):
    """A reference to a clip model whose weights are not loaded yet."""

    preset: str  # the name in configs/gen-video that fits the model
    bundled: bool
    follows_scripts: bool  # whether its prompts may change over time
    decoding_memory: float  # bytes of a sampled frame; 0 where `open` estimates them

    def frame_rate(self, options: ClipOptions) -> float:
        """Frames per second that the model samples, before temporal super-resolution."""
        ...

    def drawn_rate(self, options: ClipOptions) -> float:
        """Frames per second at which what the model samples moves at its own speed."""
        ...

    def frames_in(self, seconds: float, options: ClipOptions) -> int:
        """Frames that the model samples for so many seconds of a clip, possibly 0."""
        ...

    def output_shape(self, options: ClipOptions) -> tuple[int, int, int]:
        """Number, height and width of the frames of a clip, before --scale enlarges them."""
        ...

    def check(self, options: ClipOptions, given: Collection[str] = ()) -> None:
        """Raises UserError for the first option that this model cannot apply.

        given: names of those that are not the preset's.
        """
        ...

    def check_run(self, *, resume: bool) -> None:
        """Raises UserError for options of a run that the model cannot apply."""
        ...

    def expected_cost(self, options: ClipOptions, device: torch.device, force: bool) -> ExpectedCost | None:
        """Expected memory and time of a clip, of headers alone; None where the weights are not here.

        force: as in `open`. Raises UserError for too little memory.
        """
        ...

    def with_tier(self, options: ClipOptions, device: torch.device) -> ClipOptions:
        """These options with the tier of the device, where none is given and the model has tiers."""
        ...

    def open(self, options: ClipOptions, device: torch.device, force: bool) -> ClipModel:
        """Loads the model. force: even if the estimate exceeds the free memory.

        options: of `with_tier`.

        Raises UserError for weights that are missing or damaged, and for too little memory.
        """
        ...


def settle(
    reference: ModelReference,
    options: ClipOptions,
    prompts: Sequence[str],
    given: Collection[str],
) -> ClipOptions:
    """The options with the number of frames that --seconds or a script asks for, checked for the model.

    given: names of the options that are not the preset's. The bundled model reads the camera from given
        frames, unless it is given.

    Raises UserError for what the model cannot do, and for given pictures and clips that cannot be used.
    """
    begins = [scenes[-1].start for scenes in map(parse_script, prompts) if scenes]
    if begins and not reference.follows_scripts:
        raise UserError("A prompt that changes over time is for the bundled model: give it without --model.")
    options = options.with_length(
        lambda seconds: reference.frames_in(seconds, options), begins, "frames" in given
    )
    if options.transparent and not reference.bundled:
        raise UserError(
            "--background transparent is for the bundled model, which draws before plain backdrops: omit it."
        )
    reference.check(options, given)
    if "resampling" in given and options.scale == 1:
        raise UserError("--resampling is of the enlargement by --scale, which is 1: give --scale 2 or more.")
    if reference.bundled and options.has_given_frames and "azimuth" not in given:
        options = options.model_copy(update={"azimuth": None, "elevation": None})
    if options.given_images or options.video:
        _read_given(reference, options)
    return options


def describe_rate(reference: ModelReference, options: ClipOptions) -> str:
    """A sentence about a clip that plays at another speed than it is drawn for; empty for others."""
    speed = reference.frame_rate(options) / reference.drawn_rate(options)
    if abs(speed - 1) < 0.01:
        return ""
    pace = f"{speed:.3g} times as fast" if speed > 1 else f"at {speed:.2g} of its speed"
    return (
        f"The file has {options.fps:g} frames a second. The model draws {reference.drawn_rate(options):g} a "
        f"second, so everything moves {pace}."
    )


def _read_given(reference: ModelReference, options: ClipOptions) -> None:
    """Reads the given pictures and the given clip. Raises UserError for those that cannot be used."""
    from core.io.pictures import read_image
    from video.sampling.input_clip import read_clip

    for picture in options.given_images:
        read_image(picture, options.background_color)
    if options.video:
        read_clip(options.video, options.frames, reference.frame_rate(options), 8, 8)


def work_units(options: ClipOptions) -> float:
    """Size of a clip: denoising steps of single frames, with the decoding that follows them."""
    return options.frames * (options.steps + DECODING_STEPS * 2 ** frame_doublings(options.fps))


class NativeModelReference:
    """A folder with a video model in this project's format, or an image model that the bundled one moves."""

    preset = "standard"
    follows_scripts = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundled = folder == BUNDLED_VIDEO
        self.title = "The bundled model" if self.bundled else f"The model in {folder}"
        self.decoding_memory: float = DECODING * image_size(folder) ** 2
        self.super_resolution = later_stage(folder, "super_resolution")
        self.interpolation = later_stage(folder, "interpolation")
        self.distilled = self._student(model_beside(folder, "distilled"))

    def frame_rate(self, options: ClipOptions) -> float:
        """Frames per second that the model samples; temporal super-resolution draws those between."""
        return options.fps / 2 ** (frame_doublings(options.fps) if self.interpolation else 0)

    def drawn_rate(self, options: ClipOptions) -> float:
        """The frame rate of this project's models."""
        return FRAME_RATE

    def frames_in(self, seconds: float, options: ClipOptions) -> int:
        """Frames that the model samples for so many seconds, possibly 0."""
        return round(seconds * self.frame_rate(options))

    def output_shape(self, options: ClipOptions) -> tuple[int, int, int]:
        """Number, height and width of the frames after the later stages of the cascade."""
        size = image_size(self.folder)
        if self.super_resolution and options.super_resolution != 0:
            size = read_config(self.super_resolution).get("super_resolution", {}).get("size", size)
        frames = options.frames
        for _ in range(frame_doublings(options.fps) if self.interpolation else 0):
            frames = 2 * frames - (not options.loop)
        return frames, size, size

    def check(self, options: ClipOptions, given: Collection[str] = ()) -> None:
        """Raises UserError for options that the model cannot apply, see `REFUSED`."""
        refuse_options(self.title, REFUSED, options)
        refuse_negative(self.title, options)
        if not reads_attributes(self.folder):
            refuse_options(self.title, {name: NO_ATTRIBUTES for name in ATTRIBUTES if name in given}, options)
        if options.extension and options.frames <= WINDOW:
            raise UserError(f"--extension is for clips of more than {WINDOW} frames, not {options.frames}.")
        if options.interpolate and options.frames > WINDOW:
            raise UserError(
                f"--interpolate draws clips of up to {WINDOW} frames, not {options.frames}: give fewer."
            )
        if options.tier == "draft" and not self.distilled:
            refuse_options(self.title, {"tier": "no distilled model lies beside its folder"}, options)
        if not self.super_resolution:
            refuse_options(self.title, {"super_resolution": "no such model lies beside its folder"}, options)

    def check_run(self, *, resume: bool) -> None:
        """Raises UserError for --resume: see `ModelReference`."""
        if resume:
            raise UserError(
                f"{self.title} cannot apply --resume: its clips are decoded at once, so that no latents are "
                "stored. Give --skip-existing to go on with a batch."
            )

    def expected_cost(self, options: ClipOptions, device: torch.device, force: bool) -> ExpectedCost | None:
        """The time of the bundled models at the rate of this machine; their memory is not estimated here."""
        from core.io.machine import matmul_rate
        from video.record import ExpectedCost

        seconds = GFLOP * work_units(options) / matmul_rate(device, seconds=0.2)
        lowered = compute_dtype(self.with_tier(options, device).tier, device) == "bfloat16"
        return ExpectedCost(memory=0, seconds=seconds * (LOWERED if lowered else 1))

    def with_tier(self, options: ClipOptions, device: torch.device) -> ClipOptions:
        """These options with the tier of the device, where none is given."""
        return options.model_copy(update={"tier": options.tier or default_tier(device)})

    def _student(self, distilled: Path | None) -> Path | None:
        """The folder of a distilled model, if it is of this one."""
        of = read_config(distilled).get("distilled") if distilled else None
        teacher = of.get("teacher") if isinstance(of, dict) else None
        return distilled if teacher == read_config(self.folder).get("sha256") else None

    def open(self, options: ClipOptions, device: torch.device, force: bool) -> ClipModel:
        """The model, loaded from its folder; see `ModelReference`."""
        from video.clip_model import NativeClipModel

        return NativeClipModel(
            self.folder,
            device,
            self.super_resolution,
            self.interpolation,
            self.distilled if options.tier == "draft" else None,
            bundled=self.bundled,
            tier=options.tier,
        )


ATTRIBUTES = ("azimuth", "elevation", "phase", "last_phase")
NO_ATTRIBUTES = "it was trained without cameras and phases"
REFUSED = {
    "motion": "it moves by itself, and motion adapters are for image models",
    "lora": "it has no LoRA weights",
    "dtype": "its precision is that of its --tier",
    "offload": "it is small enough to stay on its device",
    "storage": "its weights are small",
    "cache": "it takes few steps",
    "attention": "it has a kernel of its own",
    "context_parallel": "one device is enough for it",
    "tiling": "it decodes frames whole",
    "width": "its clips have one size, see --scale",
    "height": "its clips have one size, see --scale",
}
