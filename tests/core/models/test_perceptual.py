"""The perceptual distance: its zeros, a computation in NumPy, and the training of a feature extractor."""

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
from core.training.config import Budget, TrainingConfig
from core.training.data import Shards
from core.training.tasks.autoencoders import AutoencoderPreset, AutoencoderTask
from core.training.tasks.features import (
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
def extractor() -> FeatureExtractor:
    torch.manual_seed(0)
    return FeatureExtractor(SMALL)


class PixelFeatures(nn.Module):
    """A backbone of two layers: the pixels, and red and green at half the size."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images, images[:, :2, ::2, ::2]]


def test_distance_is_zero_only_for_features_of_equal_direction(extractor: FeatureExtractor) -> None:
    images, others = torch.rand(2, 4, 3, 16, 16)
    for distance in (PerceptualDistance(extractor), PerceptualDistance(PixelFeatures())):
        torch.testing.assert_close(distance(images, images), torch.zeros(4), atol=1e-10, rtol=0)
        assert distance(images, others).min() > 1e-3
        torch.testing.assert_close(distance(images, others), distance(others, images))
    pixels = PerceptualDistance(PixelFeatures())
    # Only directions matter: opposite features have distance 4 in each layer, orthogonal ones 2.
    torch.testing.assert_close(pixels(images, 0.3 * images), torch.zeros(4), atol=1e-10, rtol=0)
    torch.testing.assert_close(pixels(images, -images), torch.full((4,), 8.0))
    red, blue = torch.zeros(2, 1, 3, 4, 4)
    red[:, 0], blue[:, 2] = 1.0, 1.0
    assert pixels(red, blue).item() == pytest.approx(2 + 1)  # the second layer has red and no blue


def test_it_equals_a_computation_in_numpy(extractor: FeatureExtractor) -> None:
    images, others = torch.rand(2, 3, 3, 16, 16) * 2 - 1
    expected = np.zeros(3)
    for a, b in zip(extractor(images), extractor(others), strict=True):
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
    np.testing.assert_allclose(PerceptualDistance(extractor)(images, others), expected, rtol=1e-4)


def test_only_the_images_have_a_gradient(extractor: FeatureExtractor) -> None:
    distance = PerceptualDistance(extractor).train()
    assert not distance.training and not distance.backbone.training
    target = torch.rand(2, 3, 16, 16) * 2 - 1
    images = (torch.rand(2, 3, 16, 16) * 2 - 1).requires_grad_()
    before = distance(images, target).sum()
    before.backward()
    assert all(parameter.grad is None for parameter in extractor.parameters())
    assert images.grad is not None and images.grad.isfinite().all()
    moved = images.detach() - 0.1 * images.grad / images.grad.norm()
    assert distance(moved, target).sum() < before


def test_feature_shapes_and_the_saved_folder(extractor: FeatureExtractor, tmp_path: Path) -> None:
    maps = extractor(torch.zeros(2, 3, 16, 24))
    assert [tuple(layer.shape) for layer in maps] == [(2, 8, 8, 12), (2, 16, 4, 6)]
    extractor.save(tmp_path)
    loaded = FeatureExtractor.load(tmp_path)
    assert loaded.config == SMALL and not loaded.training
    for name, value in extractor.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float())
    Autoencoder(AutoencoderConfig()).save(tmp_path / "other")
    with pytest.raises(UserError):
        FeatureExtractor.load(tmp_path / "other")
    with pytest.raises(ValidationError, match="widths must be multiples of 8"):
        FeatureExtractorConfig(widths=(8, 12))


def labeled(folder: Path, count: int = 48) -> LabeledImages:
    """Images whose color determines the subject; there is no action."""
    subject = torch.arange(count) % 3
    pixels = torch.randint(60, (count, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    pixels[torch.arange(count), subject] += 90
    columns = {name: torch.zeros(count) for name in Shards.COLUMNS}
    labels = dict.fromkeys(LABELS, torch.zeros(count).long()) | {"subject": subject}
    labels |= {"action": torch.full((count,), -1)}
    stored = {name: values.clone() for name, values in (columns | labels).items()}
    save_file({"pixels": pixels.byte(), **stored}, folder / "images-00000.safetensors")
    return LabeledImages(folder, "images")


def test_a_feature_extractor_is_trained_to_classify_labels(tmp_path: Path) -> None:
    images = labeled(tmp_path)
    assert images.classes == {"subject": 3, "action": 1, "color": 1, "background": 1}
    training = TrainingConfig(batch_size=8, learning_rate=4e-3, warmup_steps=5, compile=False)
    preset = FeaturesPreset(model=SMALL, held_back=12, training=training)
    task = FeaturesTask(images, preset)
    torch.manual_seed(0)
    classifier = Classifier(SMALL, images.classes)
    index = torch.arange(6)
    logits = classifier(images.pixels(index))["subject"].log_softmax(1)
    # The other labels have one class, whose loss is 0, or none.
    torch.testing.assert_close(task.loss(BareNetwork(classifier), index), -logits[index, index % 3])

    trainer = Trainer(BareNetwork(classifier), task, training, tmp_path / "run", Accelerator(cpu=True))
    trainer.run(Budget(steps=40))
    extractor, accuracies = trained_features(task, checkpoint.read_ema(tmp_path / "run"), tmp_path)
    assert accuracies["subject"] > 0.9 and accuracies["color"] == 1.0
    assert extractor(images.pixels(index))[-1].shape == (6, 16, 4, 4)
    with pytest.raises(UserError, match="48 images are too few: 48 are held back"):
        FeaturesTask(images, preset.model_copy(update={"held_back": 48}))


def test_the_loss_of_an_autoencoder_includes_the_perceptual_distance(
    tmp_path: Path, extractor: FeatureExtractor
) -> None:
    images, distance = labeled(tmp_path, 6), PerceptualDistance(extractor)
    config = AutoencoderConfig(size=16, latent_channels=4, widths=(8, 16), decoder_blocks=(1, 1))
    plain = AutoencoderPreset(model=config, held_back=1, latent_noise=0.0)
    weighted = plain.model_copy(update={"perceptual_weight": 0.7})
    torch.manual_seed(0)
    autoencoder, index = Autoencoder(config), torch.arange(5)
    losses = []
    for task in (AutoencoderTask(images, plain), AutoencoderTask(images, weighted, distance)):
        torch.manual_seed(1)
        losses.append(task.loss(BareNetwork(autoencoder), index))
    torch.manual_seed(1)
    torch.zeros(5).normal_()  # the draw of the noise levels, which are all 0 here
    reconstruction, _ = autoencoder(images.pixels(index), torch.zeros(5))
    torch.testing.assert_close(losses[1] - losses[0], 0.7 * distance(reconstruction, images.pixels(index)))
    for wrong in ((plain, distance), (weighted, None)):
        with pytest.raises(ValueError, match="not that of the preset"):
            AutoencoderTask(images, *wrong)
