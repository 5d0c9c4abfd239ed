"""The perceptual distance: when it is zero, what NumPy makes of it, and a trunk that learns of labels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from core.errors import UserError
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.models.perceptual import FeatureExtractor, FeatureExtractorConfig, PerceptualDistance
from core.training import checkpoint
from core.training.autoencoders import AutoencoderPreset, AutoencoderTask
from core.training.config import Budget, TrainingConfig
from core.training.data import Shards
from core.training.features import (
    LABELS,
    Classifier,
    FeaturesPreset,
    FeaturesTask,
    LabeledImages,
    trained_features,
)
from core.training.trainer import BareNetwork, Trainer

SMALL = FeatureExtractorConfig(widths=(8, 16))


@pytest.fixture
def trunk() -> FeatureExtractor:
    torch.manual_seed(0)
    return FeatureExtractor(SMALL)


class Layers(nn.Module):
    """Two layers: the pixels themselves, and red and green at half the size."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images, images[:, :2, ::2, ::2]]


def test_it_is_zero_where_features_point_the_same_way_and_nowhere_else(trunk: FeatureExtractor) -> None:
    images, others = torch.rand(2, 4, 3, 16, 16)
    for distance in (PerceptualDistance(trunk), PerceptualDistance(Layers())):
        torch.testing.assert_close(distance(images, images), torch.zeros(4), atol=1e-10, rtol=0)
        assert distance(images, others).min() > 1e-3
        torch.testing.assert_close(distance(images, others), distance(others, images))
    pixels = PerceptualDistance(Layers())
    # Lengths do not count, directions do: by hand, opposite is 4 in each layer, at right angles 2.
    torch.testing.assert_close(pixels(images, 0.3 * images), torch.zeros(4), atol=1e-10, rtol=0)
    torch.testing.assert_close(pixels(images, -images), torch.full((4,), 8.0))
    red, blue = torch.zeros(2, 1, 3, 4, 4)
    red[:, 0], blue[:, 2] = 1.0, 1.0
    assert pixels(red, blue).item() == pytest.approx(2 + 1)  # the second layer sees red, and nothing of blue


def test_it_equals_a_computation_in_numpy(trunk: FeatureExtractor) -> None:
    images, others = torch.rand(2, 3, 3, 16, 16) * 2 - 1
    expected = np.zeros(3)
    for a, b in zip(trunk(images), trunk(others), strict=True):
        a, b = (layer.detach().double().numpy() for layer in (a, b))
        a, b = (x / np.maximum(np.sqrt((x**2).sum(1, keepdims=True)), 1e-8) for x in (a, b))
        for number in range(3):
            height, width = a.shape[2:]
            total = sum(
                ((a[number, :, y, x] - b[number, :, y, x]) ** 2).sum()
                for y in range(height)
                for x in range(width)
            )
            expected[number] += total / (height * width)
    np.testing.assert_allclose(PerceptualDistance(trunk)(images, others), expected, rtol=1e-4)


def test_the_gradient_goes_to_the_images_only(trunk: FeatureExtractor) -> None:
    distance = PerceptualDistance(trunk).train()
    assert not distance.training and not distance.backbone.training
    target = torch.rand(2, 3, 16, 16) * 2 - 1
    drawn = (torch.rand(2, 3, 16, 16) * 2 - 1).requires_grad_()
    before = distance(drawn, target).sum()
    before.backward()
    assert all(parameter.grad is None for parameter in trunk.parameters())
    assert drawn.grad is not None and drawn.grad.isfinite().all()
    moved = drawn.detach() - 0.1 * drawn.grad / drawn.grad.norm()
    assert distance(moved, target).sum() < before


def test_a_trunk_and_its_folder(trunk: FeatureExtractor, tmp_path: Path) -> None:
    maps = trunk(torch.zeros(2, 3, 16, 24))
    assert [tuple(layer.shape) for layer in maps] == [(2, 8, 8, 12), (2, 16, 4, 6)]
    trunk.save(tmp_path)
    loaded = FeatureExtractor.load(tmp_path)
    assert loaded.config == SMALL and not loaded.training
    for name, value in trunk.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float())
    Autoencoder(AutoencoderConfig()).save(tmp_path / "other")
    with pytest.raises(UserError):
        FeatureExtractor.load(tmp_path / "other")
    with pytest.raises(ValidationError, match="widths must be multiples of 8"):
        FeatureExtractorConfig(widths=(8, 12))


def labeled(folder: Path, count: int = 48) -> LabeledImages:
    """Pictures whose color says the subject; there is no action."""
    subject = torch.arange(count) % 3
    pixels = torch.randint(60, (count, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    pixels[torch.arange(count), subject] += 90
    columns = {name: torch.zeros(count) for name in Shards.COLUMNS}
    labels = dict.fromkeys(LABELS, torch.zeros(count).long()) | {"subject": subject}
    labels |= {"action": torch.full((count,), -1)}
    stored = {name: values.clone() for name, values in (columns | labels).items()}
    save_file({"pixels": pixels.byte(), **stored}, folder / "images-00000.safetensors")
    return LabeledImages(folder, "images")


def test_a_trunk_learns_what_pictures_show(tmp_path: Path) -> None:
    images = labeled(tmp_path)
    assert images.classes == {"subject": 3, "action": 1, "color": 1, "background": 1}
    training = TrainingConfig(batch_size=8, learning_rate=4e-3, warmup_steps=5, compile=False)
    preset = FeaturesPreset(model=SMALL, held_back=12, training=training)
    task = FeaturesTask(images, preset)
    torch.manual_seed(0)
    classifier = Classifier(SMALL, images.classes)
    index = torch.arange(6)
    logits = classifier(images.pixels(index))["subject"].log_softmax(1)
    # The other labels have one class, which costs nothing, or none.
    torch.testing.assert_close(task.loss(BareNetwork(classifier), index), -logits[index, index % 3])

    trainer = Trainer(BareNetwork(classifier), task, training, tmp_path / "run", Accelerator(cpu=True))
    trainer.run(Budget(steps=40))
    trunk, right = trained_features(task, checkpoint.read_ema(tmp_path / "run"), tmp_path)
    assert right["subject"] > 0.9 and right["color"] == 1.0
    assert trunk(images.pixels(index))[-1].shape == (6, 16, 4, 4)
    with pytest.raises(UserError, match="48 images are too few: 48 are held back"):
        FeaturesTask(images, preset.model_copy(update={"held_back": 48}))


def test_it_joins_the_loss_of_an_autoencoder(tmp_path: Path, trunk: FeatureExtractor) -> None:
    images, distance = labeled(tmp_path, 6), PerceptualDistance(trunk)
    config = AutoencoderConfig(size=16, latent_channels=4, widths=(8, 16), decoder_blocks=(1, 1))
    plain = AutoencoderPreset(model=config, held_back=1, latent_noise=0.0)
    weighed = plain.model_copy(update={"perceptual_weight": 0.7})
    torch.manual_seed(0)
    autoencoder, index = Autoencoder(config), torch.arange(5)
    losses = []
    for task in (AutoencoderTask(images, plain), AutoencoderTask(images, weighed, distance)):
        torch.manual_seed(1)
        losses.append(task.loss(BareNetwork(autoencoder), index))
    torch.manual_seed(1)
    torch.zeros(5).normal_()  # of the noise that is none
    drawn, _ = autoencoder(images.pixels(index), torch.zeros(5))
    torch.testing.assert_close(losses[1] - losses[0], 0.7 * distance(drawn, images.pixels(index)))
    for wrong in ((plain, distance), (weighed, None)):
        with pytest.raises(ValueError, match="not that of the preset"):
            AutoencoderTask(images, *wrong)
