"""Training of a perceptual feature extractor as a classifier of labeled images."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from core.errors import UserError
from core.io.text import too_few
from core.io.weights import load_weights
from core.models.perceptual import FeatureExtractor, FeatureExtractorConfig
from core.training.config import TrainingConfig
from core.training.data import Shards
from core.training.trainer import BareNetwork

LABELS = ("subject", "action", "color", "background")
BATCH = 256  # images held back from training per batch


class FeaturesPreset(BaseModel):
    """Architecture and training of a feature extractor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: FeatureExtractorConfig = FeatureExtractorConfig()
    held_back: int = Field(default=1024, ge=1, description="number of last images held back from training")
    training: TrainingConfig = TrainingConfig(learning_rate=2e-3, compile=False)


class LabeledImages(Shards):
    """Shards of images with their class indices for each of `LABELS`, -1 where an image has none."""

    COLUMNS = (*Shards.COLUMNS, *LABELS)

    def labels(self, index: Tensor) -> dict[str, Tensor]:
        """Class indices int64 (B,) for each of `LABELS`, at index (B,) on the CPU."""
        rows = self.rows(index)
        return {name: rows[name] for name in LABELS}

    @property
    def classes(self) -> dict[str, int]:
        """Number of classes of each label."""
        return {name: max(1, int(self.columns[name].max()) + 1) for name in LABELS}


class Classifier(nn.Module):
    """A feature extractor with one linear head per label on the mean and maximum of its last features."""

    def __init__(self, config: FeatureExtractorConfig, classes: Mapping[str, int]) -> None:
        super().__init__()
        self.trunk = FeatureExtractor(config)
        width = 2 * config.widths[-1]
        self.heads = nn.ModuleDict({name: nn.Linear(width, count) for name, count in classes.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (B, classes) of each label for images (B,3,H,W) in [-1, 1]."""
        last = self.trunk(images)[-1]
        pooled = torch.cat([last.mean(dim=(2, 3)), last.amax(dim=(2, 3))], dim=1)
        return {name: head(pooled) for name, head in self.heads.items()}


class FeaturesTask:
    """Cross-entropy summed over all labels."""

    def __init__(self, images: LabeledImages, preset: FeaturesPreset) -> None:
        """Raises UserError when there are no more images than are held back."""
        if len(images) <= preset.held_back:
            raise UserError(f"{too_few(len(images), 'image')}: {preset.held_back} are held back.")
        self.images, self.preset = images, preset

    def __len__(self) -> int:
        return len(self.images) - self.preset.held_back

    def loss(self, model: BareNetwork, index: Tensor) -> Tensor:
        """Cross-entropy of each image in nats, (B,), summed over its labels. index: (B,) on the CPU."""
        logits, labels = model.network(self.images.pixels(index)), self.images.labels(index)
        losses = [
            F.cross_entropy(logits[name].float(), labels[name], ignore_index=-1, reduction="none")
            for name in logits
        ]
        return torch.stack(losses).sum(0)


@torch.no_grad()
def trained_features(
    task: FeaturesTask, weights: Mapping[str, Tensor], folder: Path, device: torch.device | str = "cpu"
) -> tuple[FeatureExtractor, dict[str, float]]:
    """The trained feature extractor, and its accuracy on the images held back, for each label.

    weights: of a `Classifier`, stored in `folder`.
    """
    classifier = Classifier(task.preset.model, task.images.classes)
    load_weights(classifier, weights, folder)
    classifier = classifier.to(device).eval()
    correct: dict[str, list[Tensor]] = {name: [] for name in LABELS}
    for index in torch.arange(len(task), len(task.images)).split(BATCH):
        labels = task.images.labels(index)
        for name, logits in classifier(task.images.pixels(index)).items():
            correct[name].append((logits.argmax(1) == labels[name])[labels[name] >= 0])
    return classifier.trunk, {name: torch.cat(parts).float().mean().item() for name, parts in correct.items()}
