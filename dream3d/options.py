"""Options of dream3d, validated before torch is imported."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import UserError
from core.io.base_model import CONFIG, reads_attributes
from core.io.clips.formats import TRANSPARENT
from core.io.values import shortened
from core.tiers import ArithmeticTier, Tier

if TYPE_CHECKING:
    pass

Loss = Literal["x0", "sds", "sjc", "csd", "vsd", "ism"]
FieldKind = Literal["voxel", "hash"]
TimestepSampling = Literal["annealed", "dreamtime"]
TargetSampler = Literal["ddim", "dpm-solver++", "unipc", "heun"]
CameraInput = Literal["input", "words", "none"]
"""Camera conditioning: numeric input, view-dependent texts, or none."""

Axis = Literal["y", "z"]

DTYPES = ("float32", "bfloat16", "float16")


class Stage(BaseModel):
    """A stage of the optimization: resolutions, guidance and denoising steps."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    share: float = Field(gt=0, le=1, description="share of the iterations")
    size: int = Field(ge=16, le=512, description="side of the renders in pixels, before resizing")
    samples: int = Field(ge=8, le=512, description="samples per ray")
    grid: int = Field(ge=8, le=256, description="vertices along a side of the voxel grid")
    guidance: float | None = Field(
        default=None,
        ge=0,
        le=200,
        description="guidance scale; 1 disables; null: `default_guidance`",
    )
    steps: int = Field(1, ge=1, le=50, description="DDIM steps of a target of the x0 loss")
    least_weight: float = Field(
        0.0, ge=0, lt=1, description="fits of stored targets leave out samples that weigh less in their pixel"
    )

    @property
    def scale(self) -> float:
        """The guidance scale. Raises ValueError before `ObjectOptions.with_model_defaults` has set it."""
        if self.guidance is None:
            raise ValueError("the guidance of the stage is not set: call with_model_defaults first")
        return self.guidance


class TargetBufferOptions(BaseModel):
    """Buffer of stored targets of the x0 loss; see `dream3d.optimization.view_strategies`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    size: int = Field(24, ge=1, le=512, description="number of stored targets")
    refresh_every: int = Field(6, ge=1, le=1000, description="iterations between replacements of the oldest")
    views_per_step: int = Field(12, ge=1, le=64, description="targets per iteration")
    pixel_stride: int = Field(2, ge=1, le=8, description="every n-th pixel is fitted, in both directions")


class RegularizerWeights(BaseModel):
    """Weights of `dream3d.optimization.regularizers`; the distillation loss is a mean over pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sparsity: float = Field(default=0.0, ge=0)
    entropy: float = Field(default=0.0, ge=0)
    orientation: float = Field(default=0.0, ge=0)
    smoothness: float = Field(default=0.0, ge=0)
    distortion: float = Field(default=0.0, ge=0)
    empty_space: float = Field(default=0.0, ge=0)


class Lighting(BaseModel):
    """Shading of training views.

    Views are lit by the light of the model's images, if it is known (`Backgrounds.light`), and in a share of
    the iterations by a random point light instead (DreamFusion, section 3.1).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    share: float = Field(default=0.0, ge=0, le=1, description="share of lit iterations with a point light")
    textureless: float = Field(default=0.5, ge=0, le=1, description="share of those that are textureless")
    after: float = Field(default=0.2, ge=0, le=1, description="share of the run after which views are lit")


class ObjectOptions(BaseModel):
    """Options of text to 3D: the keys of a dream3d preset; some are also options of the command."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    tier: Tier | None = Field(None, description="of the image model, see core.tiers; null: exact")
    iterations: int = Field(ge=1, le=100000)
    views: int = Field(4, ge=1, le=16, description="views per iteration, evenly spaced around the object")
    elevation: tuple[float, float] = Field((-5.0, 35.0), description="range of elevations in degrees")
    noise: tuple[tuple[float, float], tuple[float, float]] = Field(
        ((0.98, 0.98), (0.02, 0.5)), description="range of timesteps as shares of T, at the start and the end"
    )
    loss: Loss = "x0"
    target_buffer: TargetBufferOptions | None = None
    field: FieldKind = "voxel"
    learning_rate: float = Field(gt=0, le=1)
    decay: float = Field(0.0, ge=0, le=1, description="last share of the run, in which the rate falls to 0")
    camera: CameraInput = Field("input", description="camera conditioning of the model")
    timesteps: TimestepSampling = Field("annealed", description="how timesteps are drawn from `noise`")
    sampler: TargetSampler = Field("ddim", description="of the targets of the x0 loss")
    guidance_interval: tuple[float, float] | None = Field(
        None, description="noise levels sigma / alpha, (low, high], within which guidance is applied"
    )
    rescale: float = Field(0.0, ge=0, le=1, description="see core.guidance.ClassifierFreeGuidance")
    weights: RegularizerWeights = RegularizerWeights()
    lighting: Lighting = Lighting()
    stages: tuple[Stage, ...] = Field(min_length=1)
    negative: str = ""
    texture: int = Field(512, ge=64, le=4096, description="side of the texture in pixels")
    texture_views: int = Field(
        0, ge=0, le=64, description="views through the model's super-resolution, projected onto the texture"
    )
    turn: int = Field(48, ge=2, le=720, description="frames of the turntable")
    background: str | None = Field(None, description="of the turntable: a color, or transparent; null: paper")
    up: Axis | None = Field(None, description="axis that points up in the mesh file; null: the format's own")
    height: float | None = Field(None, ge=1, le=10_000, description="of an .stl, in millimeters")
    faces: int = Field(30000, ge=100, le=50000, description="maximum number of faces of the mesh")

    @model_validator(mode="after")
    def _check_consistency(self) -> ObjectOptions:
        for name, ranges in (("elevation", [self.elevation]), ("noise", self.noise)):
            if any(low > high for low, high in ranges):
                raise ValueError(f"{name} must be given as (low, high)")
        if not all(0 <= low <= high <= 1 for low, high in self.noise):
            raise ValueError("noise must be ranges of shares, from 0 to 1")
        if not -90 <= self.elevation[0] <= self.elevation[1] <= 90:
            raise ValueError("elevation must be between -90 and 90 degrees")
        low, high = self.guidance_interval or (0, 1)
        if not 0 <= low < high:
            raise ValueError("guidance_interval must be (low, high) with 0 <= low < high")
        if self.guidance_interval and self.loss in ("csd", "ism"):
            raise ValueError(f"the loss {self.loss} needs both branches of guidance at every noise level")
        if self.sampler != "ddim" and self.loss != "x0":
            raise ValueError(f"the loss {self.loss} samples no targets: sampler is an option of x0")
        if self.target_buffer and self.loss != "x0":
            raise ValueError(f"the loss {self.loss} has no targets to store: target_buffer must be null")
        if self.target_buffer and (
            self.target_buffer.size % self.views
            or self.target_buffer.views_per_step > self.target_buffer.size
        ):
            raise ValueError(
                "target_buffer.size must be a multiple of views, and views_per_step at most size"
            )
        if self.target_buffer and self.lighting.share:
            raise ValueError("stored targets cannot be relit: with target_buffer, lighting.share must be 0")
        if self.target_buffer and any(stage.size % self.target_buffer.pixel_stride for stage in self.stages):
            raise ValueError("every stage's size must be a multiple of target_buffer.pixel_stride")
        if abs(sum(stage.share for stage in self.stages) - 1) > 1e-6:
            raise ValueError("the stages' shares must add up to 1")
        return self

    @property
    def background_color(self) -> tuple[float, ...] | None:
        """The turntable's background color in [0,1], where one is given; None for a transparent one.

        Raises UserError for text that is no color.
        """
        from core.io.pictures import parse_color

        if self.background in (None, TRANSPARENT):
            return None
        return tuple(value / 255 for value in parse_color(self.background))

    @property
    def reads_negative(self) -> bool:
        """Whether a negative prompt has an effect: not where every stage is without guidance."""
        always = self.loss in ("csd", "ism") or self.camera == "words"
        return always or any(stage.guidance != 1 for stage in self.stages)

    def with_changes(self, guidance: float | None = None, **values: Any) -> ObjectOptions:
        """These options with the given values that are not None.

        guidance: of all stages. A loss other than x0 removes the target buffer.
        Raises UserError that names the invalid option.
        """
        changes = {name: value for name, value in values.items() if value is not None}
        merged = self.model_dump() | changes
        if merged["loss"] != "x0":
            merged["target_buffer"] = None
        if merged["loss"] == "csd" and (guidance is not None or changes.get("rescale")):
            raise UserError("The loss csd has no scale: leave out --guidance and --guidance-rescale.")
        if guidance is not None:
            merged["stages"] = [stage | {"guidance": guidance} for stage in merged["stages"]]
            changes["guidance"] = guidance
        try:
            return ObjectOptions(**merged)
        except ValidationError as error:
            first = error.errors()[0]
            if not first["loc"]:
                reason = first["msg"].removeprefix("Value error, ")
                raise UserError(f"These options cannot be combined: {reason}.") from error
            name = next(str(part) for part in reversed(first["loc"]) if isinstance(part, str))
            flag = "guidance-rescale" if name == "rescale" else name.replace("_", "-")
            raise UserError(
                f"--{flag} cannot be {shortened(repr(changes.get(name)))}: {first['msg'].lower()}."
            ) from error

    @property
    def arithmetic(self) -> ArithmeticTier:
        """Tier in which the image model computes: that of `draft` is a preset, which computes exactly."""
        return "fast" if self.tier == "fast" else "exact"

    def with_model_defaults(
        self, takes_camera: bool, latents: bool, tier: Tier | None = None
    ) -> ObjectOptions:
        """These options with defaults that depend on the model.

        Stages without guidance get `default_guidance`. Models without a camera input get texts of views.
        tier: where none is given; None for models that have no tiers.
        """
        default = default_guidance(self.loss, latents)
        stages = [
            s if s.guidance is not None else s.model_copy(update={"guidance": default}) for s in self.stages
        ]
        camera = "words" if self.camera == "input" and not takes_camera else self.camera
        return self.model_copy(update={"stages": tuple(stages), "camera": camera, "tier": self.tier or tier})


def default_guidance(loss: Loss, latents: bool) -> float:
    """Guidance scale that a loss needs, as in `core.guidance.ClassifierFreeGuidance`.

    A scale of 1 disables guidance (DreamFusion's omega is the scale minus 1). SDS and SJC need far more than
    sampling does: 100 for latents (Poole et al. 2022, and Stable-DreamFusion), 20 for the pixels of DeepFloyd
    (threestudio). VSD and ISM are designed for 7.5.
    """
    if loss in ("sds", "sjc"):
        return 100.0 if latents else 20.0
    return 7.5


class ImageModelReference(NamedTuple):
    """A reference to an image model that is not loaded yet, and how to load it."""

    name: str  # a folder, or a name or id of the hub
    bundled: bool = False
    dtype: str | None = None  # of a checkpoint's weights, one of `DTYPES`; None: by the device
    lora: tuple[str, ...] = ()
    offload: bool = False


def check_offload(source: ImageModelReference, device: str) -> None:
    """Raises UserError for --offload on the CPU. device: the kind of the device, such as "cuda"."""
    if source.offload and device == "cpu":
        raise UserError(
            "--offload moves weights between GPU and CPU memory, and the device is the CPU: omit --offload."
        )


def check_model_reference(
    source: ImageModelReference, options: ObjectOptions, given: Collection[str] = ()
) -> None:
    """Raises UserError for combinations that are invalid for every model, or for this one.

    given: names of the options that are not the preset's.
    """
    if source.dtype not in (None, *DTYPES):
        raise UserError(f"--dtype cannot be {source.dtype!r}: it must be one of {', '.join(DTYPES)}.")
    folder = Path(source.name)
    own, pipeline = (os.path.isfile(folder / name) for name in (CONFIG, "model_index.json"))
    native = source.bundled or (own and not pipeline)
    if native and (source.lora or source.offload or source.dtype not in (None, "float32")):
        raise UserError("--lora, --dtype and --offload are for checkpoints: give one with --model.")
    if options.tier and not native:
        raise UserError("--tier is for models in this project's format: a checkpoint's precision is --dtype.")
    if source.offload and options.loss == "vsd":
        raise UserError("--offload cannot be combined with --loss vsd, which trains adapters of the network.")
    if options.camera == "words" or not native or not reads_attributes(folder):
        for name in ("guidance_interval", "rescale"):
            if name in given and getattr(options, name):
                flag = "guidance-rescale" if name == "rescale" else "guidance-interval"
                raise UserError(
                    f"--{flag} needs a model with a camera input: views in words are guided by Perp-Neg."
                )


OF_A_ROW = ObjectOptions.model_fields.keys() | {"guidance"}  # options that rows of a file of prompts may have
