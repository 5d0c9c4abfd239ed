"""The autoencoder: its cost, the statistics of its latents, its loss, and its training."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from core.errors import UserError
from core.io.presets import load_preset
from core.models.autoencoder import LEAST_DEVIATION, Autoencoder, AutoencoderConfig
from core.models.bottleneck import Gaussian, VectorQuantizer
from core.nn.flops import FlopCounter
from core.toybox.camera import Camera
from core.toybox.scenes import Scene, render_scenes
from core.training import checkpoint
from core.training.config import Budget, TrainingConfig
from core.training.data import Shards
from core.training.tasks.autoencoders import (
    AutoencoderPreset,
    AutoencoderTask,
    detail_map,
    figure_mask,
    trained_autoencoder,
    weighted_l1,
)
from core.training.tasks.features import FeaturesPreset
from core.training.trainer import BareNetwork, Trainer

TINY = AutoencoderConfig(size=16, latent_channels=4, widths=(8, 16), decoder_blocks=(1, 1))
F8 = AutoencoderConfig(
    size=128, widths=(32, 64, 112), encoder_blocks=(1, 1, 1), decoder_blocks=(1, 1, 2), latent_channels=8
)


def random_autoencoder(config: AutoencoderConfig = TINY) -> Autoencoder:
    torch.manual_seed(0)
    autoencoder = Autoencoder(config)
    for parameter in autoencoder.parameters():
        nn.init.normal_(parameter, std=0.1)  # also those initialized to zero
    return autoencoder.requires_grad_(False)


def images(count: int, size: int = 16) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(("config", "gflop"), [(AutoencoderConfig(), 0.35), (F8, 0.8)])
def test_size_and_cost_of_the_autoencoder(config: AutoencoderConfig, gflop: float) -> None:
    autoencoder = Autoencoder(config).requires_grad_(False)
    latents = autoencoder.to_latents(images(1, config.size))
    assert latents.shape[1:] == config.latent_shape == (8, 16, 16)
    with FlopCounter() as counter:
        reconstruction = autoencoder.decode(latents)
    assert reconstruction.shape == (1, 3, config.size, config.size)
    assert counter.total / 1e9 <= gflop
    assert sum(parameter.numel() for parameter in autoencoder.parameters()) <= 1_200_000


def test_images_may_have_any_size_that_is_a_multiple_of_the_downscale() -> None:
    autoencoder = random_autoencoder()
    assert autoencoder.to_latents(torch.zeros(2, 3, 8, 24)).shape == (2, 4, 2, 6)
    assert autoencoder.decode(torch.zeros(2, 4, 2, 6)).shape == (2, 3, 8, 24)
    for wrong in (torch.zeros(2, 3, 10, 8), torch.zeros(2, 1, 8, 8), torch.zeros(3, 8, 8)):
        with pytest.raises(ValueError, match="images must be"):
            autoencoder.encode(wrong)
    with pytest.raises(ValueError, match=r"latents must be \(B,4,h,w\)"):
        autoencoder.decode(torch.zeros(2, 3, 2, 6))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"widths": (8, 8, 8)}, "encoder_blocks must have one entry per level: 3"),
        ({"decoder_blocks": (1,)}, "decoder_blocks must have one entry per level: 2"),
        ({"encoder_blocks": (1, 0)}, "at least 1"),
        ({"size": 18}, "not a multiple of the downscale 4"),
        ({"latent_channels": 3}, "greater than or equal to 4"),
        ({"widths": (8,)}, "at least 2 items"),
    ],
)
def test_invalid_configurations_raise_validation_error(changes: dict, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        AutoencoderConfig(**(TINY.model_dump() | changes))


def test_divergence_and_draws_are_those_of_the_normal_distribution() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.randn(2, 3, 4, 5, 6)
    normal = Normal(mean, (log_variance / 2).exp())
    gaussian = Gaussian(mean, log_variance)
    expected = kl_divergence(normal, Normal(0.0, 1.0)).sum(dim=(1, 2, 3))
    torch.testing.assert_close(gaussian.kl_divergence(), expected)
    samples = Gaussian(torch.full((1, 1, 200, 200), 3.0), torch.full((1, 1, 200, 200), -2.0)).sample()
    assert samples.mean().item() == pytest.approx(3.0, abs=0.01)
    assert samples.std().item() == pytest.approx(torch.e**-1, rel=0.02)


def test_latents_of_the_data_have_zero_mean_and_unit_deviation() -> None:
    autoencoder, data = random_autoencoder(), images(20)
    before = autoencoder.decode(autoencoder.to_latents(data))
    autoencoder.fit_statistics(data.split(7))
    latents = autoencoder.to_latents(data).double()
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(4).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        latents.std(dim=(0, 2, 3), correction=0), torch.ones(4).double(), atol=1e-4, rtol=0
    )
    # The statistics only rescale the latents.
    torch.testing.assert_close(autoencoder.decode(latents.float()), before, atol=1e-5, rtol=1e-4)
    assert autoencoder.encode(data).mean.std(dim=(0, 2, 3)).sub(1).abs().min() > 0.1


def test_a_constant_channel_is_not_amplified() -> None:
    autoencoder = random_autoencoder()
    autoencoder.encoder[-1].weight[1].zero_()
    autoencoder.fit_statistics([images(4)])
    assert autoencoder.latent_deviation[1].item() == pytest.approx(LEAST_DEVIATION)
    assert autoencoder.to_latents(images(4))[:, 1].abs().max() < 1e-2
    with pytest.raises(ValueError, match="no images"):
        autoencoder.fit_statistics([])


def test_noise_in_training_is_relative_to_the_latents() -> None:
    autoencoder = random_autoencoder(TINY.model_copy(update={"size": 64}))
    autoencoder.encoder[-1].weight[4:].zero_()
    autoencoder.encoder[-1].bias[4:] = -30.0  # samples equal the means
    autoencoder.encoder[-1].weight[2] *= 50  # one channel is much larger than the others
    autoencoder.decoder = nn.Identity()
    data = images(8, 64)
    reconstruction, gaussian = autoencoder(data, torch.tensor([0.0] * 4 + [0.3] * 4))
    change = reconstruction - gaussian.mean
    assert change[:4].abs().max() < 1e-4
    ratio = change[4:].std(dim=(0, 2, 3)) / gaussian.mean.std(dim=(0, 2, 3))
    torch.testing.assert_close(ratio, torch.full((4,), 0.3), rtol=0.1, atol=0)  # standard error 2%


def test_a_saved_autoencoder_is_restored_in_half_precision(tmp_path: Path) -> None:
    autoencoder = random_autoencoder()
    autoencoder.fit_statistics([images(4)])
    autoencoder.save(tmp_path, {"psnr": 30.5})
    loaded = Autoencoder.load(tmp_path)
    assert loaded.config == TINY and not loaded.training
    for name, value in autoencoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float()), name
    assert json.loads((tmp_path / "config.json").read_text())["training"] == {"psnr": 30.5}
    torch.testing.assert_close(
        loaded.to_latents(images(2)), autoencoder.to_latents(images(2)), atol=0.02, rtol=0
    )

    config = json.loads((tmp_path / "config.json").read_text())
    config["autoencoder"]["latent_channels"] = 5
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="do not fit their config.json"):
        Autoencoder.load(tmp_path)


def test_the_fingerprint_depends_on_encoder_and_statistics_only(tmp_path: Path) -> None:
    autoencoder = random_autoencoder()
    first = autoencoder.fingerprint
    autoencoder.save(tmp_path)
    assert Autoencoder.load(tmp_path).fingerprint == first
    autoencoder.decoder[0].weight += 1.0
    assert autoencoder.fingerprint == first
    autoencoder.latent_mean += 0.5
    second = autoencoder.fingerprint
    autoencoder.encoder[-1].bias += 0.5
    assert len({first, second, autoencoder.fingerprint}) == 3


def test_figure_mask_is_what_differs_from_its_row() -> None:
    rows = torch.linspace(-1, 1, 16)[None, None, :, None]  # a background that changes from row to row
    image = rows.expand(2, 3, 16, 16).clone()
    image[1, 2, 4:8, 5:9] += 0.5
    expected = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    expected[1, :, 3:9, 4:10] = True
    assert torch.equal(figure_mask(image), expected)


def test_weighted_l1_is_a_weighted_mean_of_errors_and_their_differences() -> None:
    error = torch.zeros(1, 3, 4, 4)
    error[:, :, :, 2:] = -0.5
    weight = torch.ones(1, 1, 4, 4)
    weight[..., 2:] = 3.0
    # 8 pixels of weight 3 have an error of 0.5. One of 3 horizontal differences per row is 0.5, of weight 3.
    values, steps = 8 * 3 * 0.5 / 32, 4 * 3 * 0.5 / (4 * (1 + 3 + 3))
    torch.testing.assert_close(weighted_l1(error, weight, 0.0), torch.tensor([values]))
    torch.testing.assert_close(weighted_l1(error, weight, 2.0), torch.tensor([values + 2 * steps]))


def toybox_shard(folder: Path, count: int, size: int) -> Shards:
    scenes = [Scene(i, i, i % 7, i % 7) for i in range(count)]
    camera = Camera(torch.zeros(count), torch.full((count,), 13.0))
    color, _ = render_scenes(scenes, torch.zeros(count), camera, torch.ones(count, dtype=torch.bool), size)
    columns = {name: torch.zeros(count) for name in Shards.COLUMNS}
    save_file({"pixels": (color * 255).round().byte().cpu(), **columns}, folder / "images-00000.safetensors")
    return Shards(folder, "images")


def test_it_learns_a_few_pictures_of_the_toybox(tmp_path: Path) -> None:
    preset = AutoencoderPreset(
        model=AutoencoderConfig(size=32, widths=(16, 32), decoder_blocks=(1, 1)),
        latent_noise=0.05,
        held_back=2,
        training=TrainingConfig(
            batch_size=6, learning_rate=4e-3, warmup_steps=20, decay=0.5, compile=False, channels_last=False
        ),
    )
    data = toybox_shard(tmp_path, 8, 32)
    task = AutoencoderTask(data, preset)
    assert len(task) == 6
    torch.manual_seed(0)
    trainer = Trainer(BareNetwork(Autoencoder(preset.model)), task, preset.training, tmp_path / "run")
    assert trainer.run(Budget(steps=250))

    weights = checkpoint.read_ema(tmp_path / "run")
    autoencoder, quality = trained_autoencoder(task, weights, tmp_path)
    training_images = data.pixels(torch.arange(6))
    assert psnr(autoencoder, training_images) > 25
    latents = autoencoder.to_latents(training_images)  # the statistics are those of the training images
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3), correction=0), torch.ones(8), atol=1e-3, rtol=0)

    held_back = data.pixels(torch.tensor([6, 7]))
    assert quality["psnr"] == pytest.approx(psnr(autoencoder, held_back), abs=0.01)
    assert quality["psnr_figure"] < quality["psnr"] and quality["psnr_noised"] < quality["psnr"]


def test_training_the_decoder_alone_improves_reconstruction_from_the_same_latents(tmp_path: Path) -> None:
    preset = AutoencoderPreset(
        model=TINY,
        decoder_only=True,
        latent_noise=0.01,
        held_back=4,
        training=TrainingConfig(batch_size=6, learning_rate=4e-3, warmup_steps=10, compile=False),
    )
    data = toybox_shard(tmp_path, 16, 16)
    autoencoder = random_autoencoder()  # a random encoder still allows a decoder to be trained
    autoencoder.fit_statistics([data.pixels(torch.arange(4))])
    held_back = data.pixels(torch.arange(12, 16))
    latents, quality = autoencoder.to_latents(held_back), psnr(autoencoder, held_back)
    fingerprint = autoencoder.fingerprint
    before = {name: value.clone() for name, value in autoencoder.state_dict().items()}

    autoencoder.freeze_encoder()
    task = AutoencoderTask(data, preset)
    Trainer(BareNetwork(autoencoder), task, preset.training, tmp_path / "run").run(Budget(steps=60))
    trained, figures = trained_autoencoder(task, checkpoint.read_ema(tmp_path / "run"), tmp_path)
    assert figures["psnr"] > quality + 3
    assert trained.fingerprint == fingerprint and torch.equal(trained.to_latents(held_back), latents)
    for name, value in trained.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("decoder."), name


def psnr(autoencoder: Autoencoder, truth: Tensor) -> float:
    """PSNR of reconstructions in dB, for 8-bit values with a peak of 255."""
    reconstruction = autoencoder.decode(autoencoder.to_latents(truth)).clamp(-1, 1)
    error = ((reconstruction - truth) * 127.5).square().mean()
    return (20 * torch.log10(255 / error.sqrt())).item()


def test_images_of_wrong_size_or_number_raise_user_error(tmp_path: Path) -> None:
    data = toybox_shard(tmp_path, 2, 16)
    with pytest.raises(UserError, match="The images are 16 pixels wide, the autoencoder takes 64"):
        AutoencoderTask(data, AutoencoderPreset())
    with pytest.raises(UserError, match="2 images are too few: 2 are held back"):
        AutoencoderTask(data, AutoencoderPreset(model=TINY, held_back=2))


def test_bundled_presets() -> None:
    preset, sharp, coded = (
        load_preset(name, AutoencoderPreset)
        for name in ("autoencoder-64", "decoder-64-sharp", "autoencoder-64-vq")
    )
    assert preset.model.downscale == 4 and preset.model.latent_shape == (16, 16, 16)
    assert not (preset.decoder_only or preset.perceptual_weight or preset.adversary)
    assert sharp.model == preset.model and sharp.decoder_only and sharp.perceptual_weight and sharp.adversary
    assert isinstance(Autoencoder(coded.model).bottleneck, VectorQuantizer)
    assert load_preset("features-64", FeaturesPreset).model.widths == (16, 32, 64, 128)


def test_detail_is_what_differs_from_its_surroundings() -> None:
    """Against loops over pixels: the largest difference from the mean of 5x5, within 3x3."""
    torch.manual_seed(3)
    image = torch.rand(1, 3, 9, 11) * 0.2
    image[:, :, 4, 5] = 0.9  # an eye
    difference, expected = torch.zeros(9, 11), torch.zeros(9, 11)
    for r in range(9):
        for c in range(11):
            around = image[0, :, max(0, r - 2) : r + 3, max(0, c - 2) : c + 3]
            difference[r, c] = (image[0, :, r, c] - around.mean(dim=(1, 2))).abs().max()
    for r in range(9):
        for c in range(11):
            expected[r, c] = difference[max(0, r - 1) : r + 2, max(0, c - 1) : c + 2].max()
    torch.testing.assert_close(detail_map(image)[0, 0], (expected / 0.15).clamp(max=1))
    assert detail_map(image)[0, 0, 3:6, 4:7].min() == 1 and detail_map(torch.zeros(1, 3, 8, 8)).max() == 0
