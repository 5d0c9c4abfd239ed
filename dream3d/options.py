"""What dream3d is asked for, checked before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import UserError

Loss = Literal["x0", "sds", "sjc", "csd", "vsd", "ism"]
FieldKind = Literal["voxel", "hash"]
CameraInput = Literal["input", "words", "none"]


DTYPES = ("float32", "bfloat16", "float16")
EXTENSIONS = (".obj", ".glb", ".ply")


class Stage(BaseModel):
    """A part of the run: how finely it renders and what it learns from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(gt=0, le=1, description="of the iterations")
    size: int = Field(ge=16, le=512, description="side of the renders, pixels; enlarged for the model")
    samples: int = Field(ge=8, le=512, description="a ray")
    grid: int = Field(ge=8, le=256, description="vertices along a side of the voxel grid")
    guidance: float | None = Field(
        default=None, ge=0, le=200, description="diffusers' scale: 1 is none; null: see `usual_guidance`"
    )
    steps: int = Field(1, ge=1, le=50, description="DDIM steps to a target of the x0 loss")

    @property
    def scale(self) -> float:
        """The guidance scale. Raises ValueError before `ObjectOptions.with_model_defaults` has set it."""
        if self.guidance is None:
            raise ValueError("the stage's guidance has not been filled in")
        return self.guidance


class TargetBufferOptions(BaseModel):
    """Targets of the x0 loss that are kept and reused; see `dream3d.optimization.view_strategies`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(24, ge=1, le=512, description="targets")
    refresh_every: int = Field(6, ge=1, le=1000, description="iterations from one renewal to the next")
    views_per_step: int = Field(12, ge=1, le=64, description="targets that an iteration learns from")
    pixel_stride: int = Field(2, ge=1, le=8, description="it sees every so manyth pixel of them, both ways")


class RegularizerWeights(BaseModel):
    """Of the regularizers beside the distillation's loss, which is a mean over pixels; see `regularize`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sparsity: float = Field(default=0.0, ge=0)
    entropy: float = Field(default=0.0, ge=0)
    orientation: float = Field(default=0.0, ge=0)
    smoothness: float = Field(default=0.0, ge=0)
    distortion: float = Field(default=0.0, ge=0)
    empty_space: float = Field(default=0.0, ge=0)


class Lighting(BaseModel):
    """When the object is lit instead of shown in its own colors.

    By the light of the model's pictures, where that is known (`Scenery.light`), and in a share of the
    iterations by a lamp instead (DreamFusion, section 3.1).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(default=0.0, ge=0, le=1, description="of the later iterations, by a lamp")
    textureless: float = Field(default=0.5, ge=0, le=1, description="of those, without color")
    after: float = Field(default=0.2, ge=0, le=1, description="first share of the run, without a surface")


class ObjectOptions(BaseModel):
    """How an object is distilled: the keys of a dream3d preset, some of them options of the command."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    iterations: int = Field(ge=1, le=100000)
    views: int = Field(4, ge=1, le=16, description="asked about at once, evenly spaced around the object")
    elevation: tuple[float, float] = Field((-5.0, 35.0), description="degrees, drawn from between")
    noise: tuple[tuple[float, float], tuple[float, float]] = Field(
        ((0.98, 0.98), (0.02, 0.5)), description="timesteps as shares of T: from this range to that"
    )
    loss: Loss = "x0"
    target_buffer: TargetBufferOptions | None = None
    field: FieldKind = "voxel"
    learning_rate: float = Field(gt=0, le=1)
    decay: float = Field(0.0, ge=0, le=1, description="last share of the run, where the rate falls to 0")
    camera: CameraInput = Field("input", description="how the model is told from where it looks")
    rescale: float = Field(0.0, ge=0, le=1, description="see core.guidance.ClassifierFreeGuidance")
    weights: RegularizerWeights = RegularizerWeights()
    lighting: Lighting = Lighting()
    stages: tuple[Stage, ...] = Field(min_length=1)
    negative: str = ""
    texture: int = Field(512, ge=64, le=4096, description="side of the texture, pixels")
    turn: int = Field(48, ge=2, le=720, description="frames of the turntable")
    faces: int = Field(30000, ge=100, le=50000, description="of the mesh, at most")

    @model_validator(mode="after")
    def _ranges_are_ranges(self) -> ObjectOptions:
        for name, ranges in (("elevation", [self.elevation]), ("noise", self.noise)):
            if any(low > high for low, high in ranges):
                raise ValueError(f"{name} must be given as the lower end and the higher")
        if not -90 <= self.elevation[0] <= self.elevation[1] <= 90:
            raise ValueError("elevation must lie between -90 and 90 degrees")
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
            raise ValueError("stored targets cannot be relit: with a target_buffer, lighting.share must be 0")
        if self.target_buffer and any(stage.size % self.target_buffer.pixel_stride for stage in self.stages):
            raise ValueError("every stage's size must be a multiple of target_buffer.pixel_stride")
        if abs(sum(stage.share for stage in self.stages) - 1) > 1e-6:
            raise ValueError("the stages' shares must add up to 1")
        return self

    def with_changes(self, guidance: float | None = None, **values: Any) -> ObjectOptions:
        """These options with the values that are not None. Raises UserError that names the option.

        guidance: of all stages. A loss other than x0 leaves out the pool of targets.
        """
        given = {name: value for name, value in values.items() if value is not None}
        stored = self.model_dump() | given
        if stored["loss"] != "x0":
            stored["target_buffer"] = None
        if guidance is not None:
            stored["stages"] = [stage | {"guidance": guidance} for stage in stored["stages"]]
            given["guidance"] = guidance
        try:
            return ObjectOptions(**stored)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][-1])
            raise UserError(f"--{name} cannot be {given.get(name)!r}: {first['msg'].lower()}.") from error

    def with_model_defaults(self, takes_camera: bool, latents: bool) -> ObjectOptions:
        """What the options leave to the model: guidance where a stage says none, and the camera in words for
        a model that takes it in no other way."""
        usual = default_guidance(self.loss, latents)
        stages = [
            s if s.guidance is not None else s.model_copy(update={"guidance": usual}) for s in self.stages
        ]
        camera = "words" if self.camera == "input" and not takes_camera else self.camera
        return self.model_copy(update={"stages": tuple(stages), "camera": camera})


def default_guidance(loss: Loss, latents: bool) -> float:
    """The scale that a loss is known to need, by the convention of `core.guidance.ClassifierFreeGuidance`,
    where 1 is none (DreamFusion's omega is one less).

    Score distillation alone needs far more than sampling: 100 for latents (Poole et al. 2022, and
    Stable-DreamFusion), 20 for DeepFloyd's pixels (threestudio). VSD and ISM were made to do with 7.5.
    """
    if loss in ("sds", "sjc"):
        return 100.0 if latents else 20.0
    return 7.5


class ImageModelReference(NamedTuple):
    """The image model that objects are distilled from, and how it is held in memory."""

    name: str  # a folder, or a name or an id of the hub
    bundled: bool = False
    dtype: str | None = None  # of a checkpoint's weights, one of `DTYPES`; None: as fits the device
    lora: tuple[str, ...] = ()
    offload: bool = False


def check_model_reference(source: ImageModelReference, options: ObjectOptions) -> None:
    """Raises UserError for what cannot be, whatever the model is."""
    if source.dtype not in (None, *DTYPES):
        raise UserError(f"--dtype cannot be {source.dtype!r}: give {', '.join(DTYPES)}.")
    if source.bundled and (source.lora or source.offload or source.dtype not in (None, "float32")):
        raise UserError("--lora, --dtype and --offload are for checkpoints: give one with --model.")
    if source.offload and options.loss == "vsd":
        raise UserError("--offload cannot be combined with --loss vsd, which trains beside the network.")


def check_prompt(prompt: str) -> None:
    """Raises UserError for a prompt that says nothing."""
    if not prompt.strip():
        raise UserError("The prompt is empty.")


class ObjectJob(NamedTuple):
    """One object to make, and the files that it leaves beside the mesh."""

    prompt: str
    seed: int
    mesh: Path
    completed: str | None = None  # the prompt with the color said that it leaves open

    @property
    def text(self) -> str:
        """What the model is told, but for the background."""
        return self.completed or self.prompt

    @property
    def glb(self) -> Path:
        return self.mesh.with_suffix(".glb")

    @property
    def turntable(self) -> Path:
        return self.mesh.with_suffix(".mp4")

    @property
    def sheet(self) -> Path:
        """Of eight views; the name with .png alone is the texture's of an .obj."""
        return self.mesh.with_suffix(".views.png")

    @property
    def viewer(self) -> Path:
        return self.mesh.with_suffix(".html")

    @property
    def record(self) -> Path:
        return self.mesh.with_suffix(".json")

    @property
    def preview(self) -> Path:
        return self.mesh.with_suffix(".preview.png")

    @property
    def checkpoint(self) -> Path:
        return self.mesh.with_suffix(".checkpoint.safetensors")
