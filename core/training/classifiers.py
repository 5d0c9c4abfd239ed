"""Training a classifier of noisy images."""

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
    """A classifier's network and the schedule its images are noised by, for the trainer."""

    network: nn.Module
    schedule: NoiseSchedule

    @classmethod
    def from_classifier(cls, classifier: NoisyClassifier) -> "DiffusedClassifier":
        return cls(classifier, classifier.schedule)

    def with_network(self, network: nn.Module) -> "DiffusedClassifier":
        return DiffusedClassifier(network, self.schedule)


class ClassifierTask:
    """Recognition of noised images at uniform timesteps (Dhariwal and Nichol 2021, section 4)."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        """images: (N,C,H,W), bytes of pixels or floats as they are, on the device of training; labels: (N,)
        int64.

        Raises UserError when there are not as many labels as images.
        """
        if labels.shape != (len(images),):
            raise UserError(f"{len(images)} images need as many labels, not {tuple(labels.shape)}.")
        self.images, self.labels = images, labels.to(images.device)

    def __len__(self) -> int:
        return len(self.images)

    def loss(self, model: DiffusedClassifier, index: Tensor) -> Tensor:
        """index: (B,) on the CPU -> cross-entropy of each image in nats, (B,)."""
        index = index.to(self.images.device)
        images = to_float_images(self.images[index])
        t = stratified_timesteps(len(images), model.schedule.timesteps, images.device)
        noised = model.schedule.add_noise(images, torch.randn_like(images), t)
        return F.cross_entropy(model.network(noised, t).float(), self.labels[index], reduction="none")
