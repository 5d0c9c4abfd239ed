"""Options of `gen-video`, checked before anything heavy is imported."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from core.errors import UserError
from core.io.clips.formats import TRANSPARENT
from core.io.paths import read_path
from core.io.values import shortened
from core.sampling_options import SamplerName, SamplingOptions
from core.tiers import Tier

FRAME_RATE = 8.0  # frames per second of this project's models: a loop of 16 frames takes two seconds
LAST_SCENE = 2.0  # s, of the last scene of a script
Extension = Literal["guidance", "replacement"]
GivenFile = Annotated[Path, AfterValidator(lambda path: read_path(path, "the picture or clip"))]

if TYPE_CHECKING:
    from core.io.media import Color


Cache = Literal["first-block", "pyramid", "taylorseer"]


class ClipOptions(BaseModel):
    """Options of a clip: the keys of a gen-video preset, each also an option of the command.

    None means "not given". A model refuses given options that it cannot apply, see
    `video.model_reference.ModelReference`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str | None = None  # a folder, or an id of the hub; None is the bundled one
    motion: str | None = None  # motion adapter of an image model: folder, file, id, or "none"
    lora: tuple[str, ...] = ()  # LoRA weights: folders, files or ids; NAME or NAME@SCALE
    dtype: Literal["float32", "bfloat16", "float16"] | None = None  # None: what fits the device
    offload: Literal["model", "group", "layers"] | None = None  # what waits in CPU memory for the GPU
    storage: Literal["float8", "int8"] | None = None  # of weights, cast for each layer's computation
    cache: Cache | None = None  # of what changes little from step to step
    attention: str | None = None  # diffusers' backend
    context_parallel: int | None = Field(None, ge=2, le=64)  # processes, each with a GPU, that share a clip
    tier: Tier | None = None  # see `core.tiers`; None: what suits the device. draft: the distilled model
    tiling: bool | None = None  # decode in overlapping tiles: less memory, different bytes

    steps: int = Field(ge=1, le=1000)
    guidance: float = Field(ge=0, le=100)  # diffusers' scale: 1 disables guidance
    negative: str = ""
    sampler: SamplerName | None = None  # None: the model's own
    eta: float = Field(0.0, ge=0, le=1)  # noise of DDIM: 0 deterministic, 1 ancestral
    guidance_interval: tuple[float, float] | None = None  # noise levels sigma / alpha with guidance
    guidance_rescale: float = Field(0.0, ge=0, le=1)  # brings back the deviation of the unguided x0
    image: GivenFile | None = None  # the first frame
    interpolate: tuple[GivenFile, GivenFile] | None = None  # the first and the last frame
    video: GivenFile | None = None  # the clip from which sampling starts, noised
    background: str | None = None  # color below transparent parts of given pictures, or "transparent"
    strength: float | None = Field(None, gt=0, le=1)  # how far it is noised; 1: nothing of it is left
    loop: bool = False  # the last frame is followed by the first
    extension: Extension | None = None  # how windows of long clips continue each other; None: the model's way
    frames: int = Field(ge=1, le=1024)  # that the model samples, before temporal super-resolution
    seconds: float | None = Field(None, gt=0, le=600)  # length of the clip, in place of frames
    width: int | None = Field(None, ge=8, le=4096)  # px, before `scale`; None: the model's own
    height: int | None = Field(None, ge=8, le=4096)
    fps: float = Field(ge=0.01, le=50)  # gif stores delays up to 655 s, and its players slow down short ones
    super_resolution: int | None = Field(None, ge=0, le=100)  # its denoising steps; None is the model's own
    scale: int = Field(ge=1, le=32)  # display pixels per pixel of the finished frames, along a side
    resampling: Literal["lanczos", "nearest"] = "lanczos"
    phase: float | None = Field(None, ge=0, lt=1)  # of the first frame in the loop of the action
    last_phase: float | None = Field(None, ge=0, lt=1)  # of the last frame, where it is given
    azimuth: float | None = Field(None, ge=-360, le=360)  # degrees, 0 the front, counter-clockwise from above
    elevation: float | None = Field(None, ge=-90, le=90)  # degrees

    def with_changes(self, **values: Any) -> "ClipOptions":
        """These options with the values that are not None. Raises UserError that names the option."""
        given = {name: value for name, value in values.items() if value is not None}
        try:
            changed = ClipOptions(**(self.model_dump() | given))
        except ValidationError as error:
            first = error.errors()[0]
            name = first["loc"][0]
            raise UserError(
                f"{flag(str(name))} cannot be {shortened(repr(given[str(name)]))}: {first['msg'].lower()}."
            ) from error
        changed.sampling()
        if (changed.azimuth is None) != (changed.elevation is None):
            raise UserError("A camera needs both --azimuth and --elevation: give both or neither.")
        if (changed.width is None) != (changed.height is None):
            raise UserError("A size needs both --width and --height: give both or neither.")
        if "seconds" in given and "frames" in given:
            raise UserError("--seconds and --frames both give the length of a clip: give one of them.")
        changed.check_together()
        return changed

    def check_together(self) -> None:
        """Raises UserError for options about the frames of a clip that exclude each other."""
        sources = [name for name in ("image", "interpolate", "video") if getattr(self, name) is not None]
        if len(sources) > 1:
            raise UserError(
                f"{flag(sources[0])} and {flag(sources[1])} both give a clip's beginning: give one of them."
            )
        if self.loop and sources:
            raise UserError(
                f"--loop and {flag(sources[0])} exclude each other: a loop has no beginning that could be "
                "given."
            )
        if self.transparent and sources:
            raise UserError(
                f"--background transparent and {flag(sources[0])} exclude each other: given pictures have "
                "backdrops of their own."
            )
        if self.background is not None and not self.transparent:
            _ = self.background_color
            if not sources:
                raise UserError(
                    "A color for --background lies below transparent parts of --image, --interpolate or "
                    "--video: give one of them, or --background transparent."
                )
        if self.loop and self.extension:
            raise UserError("--loop and --extension exclude each other: a loop is sampled as a whole.")
        if self.storage == "int8" and self.offload in ("group", "layers"):
            raise UserError(
                f"--storage int8 and --offload {self.offload} exclude each other: give --offload model, or "
                "--storage float8."
            )
        if self.context_parallel and self.offload:
            raise UserError("--context-parallel and --offload exclude each other: weights stay on every GPU.")
        if self.context_parallel and self.cache:
            raise UserError("--context-parallel and --cache exclude each other: leave one out.")
        if self.strength is not None and self.video is None:
            raise UserError("--strength says how far the clip of --video is noised: give both.")
        if self.last_phase is not None and not self.interpolate:
            raise UserError("--last-phase is of the second picture of --interpolate: give both.")
        for condition, option, least in ((self.loop, "loop", 2), (self.interpolate, "interpolate", 3)):
            if condition and self.frames < least:
                raise UserError(f"--{option} needs at least {least} frames, not {self.frames}.")

    def with_length(
        self, frames_in: Callable[[float], int], begins: Sequence[float], frames_given: bool
    ) -> "ClipOptions":
        """These options with the number of frames that --seconds and scripts ask for.

        frames_in: number of frames that the model samples in so many seconds.
        begins: seconds at which the last scenes of scripts begin. A script lasts `LAST_SCENE` seconds more,
            unless --seconds or --frames is given.
        frames_given: whether --frames is.

        Raises UserError for scripts that the clip cannot follow: with options that exclude them, or with
        scenes that begin after its end.
        """
        for name in ("loop", "interpolate") if begins else ():
            if getattr(self, name):
                raise UserError(f"{flag(name)} and a script exclude each other: give one prompt.")
        seconds = self.seconds
        if begins and seconds is None and not frames_given:
            seconds = max(begins) + LAST_SCENE
        changed = self if seconds is None else self.with_changes(frames=max(1, frames_in(seconds)))
        for start in begins:
            if frames_in(start) >= changed.frames:
                raise UserError(
                    f"A scene of the script begins at {start:g} s, after the clip's end: give more --seconds."
                )
        return changed

    def of_sampling(self, **same: Any) -> str:
        """The options that models see when they sample, as JSON. same: values in place of some options."""
        unseen = {"scale": 1, "resampling": "lanczos", "seconds": None}
        return self.model_copy(update=unseen | same).model_dump_json()

    @property
    def transparent(self) -> bool:
        """Whether the clip has no backdrop."""
        return self.background == TRANSPARENT

    @property
    def background_color(self) -> "Color":
        """The color below transparent parts of given pictures."""
        from core.io.media import WHITE
        from core.io.pictures import parse_color

        return WHITE if self.background is None else parse_color(self.background)

    @property
    def given_images(self) -> tuple[Path, ...]:
        """Pictures that the clip contains, as its first or as its first and last frames."""
        return self.interpolate or ((self.image,) if self.image else ())

    @property
    def given_files(self) -> tuple[Path, ...]:
        """The given pictures, or the clip from which sampling starts."""
        return (*self.given_images, *([self.video] if self.video else []))

    @property
    def has_given_frames(self) -> bool:
        """Whether the clip contains given pictures, or starts from a given clip."""
        return bool(self.given_files)

    def sampling(self) -> SamplingOptions:
        """How the clip is sampled. Raises UserError for options that exclude each other."""
        return SamplingOptions(
            self.steps,
            self.guidance,
            self.sampler,
            self.eta,
            self.guidance_interval,
            self.guidance_rescale,
        )


# Options that the rows of a file of prompts may have; the others say which model draws all of them.
OF_THE_MODEL = {"model", "motion", "lora", "dtype", "offload", "context_parallel", "tier", "tiling"} | {
    "storage",
    "cache",
    "attention",
}
OF_A_ROW = ClipOptions.model_fields.keys() - OF_THE_MODEL


def frame_doublings(fps: float) -> int:
    """How often the frame rate of a model in this project's format is doubled for a clip of `fps`."""
    return max(0, int(math.log2(fps / FRAME_RATE)))


def preset_of_tier(tier: str | None) -> str | None:
    """The preset that a tier needs, unless another is given; None: any."""
    return "distilled" if tier == "draft" else None


def flag(name: str) -> str:
    """The command-line option of a field."""
    return f"--{name.replace('_', '-')}"


def refuse_negative(title: str, options: ClipOptions) -> None:
    """Raises UserError for a negative prompt without guidance, which would have no effect."""
    if options.negative and options.guidance == 1:
        raise UserError(
            f"{title} cannot apply --negative at guidance scale 1: give --guidance above 1"
            + (", or leave out --tier draft." if options.tier == "draft" else ".")
        )


def refuse_options(title: str, reasons: Mapping[str, str], options: ClipOptions) -> None:
    """Raises UserError for the first given option that a model cannot apply.

    reasons: option -> why the model called `title` cannot apply it.
    """
    for name, reason in reasons.items():
        if getattr(options, name) not in (None, False, ()):
            raise UserError(f"{title} cannot apply {flag(name)}: {reason}.")


class ClipRequest(NamedTuple):
    """What a model samples a clip from. prompt: the text for the model."""

    prompt: str
    seed: int
    options: ClipOptions
