"""Options and jobs of `gen-video`, checked before anything heavy is imported."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import UserError
from core.io import outputs
from core.io.pictures import EXTENSIONS
from core.sampling_options import SamplerName, SamplingOptions
from video.plan import FRAME_RATE, WINDOW, Shot, Window, parse_script, plan_windows

if TYPE_CHECKING:
    from core.toybox.prompts import PromptReading

ELEVATION = 13.0  # degrees, of a view in words where neither prompt nor options give one


class ClipOptions(BaseModel):
    """Options of a clip: the keys of a gen-video preset, each also an option of the command.

    None means "not given". A model refuses given options that it cannot apply, see
    `video.model_reference.ModelReference`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None  # a folder, or an id of the hub; None is the bundled one
    motion: str | None = None  # motion adapter of an image model: folder, file, id, or "none"
    lora: tuple[str, ...] = ()  # LoRA weights: folders, files or ids; NAME or NAME@SCALE
    dtype: Literal["float32", "bfloat16", "float16"] | None = None  # None: what fits the device
    offload: Literal["model", "layers"] | None = None  # what stays in CPU memory until the GPU needs it
    tier: Literal["draft"] | None = None  # draft: the distilled model, which needs few steps
    tiling: bool | None = None  # decode in overlapping tiles: less memory, different bytes

    steps: int = Field(ge=1, le=1000)
    guidance: float = Field(ge=0, le=100)  # diffusers' scale: 1 disables guidance
    negative: str = ""
    sampler: SamplerName | None = None  # None: the model's own
    eta: float = Field(0.0, ge=0, le=1)  # noise of DDIM: 0 deterministic, 1 ancestral
    guidance_interval: tuple[float, float] | None = None  # noise levels sigma / alpha with guidance
    guidance_rescale: float = Field(0.0, ge=0, le=1)  # brings back the deviation of the unguided x0
    image: Path | None = None  # the first frame
    last_image: Path | None = None
    video: Path | None = None  # a clip to start from
    strength: float = Field(0.6, gt=0, le=1)  # share of the noise that is added to `video`
    loop: bool = False  # the last frame precedes the first
    later_prompts: tuple[Shot, ...] = ()  # from which second another prompt holds
    extension: Literal["guidance", "replacement"] | None = None  # of clips longer than a window
    frames: int = Field(ge=1, le=1024)
    width: int | None = Field(None, ge=8, le=4096)  # px, before `scale`; None: the model's own
    height: int | None = Field(None, ge=8, le=4096)
    fps: float = Field(gt=0, le=50)  # gif players slow down higher rates
    super_resolution: int | None = Field(None, ge=0, le=100)  # its denoising steps; None is the model's own
    scale: int = Field(ge=1, le=32)  # display pixels per pixel of the finished frames, along a side
    resampling: Literal["lanczos", "nearest"] = "lanczos"
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
                f"{flag(str(name))} cannot be {given[str(name)]!r}: {first['msg'].lower()}."
            ) from error
        changed.sampling()
        if (changed.azimuth is None) != (changed.elevation is None):
            raise UserError("A camera needs both --azimuth and --elevation: give both or neither.")
        if (changed.width is None) != (changed.height is None):
            raise UserError("A size needs both --width and --height: give both or neither.")
        if changed.video and (changed.image or changed.loop):
            raise UserError("--video starts from a clip: leave out --image, --interpolate and --loop.")
        if changed.loop and changed.image:
            raise UserError("A loop has no first frame: leave out --image and --interpolate.")
        if values.get("strength") is not None and not changed.video:
            raise UserError("--strength is of --video: name the clip to start from.")
        return changed

    def windows(self) -> list[Window]:
        """The windows in which a model in this project's format samples the clip."""
        if self.loop or self.video:
            return [Window(0, self.frames, 0, 0)]
        return plan_windows(
            self.frames, [0, *(round(shot.start * FRAME_RATE) for shot in self.later_prompts)]
        )

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


def flag(name: str) -> str:
    """The command-line option of a field."""
    return f"--{name.replace('_', '-')}"


def refuse_options(title: str, reasons: Mapping[str, str], options: ClipOptions) -> None:
    """Raises UserError for the first given option that a model cannot apply.

    reasons: option -> why the model called `title` cannot apply it.
    """
    for name, reason in reasons.items():
        if getattr(options, name) not in (None, False, ()):
            raise UserError(f"{title} cannot apply {flag(name)}: {reason}.")


class ClipJob(NamedTuple):
    """One clip to make, and its files."""

    prompt: str
    seed: int
    clip: Path
    reading: "PromptReading | None" = None  # what the prompt was read as, for the bundled model

    @property
    def text(self) -> str:
        """The text for the model: that of the reading, or the prompt."""
        return self.reading.text if self.reading else self.prompt

    @property
    def completed(self) -> str | None:
        """The text for the model where it differs from the prompt."""
        return None if self.text == self.prompt else self.text

    def with_reading(self, azimuth: float | None, elevation: float | None) -> "ClipJob":
        """The job with its prompt read, and what the prompt leaves open filled in by its seed.

        azimuth, elevation: of the camera where given by hand, which overrides the view that a prompt names.
        """
        from core.models.nearest_wording import nearest_wording
        from core.toybox.prompts import read_prompt

        reading = read_prompt(self.prompt, self.seed, nearest=nearest_wording)
        if azimuth is not None:
            reading = replace(reading, azimuth=None)
        if elevation is not None:
            reading = replace(reading, elevation=None)
        return self._replace(reading=reading)

    def adjusted(self, options: ClipOptions) -> ClipOptions:
        """The options with the prompt's view and negations, and with later prompts read like it."""
        if not self.reading:
            return options
        from core.models.nearest_wording import nearest_wording
        from core.toybox.prompts import read_prompt

        def read(prompt: str) -> str:
            return read_prompt(prompt, self.seed, nearest=nearest_wording, like=self.text).text

        later = tuple(shot._replace(prompt=read(shot.prompt)) for shot in options.later_prompts)
        azimuth, elevation = self.reading.azimuth, self.reading.elevation
        if options.azimuth is None and (azimuth, elevation) != (None, None):
            azimuth, elevation = azimuth or 0.0, ELEVATION if elevation is None else elevation
        negative = self.reading.negative_with(options.negative)
        return options.with_changes(
            azimuth=azimuth, elevation=elevation, negative=negative, later_prompts=later
        )

    @property
    def sheet(self) -> Path:
        """Path of the contact sheet."""
        return self.clip.with_suffix(".png")

    @property
    def record(self) -> Path:
        """Path of the run record."""
        return self.clip.with_suffix(".json")

    @property
    def latents(self) -> Path:
        """Path of the latents, stored until the clip is decoded."""
        return self.clip.with_suffix(".latents.safetensors")

    @property
    def preview(self) -> Path:
        """Path of the preview, written while sampling."""
        return self.clip.with_suffix(".preview.png")


def read_prompts(prompt: str | None, file: Path | None) -> list[str]:
    """The one prompt, or the non-blank lines of the file. Raises UserError when there is none."""
    if (prompt is None) == (file is None):
        raise UserError('Give either a prompt, as in gen-video "a panda on a swing", or --prompts FILE.')
    if file is None:
        lines = [prompt or ""]
    else:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UserError(f"Cannot read the prompts of {file}: {reason}.") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise UserError("The prompt is empty." if file is None else f"There is no prompt in {file}.")
    return prompts


def read_script(prompt: str | None, file: Path | None) -> list[Shot]:
    """The shots of a script: of the file, or of a prompt such as "0: a fox standing | 2: a fox waving".

    An empty list for a prompt that is no script. Raises UserError for a file that cannot be read and for what
    is wrong with the times.
    """
    if file is None:
        return parse_script(prompt) if prompt and re.match(r"\s*\d[\d.]*\s*s?\s*:", prompt) else []
    try:
        return parse_script(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"Cannot read the script {file}: {reason}.") from error


def frames_of(seconds: float | None, shots: Sequence[Shot], rate: float) -> int | None:
    """Frames of a clip of that many seconds at `rate` frames a second; None where nothing is asked for.

    A script without a length ends one window after its last prompt begins.
    """
    if seconds is None:
        return round(shots[-1].start * rate) + WINDOW if shots else None
    if not 0 < seconds * rate <= 1024:
        raise UserError(
            f"--seconds cannot be {seconds:g}: give a length above 0, of at most {1024 / rate:g} s."
        )
    return max(1, round(seconds * rate))


def plan_clips(prompts: Sequence[str], num: int, seed: int, out: str | None) -> list[ClipJob]:
    """Jobs for `num` clips of every prompt, with seeds from `seed` on; see `core.io.outputs.plan_outputs`.

    out: a file (.mp4, .gif, .webp) or a folder, to be filled with mp4; None is the present folder.
    """
    return [
        ClipJob(*planned) for planned in outputs.plan_outputs(prompts, num, seed, out, "clip", EXTENSIONS)
    ]
