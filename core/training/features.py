"""Training a trunk of perceptual features: it learns to say what labeled images show."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from core.errors import UserError
from core.io.weights import load_weights
from core.models.perceptual import FeatureExtractor, FeatureExtractorConfig
from core.training.config import TrainingConfig
from core.training.data import Shards
from core.training.trainer import BareNetwork

LABELS = ("subject", "action", "color", "background")
BATCH = 256  # images at a time that are kept from training


class FeaturesPreset(BaseModel):
    """A trunk and how to train it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: FeatureExtractorConfig = FeatureExtractorConfig()
    held_back: int = Field(default=1024, ge=1, description="last images, never trained on, for the accuracy")
    training: TrainingConfig = TrainingConfig(learning_rate=2e-3, compile=False)


class LabeledImages(Shards):
    """Images with what they show: indices of `LABELS`, -1 where there is none."""

    COLUMNS = (*Shards.COLUMNS, *LABELS)

    def labels(self, index: Tensor) -> dict[str, Tensor]:
        """index: (B,) on the CPU -> int64 (B,) of each of `LABELS`."""
        rows = self.rows(index)
        return {name: rows[name] for name in LABELS}

    @property
    def classes(self) -> dict[str, int]:
        """How many of each label there are."""
        return {name: max(1, int(self.columns[name].max()) + 1) for name in LABELS}


class Classifier(nn.Module):
    """A trunk, and a linear head a label on the mean and the maxima of its last features."""

    def __init__(self, config: FeatureExtractorConfig, classes: Mapping[str, int]) -> None:
        super().__init__()
        self.trunk = FeatureExtractor(config)
        width = 2 * config.widths[-1]
        self.heads = nn.ModuleDict({name: nn.Linear(width, count) for name, count in classes.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B,3,H,W) in [-1, 1] -> logits (B, classes) of each label."""
        last = self.trunk(images)[-1]
        seen = torch.cat([last.mean(dim=(2, 3)), last.amax(dim=(2, 3))], dim=1)
        return {name: head(seen) for name, head in self.heads.items()}


class FeaturesTask:
    """Cross-entropy of all labels."""

    def __init__(self, images: LabeledImages, preset: FeaturesPreset) -> None:
        """Raises UserError when the images are no more than what is held back."""
        if len(images) <= preset.held_back:
            raise UserError(f"{len(images)} images are too few: {preset.held_back} are held back.")
        self.images, self.preset = images, preset

    def __len__(self) -> int:
        return len(self.images) - self.preset.held_back

    def loss(self, model: BareNetwork, index: Tensor) -> Tensor:
        """index: (B,) on the CPU -> nats of each image, (B,), summed over the labels that it has."""
        said, labels = model.network(self.images.pixels(index)), self.images.labels(index)
        nats = [F.cross_entropy(said[n].float(), labels[n], ignore_index=-1, reduction="none") for n in said]
        return torch.stack(nats).sum(0)


@torch.no_grad()
def trained_features(
    task: FeaturesTask, weights: Mapping[str, Tensor], folder: Path, device: torch.device | str = "cpu"
) -> tuple[FeatureExtractor, dict[str, float]]:
    """The trained trunk, and the share of right answers on the images held back, by label.

    weights: of a `Classifier`, found in `folder`.
    """
    classifier = Classifier(task.preset.model, task.images.classes)
    load_weights(classifier, weights, folder)
    classifier = classifier.to(device).eval()
    right: dict[str, list[Tensor]] = {name: [] for name in LABELS}
    for index in torch.arange(len(task), len(task.images)).split(BATCH):
        labels = task.images.labels(index)
        for name, logits in classifier(task.images.pixels(index)).items():
            right[name].append((logits.argmax(1) == labels[name])[labels[name] >= 0])
    return classifier.trunk, {name: torch.cat(parts).float().mean().item() for name, parts in right.items()}
