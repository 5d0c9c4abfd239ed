"""Classifier guidance: towards what a classifier of noisy images takes for a given class."""

from typing import Protocol

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.diffusion.schedule import NoiseSchedule
from core.guidance.base import GuidableDenoiser, Guidance, check_schedules_agree


class ClassifierLike(Protocol):
    """A classifier of noisy images, such as `core.models.classifier.NoisyClassifier`."""

    @property
    def schedule(self) -> NoiseSchedule: ...

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """x: (B,...) noised to t; t: (B,) integers -> logits (B,K). Differentiable in x."""
        ...


class ClassifierGuidance(Guidance):
    """eps = eps - scale sigma_t grad_{x_t} log p(y | x_t), Dhariwal & Nichol 2021, algorithm 2.

    By Bayes' rule scale 1 turns the score of p(x_t) into that of p(x_t | y); a larger one sharpens p(y | x_t)
    (section 4.3). In x0 the step is scale sigma^2 / alpha times the gradient: large where there is almost no
    signal, and the classifier can only err. A `GuidanceInterval` around it leaves those noise levels out.

    labels: the class wanted of each row, int64 (B,), or (1,) for all.

    Raises ValueError where denoiser and classifier are of different noise schedules.
    """

    def __init__(
        self, denoiser: GuidableDenoiser, classifier: ClassifierLike, labels: Tensor, scale: float = 1.0
    ) -> None:
        check_schedules_agree(denoiser, classifier.schedule, "classifier")
        super().__init__(denoiser)
        self.classifier = classifier
        self.labels = labels
        self.scale = scale

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """One network call of batch B; the classifier forwards and backwards, itself without a gradient.

        Raises ValueError when there are neither 1 nor B labels.
        """
        if self.labels.shape not in ((1,), (len(x),)):
            raise ValueError(f"labels {tuple(self.labels.shape)} for a batch of {len(x)}")
        plain = self.denoiser.predict(x, t, condition)
        step = self.scale * self.gradient(x, t)
        alpha, sigma = self.schedule.scales(t, x)
        # At alpha = 0 x_t is noise alone: it says nothing of y, and p(y | x_t) is flat.
        inverse_snr = torch.where(alpha > 0, sigma / alpha, 0.0)
        return plain._replace(
            x0=plain.x0 + sigma * inverse_snr * step, eps=plain.eps - alpha * inverse_snr * step
        )

    def gradient(self, x: Tensor, t: Tensor) -> Tensor:
        """grad_{x_t} log p(y | x_t), like x."""
        with torch.enable_grad():  # samplers turn gradients off
            x = x.detach().requires_grad_()
            likelihood = self.classifier(x, t).log_softmax(dim=1)
            labels = self.labels.to(x.device).expand(len(x))
            return torch.autograd.grad(likelihood.gather(1, labels[:, None]).sum(), x)[0]
