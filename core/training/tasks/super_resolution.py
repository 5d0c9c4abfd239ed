"""Training of the super-resolution model: preset, low-resolution inputs, and task."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from core.attributes import encode_attributes
from core.condition import no_condition
from core.diffusion.denoiser import Denoiser
from core.errors import UserError
from core.io.text import too_few
from core.io.weights import write_tensors
from core.models.image_model import ImageModel
from core.models.super_resolution import SuperResolutionConfig, augment, with_low_resolution
from core.samplers import noise_like
from core.sampling import make_generators, sample_latents
from core.sampling_options import SamplingOptions
from core.training.adversary import Adversary, AdversaryConfig
from core.training.config import TrainingConfig
from core.training.data import CAPTIONS, Shards, read_shard, shard_paths, single_images, to_float_images
from core.training.latents import file_version, stored_version
from core.training.tasks.autoencoders import weighted_l1
from core.training.trainer import stratified_timesteps

KINDS = ("large",)  # of the toybox's shards with high-resolution images
ATTRIBUTES = ("azimuth", "elevation", "phase", "shadow")  # columns of the shards
BATCH = 32  # images at once, while inputs are prepared
RESAMPLED = (120, 500)  # range of timesteps from which inputs are sampled again
STEPS = 3  # of sampling an input again
GUIDANCE = 2.5


class InputShares(BaseModel):
    """Shares of the three kinds of low-resolution inputs, in the order in which they are stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rendered: float = Field(default=0.15, ge=0, description="means of the true image")
    reconstructed: float = Field(default=0.40, ge=0, description="through the first stage")
    resampled: float = Field(default=0.45, ge=0, description="noised, then sampled by the image model")

    @property
    def weights(self) -> Tensor:
        """(3,) float32."""
        return torch.tensor([self.rendered, self.reconstructed, self.resampled])


class SuperResolutionPreset(BaseModel):
    """Architecture and training of a super-resolution model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: SuperResolutionConfig = SuperResolutionConfig()
    crop: int = Field(default=24, ge=8, description="side of the training crops in low-resolution pixels")
    whole_steps: float = Field(default=0.25, ge=0, le=1, description="share of steps on entire images")
    inputs: InputShares = InputShares()
    greatest_level: float = Field(default=0.3, ge=0, le=0.5, description="of the augmentation's noise")
    one_step_share: float = Field(
        default=0.5, ge=0, le=1, description="share of samples at the last timestep, for one-step sampling"
    )
    edge_weight: float = Field(default=0.5, ge=0, description="weight of the L1 error of image gradients")
    greatest_snr: float = Field(default=5.0, gt=0, description="limit of the SNR in the weight SNR + 1")
    adversary: AdversaryConfig | None = None
    held_back: int = Field(default=256, ge=1, description="number of last images held back from training")
    training: TrainingConfig = TrainingConfig(batch_size=32, learning_rate=6e-4, decay=0.6)

    @model_validator(mode="after")
    def _check(self) -> "SuperResolutionPreset":
        if self.adversary and self.training.compile:
            raise ValueError("training.compile must be false with an adversary")
        if self.crop % self.model.stride or self.crop > self.model.low_size:
            raise ValueError(f"crop must be a multiple of {self.model.stride}, at most {self.model.low_size}")
        return self


@torch.no_grad()
def prepare_inputs(
    folder: Path,
    model: ImageModel,
    size: int,
    on_done: Callable[[int, int], None] | None = None,
    kinds: Sequence[str] = KINDS,
) -> str:
    """Low-resolution inputs of the shards of large images, as an image model draws them; returns their label.

    `inputs-<label>-large-00000.safetensors` holds `inputs` uint8 (N,3,3,size,size): means of the true image;
    these through the model's first stage, if it has one; and the latter noised to a random level and sampled
    again, which gives the model's own faults in pictures that are still aligned with the true ones. Shards
    that have their inputs are skipped. Frames of clips are images of their own.

    on_done: called with (shards done, shards in total).

    Raises UserError when there are no shards, or when the model draws another size.
    """
    if model.size != size:
        raise UserError(f"Inputs of {size} pixels need an image model of this size, not of {model.size}.")
    label = _label(model)
    texts = (folder / CAPTIONS).read_text(encoding="utf-8").splitlines()
    paths = [path for kind in kinds for path in shard_paths(folder, kind)]
    for done, path in enumerate(paths, start=1):
        out, source = inputs_path(path, label), file_version(path)
        if stored_version(out) != source:
            columns = ("caption", *ATTRIBUTES)
            shard = single_images(read_shard(path, ("pixels", *columns)), columns)
            rows = [
                _inputs(model, shard, index, texts, size)
                for index in torch.arange(len(shard["pixels"])).split(BATCH)
            ]
            write_tensors(out, {"inputs": torch.cat(rows)}, source)
        if on_done:
            on_done(done, len(paths))
    return label


def _inputs(
    model: ImageModel, shard: dict[str, Tensor], index: Tensor, texts: list[str], size: int
) -> Tensor:
    """The three inputs of the images at index (B,), uint8 (B,3,3,size,size)."""
    pixels = to_float_images(shard["pixels"][index])
    means = F.avg_pool2d(pixels, pixels.shape[-1] // size)
    latents = means.to(model.device)
    if model.first_stage:
        latents = model.first_stage.to_latents(latents)
    attributes = encode_attributes(
        len(index),
        **{name: shard[name][index].float() for name in ATTRIBUTES},
    )
    prompts = [texts[line] for line in shard["caption"][index].tolist()]
    generators = make_generators(prompts, index.tolist())
    start = int(torch.randint(*RESAMPLED, (), generator=generators[0]))
    t = torch.full((len(index),), start, device=latents.device)
    noise = noise_like(latents.shape, generators).to(latents)
    noised = model.denoiser.schedule.add_noise(latents, noise, t)
    resampled = sample_latents(
        model.denoiser,
        noised,
        model.encode(prompts, attributes),
        model.encode([""]),
        SamplingOptions(STEPS, GUIDANCE),
        generators,
        weak=model.weak,
        timesteps=[start * (STEPS - step) / STEPS for step in range(STEPS)],
    )
    kinds = means, model.decode(latents).cpu(), model.decode(resampled).cpu()
    stacked = torch.stack(kinds, dim=1)
    return ((stacked.clamp(-1, 1) + 1) * 127.5).round().byte()


def _label(model: ImageModel) -> str:
    """Hash of an image model's weights and those of its weak version: 12 hexadecimal digits."""
    digest = hashlib.sha256(model.first_stage.fingerprint.encode() if model.first_stage else b"")
    for denoiser in (model.denoiser, model.weak):
        weights = denoiser.network.state_dict() if denoiser else {}
        for _, value in sorted(weights.items()):
            digest.update(value.detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def inputs_path(path: Path, label: str) -> Path:
    """File of the inputs of a shard."""
    return path.with_name(f"inputs-{label}-{path.name}")


class ImagePairs:
    """Pairs of low- and high-resolution images, memory-mapped."""

    def __init__(
        self, folder: Path, label: str | None, kinds: Sequence[str] = KINDS, factor: int = 4
    ) -> None:
        """label: of `prepare_inputs`; without one the only inputs are means of the true image.

        factor: of the high resolution over its means, where these are the only inputs.

        Raises UserError when shards are missing or damaged.
        """
        self.high = Shards(folder, kinds)
        paths = [path for kind in kinds for path in shard_paths(folder, kind)]
        self.low = [read_shard(inputs_path(p, label), ("inputs",))["inputs"] for p in paths] if label else []
        side = self.high.tables[0].shape[-1]
        self.factor = side // self.low[0].shape[-1] if self.low else factor

    def __len__(self) -> int:
        return len(self.high)

    @property
    def kinds(self) -> int:
        """Number of kinds of inputs, see `InputShares`."""
        return self.low[0].shape[1] if self.low else 1

    def crop(self, index: int, kind: int, top: int, left: int, side: int) -> tuple[Tensor, Tensor]:
        """Crops in [-1, 1] of image `index`: low (3,side,side) at (top, left), and its high resolution.

        kind: index of the input's kind, see `InputShares`.
        """
        table, row = self.high.locate(index)
        rows, columns = slice(top, top + side), slice(left, left + side)
        large = tuple(slice(each.start * self.factor, each.stop * self.factor) for each in (rows, columns))
        high = to_float_images(self.high.tables[table][row, :, large[0], large[1]])
        if not self.low:
            return F.avg_pool2d(high, self.factor), high
        return to_float_images(self.low[table][row, kind, :, rows, columns]), high


class SuperResolutionTask:
    """Denoising of high-resolution crops, conditioned on their low resolution with augmentation noise.

    A share of the samples are at the last timestep, where the input is nearly pure noise: there the network
    draws the entire picture in one step. These have an L1 loss, with that of the gradients, and the adversary
    where there is one. The others have the squared error of x0, weighted by the clipped SNR + 1 (Salimans and
    Ho 2022, section 4).
    """

    def __init__(
        self, pairs: ImagePairs, preset: SuperResolutionPreset, adversary: Adversary | None = None
    ) -> None:
        """adversary: required exactly if the preset has one.

        Raises ValueError otherwise, and UserError when the images have another size or there are no more than
        are held back.
        """
        if bool(adversary) != bool(preset.adversary):
            raise ValueError("the adversary is not that of the preset")
        if len(pairs) <= preset.held_back:
            raise UserError(f"{too_few(len(pairs), 'image')}: {preset.held_back} are held back.")
        side = pairs.high.tables[0].shape[-1]
        if side != preset.model.size:
            raise UserError(f"The images are {side} pixels wide, the model draws {preset.model.size}.")
        self.pairs, self.preset, self.adversary = pairs, preset, adversary

    def __len__(self) -> int:
        return len(self.pairs) - self.preset.held_back

    def loss(self, denoiser: Denoiser, index: Tensor) -> Tensor:
        """Loss of each crop, (B,), or of fewer entire images. index: (B,) on the CPU."""
        low, high = self._batch(index, next(denoiser.network.parameters()).device)
        count, preset = len(high), self.preset
        level = preset.greatest_level * torch.rand(count) * (torch.rand(count) < 0.5)
        level = level.to(high.device)
        bound = with_low_resolution(denoiser, augment(low, level, torch.randn_like(low)), level)
        timesteps = denoiser.schedule.timesteps
        t = stratified_timesteps(count, timesteps, high.device)
        last = torch.arange(count, device=high.device) < round(preset.one_step_share * count)
        t = torch.where(last, timesteps - 1, t)
        noised = denoiser.schedule.add_noise(high, torch.randn_like(high), t)
        x0 = bound.predict(noised, t, no_condition(count, high.device)).x0
        error = x0 - high
        squares = error.square().flatten(1).mean(1)
        snr = denoiser.schedule.log_snr(t).exp().float()
        one_step = weighted_l1(error, torch.ones_like(high[:, :1]), preset.edge_weight)
        if self.adversary and self.adversary.active and last.any():
            adversarial = self.adversary.loss(high[last], x0[last], one_step[last])
            one_step = one_step.index_add(0, last.nonzero()[:, 0], adversarial.to(one_step))
        return torch.where(last, one_step, (snr + 1).clamp(max=preset.greatest_snr + 1) * squares)

    def _batch(self, index: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Crops of the images at index, or of the first few the entire images; low and high resolution."""
        preset = self.preset
        size, side = preset.model.low_size, preset.crop
        if torch.rand(()) < preset.whole_steps:
            side, index = size, index[: max(1, len(index) * side**2 // size**2)]
        shares = preset.inputs.weights if self.pairs.kinds > 1 else torch.ones(1)
        kinds = torch.multinomial(shares, len(index), replacement=True).tolist()
        pairs = [self._crop(image, kind, side) for image, kind in zip(index.tolist(), kinds, strict=True)]
        low, high = (torch.stack(parts).to(device) for parts in zip(*pairs, strict=True))
        return low, high

    def _crop(self, image: int, kind: int, side: int) -> tuple[Tensor, Tensor]:
        """The more detailed of two random crops of an image: backdrops need less training than figures."""
        places = torch.randint(self.preset.model.low_size - side + 1, (2, 2)).tolist()
        crops = [self.pairs.crop(image, kind, top, left, side) for top, left in places]
        return max(crops, key=lambda pair: pair[0].std().item())
