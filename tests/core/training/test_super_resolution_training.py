"""Training of super-resolution: inputs and crops are aligned with the true images, and the error falls."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from core.errors import UserError
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.models.discriminator import DiscriminatorConfig
from core.models.image_model import ImageModel, ImageModelConfig
from core.models.super_resolution import SuperResolutionConfig
from core.nn.unet import UNetConfig
from core.training.adversary import Adversary, AdversaryConfig
from core.training.config import Budget, TrainingConfig
from core.training.data import to_float_images
from core.training.processes import make_accelerator
from core.training.tasks.super_resolution import (
    ImagePairs,
    SuperResolutionPreset,
    SuperResolutionTask,
    prepare_inputs,
)
from core.training.trainer import Trainer

LOW, HIGH, COUNT = 16, 64, 10


@pytest.fixture(scope="module")
def image_model() -> ImageModel:
    torch.manual_seed(0)
    stage = AutoencoderConfig(size=LOW, latent_channels=4, widths=(8, 8))
    network = UNetConfig(in_channels=4, patch=1, widths=(16,), blocks=(1,), attention=(False,))
    config = ImageModelConfig(size=LOW, network=network, clip=None, first_stage=stage)
    return ImageModel(config, config.denoiser(), first_stage=Autoencoder(stage))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(COUNT, 3, 8, 8, generator=generator)
    pixels = (F.interpolate(coarse, size=(HIGH, HIGH), mode="nearest") * 255).byte()
    zeros = torch.zeros(COUNT)
    for shard in range(2):
        columns = {"caption": torch.arange(COUNT), "shadow": zeros.byte()}
        columns |= {name: zeros.clone() for name in ("azimuth", "elevation", "phase")}
        save_file({"pixels": pixels.clone(), **columns}, tmp_path / f"large-{shard:05d}.safetensors")
    (tmp_path / "captions.txt").write_text("a fox\n" * COUNT, encoding="utf-8")
    return tmp_path


def test_inputs_are_means_reconstructions_and_new_samples(data: Path, image_model: ImageModel) -> None:
    label = prepare_inputs(data, image_model, LOW)
    path = data / f"inputs-{label}-large-00000.safetensors"
    inputs = load_file(path)["inputs"]
    assert inputs.shape == (COUNT, 3, 3, LOW, LOW) and inputs.dtype == torch.uint8
    means = F.avg_pool2d(to_float_images(load_file(data / "large-00000.safetensors")["pixels"]), 4)
    assert (to_float_images(inputs[:, 0]) - means).abs().max() <= 1.01 / 127.5
    assert image_model.first_stage is not None
    reconstructed = image_model.first_stage.decode(image_model.first_stage.to_latents(means)).clamp(-1, 1)
    assert (to_float_images(inputs[:, 1]) - reconstructed).abs().max() <= 1.01 / 127.5
    assert (inputs[:, 2].float() - inputs[:, 1].float()).abs().mean() > 0.1
    before = path.stat().st_mtime_ns
    assert prepare_inputs(data, image_model, LOW) == label and path.stat().st_mtime_ns == before
    with pytest.raises(UserError, match="Inputs of 32 pixels need an image model of this size, not of 16"):
        prepare_inputs(data, image_model, 32)


def test_crops_of_both_resolutions_show_the_same_place(data: Path, image_model: ImageModel) -> None:
    pairs = ImagePairs(data, prepare_inputs(data, image_model, LOW))
    assert len(pairs) == 2 * COUNT
    low, high = pairs.crop(COUNT + 3, 0, top=4, left=8, side=8)
    assert low.shape == (3, 8, 8) and high.shape == (3, 32, 32)
    assert (F.avg_pool2d(high, 4) - low).abs().max() <= 1.01 / 127.5


def test_training_reduces_the_error(data: Path, image_model: ImageModel, tmp_path: Path) -> None:
    pairs = ImagePairs(data, prepare_inputs(data, image_model, LOW))
    preset = SuperResolutionPreset(
        model=SuperResolutionConfig(size=HIGH, widths=(16, 16), blocks=(1, 1)),
        crop=8,
        held_back=COUNT,
        training=TrainingConfig(batch_size=8, learning_rate=3e-3, warmup_steps=5, compile=False),
    )
    denoiser = preset.model.denoiser()
    task = SuperResolutionTask(pairs, preset)
    assert len(task) == COUNT

    def error() -> float:
        torch.manual_seed(5)
        with torch.no_grad():
            return task.loss(denoiser, torch.arange(8)).mean().item()

    before = error()
    Trainer(denoiser, task, preset.training, tmp_path / "run", make_accelerator()).run(Budget(steps=60))
    assert error() < 0.7 * before


def test_an_adversary_is_trained_with_it(data: Path, image_model: ImageModel, tmp_path: Path) -> None:
    pairs = ImagePairs(data, prepare_inputs(data, image_model, LOW))
    preset = SuperResolutionPreset(
        model=SuperResolutionConfig(size=HIGH, widths=(16, 16), blocks=(1, 1)),
        crop=8,
        whole_steps=0.0,
        held_back=COUNT,
        adversary=AdversaryConfig(network=DiscriminatorConfig(widths=(8, 16)), start=0.6),
        training=TrainingConfig(batch_size=4, warmup_steps=0, compile=False),
    )
    assert preset.adversary is not None
    denoiser, accelerator = preset.model.denoiser(), make_accelerator()
    adversary = Adversary(preset.adversary, denoiser.network.last_layer, accelerator)
    before = [parameter.clone() for parameter in adversary.network.parameters()]
    task = SuperResolutionTask(pairs, preset, adversary)
    trainer = Trainer(denoiser, task, preset.training, tmp_path / "run", accelerator, auxiliary=adversary)
    trainer.run(Budget(steps=1))
    assert all(torch.equal(a, b) for a, b in zip(before, adversary.network.parameters(), strict=True))
    trainer.run(Budget(steps=3))  # from the third step on
    moved = [not torch.equal(a, b) for a, b in zip(before, adversary.network.parameters(), strict=True)]
    assert any(moved)
    with pytest.raises(ValueError, match="not that of the preset"):
        SuperResolutionTask(pairs, preset)


def test_too_few_images_are_refused(data: Path, image_model: ImageModel) -> None:
    pairs = ImagePairs(data, prepare_inputs(data, image_model, LOW))
    with pytest.raises(UserError, match="20 images are too few: 256 are held back"):
        SuperResolutionTask(pairs, SuperResolutionPreset())
    with pytest.raises(ValueError, match="crop must be a multiple of 4, at most 64"):
        SuperResolutionPreset(crop=26)
