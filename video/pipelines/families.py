"""Families of pretrained video models and the options they support, by their configs. Imports no torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.pretrained.reading import read_config, reading
from video.options import ClipOptions, refuse_negative, refuse_options

TOKENS, CLIP_TOKENS = {"Wan": 512, "LTX": 128, "CogVideoX": 226}, 77  # padded length of a prompt
ANIMATEDIFF = "AnimateDiff"  # family of the image models that take a motion adapter
NO_CAMERA = "it has no camera input"
NO_MOTION = "it is a video model, and motion adapters are for image models"
NO_PHASE = "it does not know the loops of actions"
OWN_SIZE = "it draws at its own size, see --width"
NATIVE_ONLY = "that is built for models in this project's format"
OWN_FRAMES = "its pipeline samples all frames of a clip by itself"
NO_TIER = "tiers are of this project's models, and its precision is that of --dtype"
UNET = {
    "storage": "diffusers has it for its video transformers",
    "cache": "diffusers has none for its U-Net",
    "attention": "its U-Net has no backends to choose from",
}
NO_PLAN = {"context_parallel": "diffusers has no plan of how its tokens are spread"}
MASKED = {"context_parallel": "diffusers cannot spread the mask of its text over processes"}
OWN_SCHEDULER = "its pipeline samples with the checkpoint's own scheduler and guidance"


@dataclass(frozen=True)
class Family:
    """Limits of a video model and the diffusers pipeline that runs it."""

    title: str
    preset: str  # the name in configs/gen-video that fits the model
    pipeline: str  # class name for text to video; "" if the model requires an image
    image_pipeline: str  # class name for image to video; "" if the model takes no image
    spatial: int  # downscaling of the autoencoder: pixels along a side of a latent
    patch: int  # latents along a side of a token
    stride: int  # frames per latent frame; the first frame has a latent of its own
    frame_step: int  # the number of frames must be a multiple of this plus one
    # Pixels that the pipeline itself requires width and height to be multiples of, at least.
    least: int = 8
    least_guidance: float = 1  # smallest guidance scale
    size: tuple[int, int] | None = None  # width and height of its training, px, if its configs give them
    fixed: bool = False  # supports no other size
    reads_fps: bool = False  # whether the frame rate is an input of the network
    refuses: dict[str, str] = field(default_factory=dict)  # option -> why it cannot be applied

    def __post_init__(self) -> None:
        numbers: list[Any] = [self.spatial, self.patch, self.stride, self.frame_step, *(self.size or ())]
        if not all(isinstance(number, int) and number > 0 for number in numbers):
            raise UserError(
                f"The configs of this {self.title} checkpoint are damaged: sizes and strides must be whole "
                f"numbers above 0, not {', '.join(map(str, numbers))}. Download it again."
            )

    @property
    def side(self) -> int:
        """Width and height must be multiples of this many pixels."""
        return max(self.least, self.spatial * self.patch)

    def check(self, options: ClipOptions) -> None:
        """Raises UserError for the first option that this model cannot apply."""
        refuse_options(self.title, self.refuses, options)
        if options.image and not self.image_pipeline:
            raise UserError(f"{self.title} cannot apply --image: it is a text-to-video model.")
        if not options.image and not self.pipeline:
            raise UserError(f"{self.title} is an image-to-video model: give an image with --image.")
        if options.guidance < self.least_guidance:
            raise UserError(
                f"{self.title} takes a --guidance of at least {self.least_guidance:g}, "
                f"not {options.guidance:g}."
            )
        refuse_negative(self.title, options)
        self.check_shape(*self.resolution(options), options.frames)

    def check_shape(self, width: int, height: int, frames: int, dashes: str = "--") -> None:
        """Raises UserError for a size or a number of frames that the model cannot apply.

        dashes: before the names of the options; "" for the keys of a preset.
        """
        for name, value in (("width", width), ("height", height)):
            if value % self.side:
                near = max(self.side, round(value / self.side) * self.side)
                raise UserError(
                    f"{self.title} needs a {dashes}{name} that is a multiple of {self.side}, not {value}: "
                    f"give {near}."
                )
        if self.fixed and (width, height) != self.size:
            raise UserError(
                f"{self.title} has one size, {_by(self.size)}, not {_by((width, height))}: omit "
                f"{dashes}width and {dashes}height."
            )
        step = self.frame_step
        if (frames - 1) % step:
            near = 1 + max(1, round((frames - 1) / step)) * step
            raise UserError(
                f"{self.title} needs {dashes}frames of the form {step} n + 1, not {frames}: give {near}."
            )

    def resolution(self, options: ClipOptions) -> tuple[int, int]:
        """Width and height of the clip, px.

        Raises UserError if neither the options nor the checkpoint's configs give them.
        """
        size = (options.width, options.height) if options.width and options.height else self.size
        if size is None:
            raise UserError(f"The configs of {self.title} give no size: give --width and --height.")
        return size


def find_family(folder: Path) -> Family | None:
    """The family of the model in a diffusers folder; None if it is not supported.

    Raises UserError when a config cannot be read, or holds no such values as the family has.
    """
    with reading(folder):
        return _find_family(folder)


def _find_family(folder: Path) -> Family | None:
    index = read_config(folder / "model_index.json")
    kind = index.get("_class_name")
    match kind:
        case "WanPipeline" | "WanImageToVideoPipeline":
            return _wan(folder, index, kind)
        case "LTXPipeline" | "LTXImageToVideoPipeline":
            return _ltx(folder)
        case "CogVideoXPipeline" | "CogVideoXImageToVideoPipeline":
            return _cogvideox(folder, kind)
        case "TextToVideoSDPipeline":
            return _modelscope(folder)
        case "StableDiffusionPipeline" | "StableDiffusionXLPipeline":
            return _animatediff(folder, kind)
        case _:
            return None


REFUSED = {
    "motion": NO_MOTION,
    "azimuth": NO_CAMERA,
    "elevation": NO_CAMERA,
    "phase": NO_PHASE,
    "last_phase": NO_PHASE,
    "super_resolution": OWN_SIZE,
    "tier": NO_TIER,
    "sampler": OWN_SCHEDULER,
    "eta": OWN_SCHEDULER,
    "guidance_interval": OWN_SCHEDULER,
    "guidance_rescale": OWN_SCHEDULER,
    "interpolate": OWN_FRAMES,
    "video": OWN_FRAMES,
    "loop": OWN_FRAMES,
    "extension": OWN_FRAMES,
}


def _wan(folder: Path, index: dict[str, Any], kind: str) -> Family:
    """Wan 2.1 and 2.2. index: the values of model_index.json; kind: the pipeline class."""
    autoencoder = read_config(folder / "vae" / "config.json")
    network = read_config(folder / "transformer" / "config.json")
    text = kind == "WanPipeline"
    stride = autoencoder.get("scale_factor_temporal", 4)
    # Wan 2.2's 5B model marks a given first frame by its timestep: one set of weights serves both tasks.
    both = index.get("expand_timesteps", False)
    return Family(
        title="Wan",
        preset="wan-2.2" if both else "wan" if text else "wan-image",
        pipeline="WanPipeline" if text or both else "",
        image_pipeline="WanImageToVideoPipeline" if both or not text else "",
        spatial=autoencoder.get("scale_factor_spatial", 8),
        patch=network.get("patch_size", [1, 2, 2])[1],
        stride=stride,
        frame_step=stride,
        refuses=REFUSED,
    )


def _ltx(folder: Path) -> Family:
    """LTX-Video."""
    autoencoder = read_config(folder / "vae" / "config.json")
    halvings = sum(autoencoder.get("spatio_temporal_scaling", [True, True, True, False]))
    spatial = autoencoder.get("spatial_compression_ratio") or autoencoder.get("patch_size", 4) * 2**halvings
    temporal = autoencoder.get("temporal_compression_ratio") or 2**halvings
    return Family(
        title="LTX",
        preset="ltx",
        pipeline="LTXPipeline",
        image_pipeline="LTXImageToVideoPipeline",
        spatial=spatial,
        patch=1,
        stride=temporal,
        frame_step=temporal,
        least=32,
        reads_fps=True,
        refuses=REFUSED | MASKED,
    )


def _cogvideox(folder: Path, kind: str) -> Family:
    """CogVideoX 1.0 and 1.5. kind: the pipeline class."""
    autoencoder = read_config(folder / "vae" / "config.json")
    network = read_config(folder / "transformer" / "config.json")
    spatial = _pixels_a_latent(autoencoder)
    text = kind == "CogVideoXPipeline"
    stride = int(autoencoder.get("temporal_compression_ratio", 4))
    return Family(
        title="CogVideoX",
        preset="cogvideox-1.5" if network.get("patch_size_t") else "cogvideox" if text else "cogvideox-image",
        pipeline=kind if text else "",
        image_pipeline="" if text else kind,
        spatial=spatial,
        patch=network.get("patch_size", 2),
        stride=stride,
        frame_step=2 * stride,  # it decodes pairs of latent frames
        size=(network.get("sample_width", 90) * spatial, network.get("sample_height", 60) * spatial),
        fixed=network.get("use_learned_positional_embeddings", False),
        refuses=REFUSED | NO_PLAN | {"attention": "its transformer has no backends to choose from"},
    )


def _modelscope(folder: Path) -> Family:
    """ModelScope's text-to-video U-Net."""
    network = read_config(folder / "unet" / "config.json")
    spatial = _pixels_a_latent(read_config(folder / "vae" / "config.json"))
    side = network.get("sample_size", 32) * spatial
    return Family(
        title="ModelScope",
        preset="modelscope",
        pipeline="TextToVideoSDPipeline",
        image_pipeline="",
        spatial=spatial,
        patch=1,
        stride=1,
        frame_step=1,
        size=(side, side),
        refuses=REFUSED | NO_PLAN | UNET,
    )


def _animatediff(folder: Path, kind: str) -> Family:
    """Image models of Stable Diffusion 1.x or XL, for a motion adapter. kind: the pipeline class."""
    network = read_config(folder / "unet" / "config.json")
    spatial = _pixels_a_latent(read_config(folder / "vae" / "config.json"))
    side = network.get("sample_size", 64) * spatial
    return Family(
        title=ANIMATEDIFF,
        preset="animatediff" if kind == "StableDiffusionPipeline" else "animatediff-sdxl",
        pipeline=kind,
        image_pipeline=kind,
        spatial=spatial,
        patch=1,
        stride=1,
        frame_step=1,
        size=(side, side),
        least_guidance=0,
        refuses=NO_PLAN
        | UNET
        | {
            "azimuth": NO_CAMERA,
            "elevation": NO_CAMERA,
            "phase": NO_PHASE,
            "last_phase": NO_PHASE,
            "super_resolution": OWN_SIZE,
            "tier": NO_TIER,
            "interpolate": NATIVE_ONLY,
            "video": NATIVE_ONLY,
            "loop": NATIVE_ONLY,
            "extension": "its long clips are averaged over windows",
        },
    )


def _pixels_a_latent(autoencoder: dict[str, Any]) -> int:
    """Pixels along a side of a latent: every level of the autoencoder but the first halves the side.

    A config without `block_out_channels` has four levels.
    """
    return 2 ** (len(autoencoder.get("block_out_channels", range(4))) - 1)


def _by(size: tuple[int, int] | None) -> str:
    """A size as text, such as "832x480"."""
    return f"{size[0]}x{size[1]}" if size else "unknown"
