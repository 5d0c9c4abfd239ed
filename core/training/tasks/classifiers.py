"""Training of a classifier of noised images."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.models.classifier import NoisyClassifier
from core.training.data import to_float_images
from core.training.trainer import stratified_timesteps


@dataclass(frozen=True)
class DiffusedClassifier:
    """A classifier's network and the noise schedule of its inputs, for the trainer."""

    network: nn.Module
    schedule: NoiseSchedule

    @classmethod
    def from_classifier(cls, classifier: NoisyClassifier) -> "DiffusedClassifier":
        """The classifier with its own noise schedule."""
        return cls(classifier, classifier.schedule)

    def with_network(self, network: nn.Module) -> "DiffusedClassifier":
        """The same with another network."""
        return DiffusedClassifier(network, self.schedule)


class ClassifierTask:
    """Recognition of noised images at uniform timesteps (Dhariwal and Nichol 2021, section 4)."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        """images: (N,C,H,W) on the training device, uint8 pixels or floats; labels: (N,) int64.

        Raises UserError when there are not as many labels as images.
        """
        if labels.shape != (len(images),):
            raise UserError(f"{len(images)} images need as many labels, not {tuple(labels.shape)}.")
        self.images, self.labels = images, labels.to(images.device)

    def __len__(self) -> int:
        return len(self.images)

    def loss(self, model: DiffusedClassifier, index: Tensor) -> Tensor:
        """Cross-entropy of each noised image in nats, (B,). index: (B,) on the CPU."""
        index = index.to(self.images.device)
        images = to_float_images(self.images[index])
        t = stratified_timesteps(len(images), model.schedule.timesteps, images.device)
        noised = model.schedule.add_noise(images, torch.randn_like(images), t)
        return F.cross_entropy(model.network(noised, t).float(), self.labels[index], reduction="none")
