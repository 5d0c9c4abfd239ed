"""Text-to-image model: text encoder, denoiser and optional first stage; saved and loaded as a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor

from core.attributes import encode_attributes
from core.bundled import weak_version
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.finite import require_finite
from core.io.base_model import CONFIG, Base
from core.io.presets import validate
from core.io.weights import NoInitialization, load_folder, load_weights, save_folder
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.models.image_folder import (
    first_stage_state,
    load_image_folder,
    load_network,
    split_first_stage,
)
from core.models.text_encoder import TextEncoder
from core.nn.unet import UNet, UNetConfig
from core.samplers import noise_like
from core.sampling import StepCallback, make_generators, sample_latents
from core.sampling_options import SamplerName, SamplingOptions


class FirstStage(Protocol):
    """Autoencoder between images (B,3,H,W) in [-1, 1] and the latents (B,C,h,w) of a model."""

    def to_latents(self, images: Tensor) -> Tensor:
        """Latents of images, normalized for diffusion; differentiable."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Images of latents; not clamped."""
        ...


class ImageModelLike(Protocol):
    """Interface of image models for video and dream3d; checkpoints (`core.pretrained`) have it too."""

    denoiser: Denoiser
    device: torch.device
    weak: Denoiser | None  # a weaker version that guides samples, see `ClassifierFreeGuidance`

    @property
    def first_stage(self) -> FirstStage | None:
        """The first stage whose latents are diffused; None where the model works on pixels."""
        ...

    @property
    def size(self) -> int:
        """Side of the images, pixels."""
        ...

    @property
    def reads_attributes(self) -> bool:
        """Whether the network is conditioned on attributes, such as the camera."""
        ...

    def check_guidance(self, scale: float, negative: str) -> None:
        """Raises UserError where guidance of that scale needs a negative prompt."""
        ...

    def encode(self, prompts: Sequence[str], attributes: Tensor | None = None) -> Condition:
        """The condition of B prompts, with attributes (B,V) if given."""
        ...

    def read(self, prompt: str, suffix: str = "") -> str:
        """The part of a prompt that the text encoder takes, if a suffix is to follow it."""
        ...

    def decode(self, x: Tensor) -> Tensor:
        """Images in [-1, 1] of denoised x; without gradient."""
        ...


class ImageModelConfig(BaseModel):
    """Configuration of an image model: the `config.json` of its folder.

    With a first stage the network denoises the latents of that autoencoder instead of pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    size: int = Field(default=64, ge=8, description="side of the images, pixels")
    network: UNetConfig = UNetConfig()
    noise_schedule: dict[str, Any] = {"name": "cosine"}
    parameterization: Parameterization = Parameterization.V
    clip: float | None = Field(default=1.0, gt=0, description="limit of the predicted x0, see Denoiser")
    learned_variance: bool = Field(default=False, description="network.out_channels is then doubled")
    first_stage: AutoencoderConfig | None = None
    unconditional: bool = Field(
        default=True, description="trained with dropped text too, so that the empty prompt is unconditional"
    )
    reads_attributes: bool = Field(
        default=True, description="trained with camera, phase and shadow, see core.attributes"
    )

    @field_validator("noise_schedule")
    @classmethod
    def _known_schedule(cls, stored: dict[str, Any]) -> dict[str, Any]:
        try:
            return NoiseSchedule.from_dict(stored).to_dict()
        except UserError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _fits_the_first_stage(self) -> ImageModelConfig:
        channels, side, _ = self.shape
        if self.first_stage and self.first_stage.size != self.size:
            raise ValueError(f"size is {self.size}, but first_stage.size is {self.first_stage.size}")
        if self.first_stage and self.clip is not None:
            raise ValueError("clip must be null with a first_stage: latents have no limits")
        if self.network.in_channels != channels:
            raise ValueError(f"network.in_channels must be {channels}, not {self.network.in_channels}")
        outputs = self.network.out_channels or channels
        if outputs != channels * (2 if self.learned_variance else 1):
            raise ValueError(
                f"network.out_channels must be {2 * channels} with learned_variance and {channels} without, "
                f"not {outputs}"
            )
        if side % self.network.stride:
            raise ValueError(
                f"the network takes sides that are multiples of {self.network.stride}, not {side}"
            )
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C,h,w) of the network's input: an image's pixels or its latents."""
        return self.first_stage.latent_shape if self.first_stage else (3, self.size, self.size)

    def check_guidance(self, scale: float, negative: str) -> None:
        """Raises UserError where guidance needs an unconditional prediction that was not trained."""
        if scale != 1 and not self.unconditional and not negative.strip():
            raise UserError(
                "This model was never trained without text, so it has no unconditional prediction for "
                "guidance: give a negative prompt, or a guidance scale of 1."
            )

    def denoiser(self) -> Denoiser:
        """A denoiser with a fresh network."""
        schedule = NoiseSchedule.from_dict(self.noise_schedule)
        network = UNet(self.network)
        return Denoiser(network, schedule, self.parameterization, self.clip, self.learned_variance)


class ImageModel:
    """Samples images from prompts. Score distillation and the video model build on its `denoiser`."""

    def __init__(
        self,
        config: ImageModelConfig,
        denoiser: Denoiser,
        text: TextEncoder | None = None,
        first_stage: Autoencoder | None = None,
        weak: Denoiser | None = None,
    ) -> None:
        """denoiser: on the device to be used, made by `config.denoiser()`.

        weak: a weaker version of it that guides `sample`, see `ClassifierFreeGuidance`.

        Raises ValueError unless there is a first stage exactly where the config has one.
        """
        if (first_stage and first_stage.config) != config.first_stage:
            raise ValueError("the first stage is not the one of the config")
        self.config = config
        self.denoiser = denoiser.eval()
        self.device = next(denoiser.parameters()).device
        self.first_stage = first_stage.to(self.device).eval() if first_stage else None
        self.text = text or TextEncoder(self.device)
        self.weak = weak

    @property
    def size(self) -> int:
        """Side of the images, pixels."""
        return self.config.size

    @property
    def reads_attributes(self) -> bool:
        """Whether the network was trained with camera, phase and shadow."""
        return self.config.reads_attributes

    def check_guidance(self, scale: float, negative: str) -> None:
        """As `ImageModelConfig.check_guidance`."""
        self.config.check_guidance(scale, negative)

    def read(self, prompt: str, suffix: str = "") -> str:
        """As `TextEncoder.read`."""
        return self.text.read(prompt, suffix)

    def encode(self, prompts: Sequence[str], attributes: Tensor | None = None) -> Condition:
        """The condition of B prompts. attributes: of `encode_attributes`; none unless given and read."""
        if attributes is None or not self.reads_attributes:
            attributes = encode_attributes(len(prompts))
        return Condition(*self.text(prompts), attributes.to(self.device))

    def sample(
        self,
        prompts: Sequence[str],
        *,
        steps: int = 40,
        guidance: float = 2.5,
        negative: str = "",
        seeds: Sequence[int] | None = None,
        azimuth: Tensor | float | None = None,
        elevation: Tensor | float | None = None,
        phase: Tensor | float | None = None,
        shadow: Tensor | bool | None = None,
        sampler: SamplerName | None = None,
        eta: float = 0.0,
        guidance_interval: tuple[float, float] | None = None,
        guidance_rescale: float = 0.0,
        on_step: StepCallback | None = None,
    ) -> Tensor:
        """Images (B,3,size,size) in [-1, 1] of B prompts.

        steps, guidance, sampler, eta, guidance_interval, guidance_rescale: as in `SamplingOptions`.
        negative: the negative prompt.
        seeds: one per image, 0, 1, ... unless given; an image depends on its own seed only.
        azimuth, elevation, phase, shadow: as in `core.attributes.encode_attributes`, degrees and [0, 1).
        on_step: called after every step; its states hold pixels or latents, for `decode`.

        Raises UserError for empty prompts and impossible options or seeds.
        """
        self.config.check_guidance(guidance, negative)
        options = SamplingOptions(steps, guidance, sampler, eta, guidance_interval, guidance_rescale)
        generators = make_generators(prompts, seeds)
        attributes = encode_attributes(
            len(prompts), azimuth=azimuth, elevation=elevation, phase=phase, shadow=shadow
        )
        condition, away = self.conditions(prompts, attributes, negative, generators)
        return self.draw(condition, away, options, generators, on_step)

    def conditions(
        self, prompts: Sequence[str], attributes: Tensor, negative: str, generators: Sequence[torch.Generator]
    ) -> tuple[Condition, Condition]:
        """The condition of B prompts, and that of the negative prompt, of length 1.

        generators: of the samples, for models that draw a part of the condition.
        """
        return self.encode(prompts, attributes), self.encode([negative])

    def draw(
        self,
        condition: Condition,
        negative: Condition,
        options: SamplingOptions,
        generators: Sequence[torch.Generator],
        on_step: StepCallback | None = None,
    ) -> Tensor:
        """Images (B,3,size,size) in [-1, 1] of a condition of length B; arguments as of `sample_latents`."""
        noise = noise_like((len(condition), *self.config.shape), generators).to(self.device)
        x = sample_latents(
            self.denoiser, noise, condition, negative, options, generators, weak=self.weak, on_step=on_step
        )
        return self.decode(x)

    def decode(self, x: Tensor) -> Tensor:
        """Images (B,3,size,size) in [-1, 1] of denoised x (B,C,h,w); without gradient."""
        return decode_latents(x, self.first_stage)

    def save(self, folder: Path, base: Path | None = None, int8: bool = False) -> None:
        """Writes config.json and model.safetensors (float16, or int8 as in `save_folder`).

        The weak version is not written.

        base: the folder of an image model with the same first stage, which is then left out; it must stay
        where it is, seen from `folder`. Raises UserError when it is not a model, or has another first stage.
        """
        tensors = self.denoiser.network.state_dict()
        config = self.config.model_dump(mode="json")
        if base:
            _, _, theirs = read_image_model(base)
            _check_first_stages(theirs, self.first_stage, base)
            config["base"] = Base.of(base, folder, load_folder(base).sha256).model_dump()
        else:
            tensors |= first_stage_state(self.first_stage)
        save_folder(folder, config, tensors, int8)

    @classmethod
    def load(cls, folder: Path, device: str | torch.device = "cpu") -> ImageModel:
        """The model of a folder, in float32, with the weak version of it that lies beside, if any.

        Raises UserError when a folder is missing, damaged or does not fit.
        """
        config, tensors, first_stage = read_image_model(folder)
        model = cls(config, load_denoiser(config, tensors, folder).to(device), first_stage=first_stage)
        model.weak = load_weak_version(model, folder)
        return model

    save_pretrained, from_pretrained = save, load  # by the names of the hub's libraries


def load_denoiser(config: ImageModelConfig, tensors: Mapping[str, Tensor], folder: Path) -> Denoiser:
    """The configured denoiser with weights that were found in `folder`."""
    with NoInitialization():
        denoiser = config.denoiser()
    load_weights(denoiser.network, tensors, folder, assign=True)
    return denoiser


def read_image_model(folder: Path) -> tuple[ImageModelConfig, dict[str, Tensor], Autoencoder | None]:
    """Config, network weights and first stage of an image model's folder. Errors as `ImageModel.load`."""
    stored = load_image_folder(folder)
    config = validate(stored.config, ImageModelConfig, folder / CONFIG)
    return config, *split_first_stage(config.first_stage, stored.tensors, folder)


def load_weak_version(model: Diffuses, folder: Path) -> Denoiser | None:
    """The denoiser of images that is the weak version of the one in `folder`, if any lies beside it.

    model: that it guides: the model of images in `folder`, or one of clips that rests on it.

    Raises UserError when it is damaged, or when it denoises something else.
    """
    found = weak_version(folder)
    if not found:
        return None
    if network := load_network(found, folder):
        config, tensors = validate(network.config, ImageModelConfig, found / CONFIG), network.tensors
    else:
        config, tensors, first_stage = read_image_model(found)
        _check_first_stages(first_stage, model.first_stage, found)
    if config.first_stage != (model.first_stage and model.first_stage.config):
        raise UserError(f"The model in {found} has another first stage.")
    weak = load_denoiser(config, tensors, found)
    if weak.schedule.to_dict() != model.denoiser.schedule.to_dict():
        raise UserError(f"The weak model in {found} has another noise schedule than the model.")
    return weak.to(model.device).eval()


class Diffuses(Protocol):
    """What models of images and of clips have in common: a denoiser, and the first stage of its latents."""

    denoiser: Denoiser
    first_stage: Autoencoder | None
    device: torch.device


def _check_first_stages(stage: Autoencoder | None, other: Autoencoder | None, folder: Path) -> None:
    """Raises UserError unless two first stages make the same latents. folder: that of the former's model."""
    if (stage and stage.fingerprint) != (other and other.fingerprint):
        raise UserError(f"The model in {folder} has another first stage.")


@torch.no_grad()
def decode_latents(x: Tensor, first_stage: FirstStage | None) -> Tensor:
    """Images (B,3,H,W) in [-1, 1] of pixels, or of the latents of a first stage.

    Raises UserError for an output of the first stage that is not finite, which would become black or white.
    """
    images = require_finite(first_stage.decode(x), "The first stage's output") if first_stage else x
    return images.clamp(-1, 1)
