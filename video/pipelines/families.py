"""Families of pretrained video models: what their files say that they take. Imports no torch."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import UserError
from video.options import ClipOptions, refuse_options

ANIMATEDIFF = "AnimateDiff"  # the family of image models that a motion adapter moves
NO_CAMERA = "it has no camera input"
NO_MOTION = "it moves by itself, and motion adapters are for image models"
OWN_SCHEDULER = "its pipeline samples with the checkpoint's own scheduler and guidance"


@dataclass(frozen=True)
class Family:
    """What a video model takes, and the pipeline of diffusers that runs it."""

    title: str
    preset: str  # of configs/gen-video, that fits it
    pipeline: str  # class name for prompts alone; "" where an image is needed
    image_pipeline: str  # the same with an image; "" where none is taken
    spatial: int  # pixels along a side of a latent
    patch: int  # latents along a side of a token
    stride: int  # frames of a latent; the first has one to itself
    frame_step: int  # frames are one more than a multiple of it
    # The pipeline's own least multiple of width and height, px, where it is larger than a token.
    least: int = 8
    least_guidance: float = 1
    size: tuple[int, int] | None = None  # width and height it was trained for, where its files say so
    fixed: bool = False  # takes no other size
    refuses: dict[str, str] = field(default_factory=dict)  # option -> why it cannot be honoured

    @property
    def side(self) -> int:
        """Width and height are multiples of it, px."""
        return max(self.least, self.spatial * self.patch)

    def check(self, options: ClipOptions) -> None:
        """Raises UserError for the first option that this model cannot apply."""
        refuse_options(self.title, self.refuses, options)
        if options.image and not self.image_pipeline:
            raise UserError(f"{self.title} cannot apply --image: it starts from text alone.")
        if not options.image and not self.pipeline:
            raise UserError(f"{self.title} sets an image in motion: give one with --image.")
        if options.guidance < self.least_guidance:
            raise UserError(
                f"{self.title} cannot apply --guidance {options.guidance:g}: its pipeline guides from 1 up."
            )
        if options.negative and options.guidance == 1:
            raise UserError(
                f"{self.title} cannot apply --negative without guidance: give --guidance above 1."
            )
        width, height = self.resolution(options)
        for name, value in (("width", width), ("height", height)):
            if value % self.side:
                near = max(self.side, round(value / self.side) * self.side)
                raise UserError(
                    f"{self.title} takes a --{name} that is a multiple of {self.side}: {near}, not {value}."
                )
        if self.fixed and (width, height) != self.size:
            raise UserError(
                f"{self.title} draws one size only, {_by(self.size)}, not {_by((width, height))}."
            )
        step = self.frame_step
        if (options.frames - 1) % step:
            near = 1 + max(1, round((options.frames - 1) / step)) * step
            raise UserError(f"{self.title} takes --frames of {step} n + 1: {near}, not {options.frames}.")

    def resolution(self, options: ClipOptions) -> tuple[int, int]:
        """Width and height of the clip, px. Raises UserError where neither the options nor the files say."""
        size = (options.width, options.height) if options.width and options.height else self.size
        if size is None:
            raise UserError(f"{self.title} does not say its size: give --width and --height.")
        return size


def find_family(folder: Path) -> Family | None:
    """The family of a diffusers folder; None where it holds no video model that is known.

    Raises UserError for a folder whose configs cannot be read.
    """
    index = _config(folder / "model_index.json")
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
    "sampler": OWN_SCHEDULER,
    "eta": OWN_SCHEDULER,
    "guidance_interval": OWN_SCHEDULER,
    "guidance_rescale": OWN_SCHEDULER,
}


def _wan(folder: Path, index: dict[str, Any], kind: str) -> Family:
    autoencoder = _config(folder / "vae" / "config.json")
    network = _config(folder / "transformer" / "config.json")
    text = kind == "WanPipeline"
    stride = autoencoder.get("scale_factor_temporal", 4)
    # Wan 2.2's small model knows the first frame by its timestep, so that one set of weights does both.
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
    autoencoder = _config(folder / "vae" / "config.json")
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
        refuses=REFUSED,
    )


def _cogvideox(folder: Path, kind: str) -> Family:
    autoencoder = _config(folder / "vae" / "config.json")
    network = _config(folder / "transformer" / "config.json")
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
        frame_step=2 * stride,  # it decodes latents in pairs
        size=(network.get("sample_width", 90) * spatial, network.get("sample_height", 60) * spatial),
        fixed=network.get("use_learned_positional_embeddings", False),
        refuses=REFUSED,
    )


def _modelscope(folder: Path) -> Family:
    network = _config(folder / "unet" / "config.json")
    spatial = _pixels_a_latent(_config(folder / "vae" / "config.json"))
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
        refuses=REFUSED,
    )


def _animatediff(folder: Path, kind: str) -> Family:
    network = _config(folder / "unet" / "config.json")
    spatial = _pixels_a_latent(_config(folder / "vae" / "config.json"))
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
        refuses={"azimuth": NO_CAMERA, "elevation": NO_CAMERA},
    )


def _pixels_a_latent(autoencoder: dict[str, Any]) -> int:
    """Along a side, where each level of the autoencoder but the first halves it; of four unless it says."""
    return 2 ** (len(autoencoder.get("block_out_channels", range(4))) - 1)


def _by(size: tuple[int, int] | None) -> str:
    return f"{size[0]}x{size[1]}" if size else "unknown"


def _config(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"Cannot read {path}: it is not JSON.") from error
