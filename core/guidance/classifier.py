"""Classifier guidance: guidance by the gradient of a classifier of noisy images."""

from typing import Protocol

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.diffusion.schedule import NoiseSchedule
from core.guidance.base import GuidableDenoiser, Guidance, check_schedules_agree


class ClassifierLike(Protocol):
    """Protocol of classifiers of noisy images, such as `core.models.classifier.NoisyClassifier`."""

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule that timesteps refer to."""
        ...

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Logits (B,K) of x (B,...) noised to t; t: (B,) integers. Differentiable in x."""
        ...


class ClassifierGuidance(Guidance):
    """Classifier guidance: eps - scale sigma_t grad_{x_t} log p(y | x_t).

    Dhariwal & Nichol 2021, algorithm 2.

    By Bayes' rule scale 1 turns the score of p(x_t) into that of p(x_t | y). A larger scale sharpens
    p(y | x_t) (section 4.3). In x0 the step is scale sigma^2 / alpha times the gradient. That is large where
    there is almost no signal, and where the classifier is unreliable. A `GuidanceInterval` around this
    guidance excludes those noise levels.

    labels: the target class of each row, int64 (B,), or (1,) for all.

    Raises ValueError when denoiser and classifier have different noise schedules.
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
        """The guided prediction, not clipped.

        One network call of batch B, and one forward and backward pass of the classifier, whose weights get no
        gradient.

        Raises ValueError when there are neither 1 nor B labels.
        """
        if self.labels.shape not in ((1,), (len(x),)):
            raise ValueError(f"labels {tuple(self.labels.shape)} for a batch of {len(x)}")
        plain = self.denoiser.predict(x, t, condition)
        step = self.scale * self.gradient(x, t)
        alpha, sigma = self.schedule.scales(t, x)
        # At alpha = 0 x_t is pure noise and independent of y: the gradient of p(y | x_t) is zero.
        inverse_snr = torch.where(alpha > 0, sigma / alpha, 0.0)
        return plain._replace(
            x0=plain.x0 + sigma * inverse_snr * step, eps=plain.eps - alpha * inverse_snr * step
        )

    def gradient(self, x: Tensor, t: Tensor) -> Tensor:
        """The gradient of log p(y | x_t) with respect to x_t, shaped like x."""
        with torch.enable_grad():  # samplers turn gradients off
            x = x.detach().requires_grad_()
            log_probabilities = self.classifier(x, t).log_softmax(dim=1)
            labels = self.labels.to(x.device).expand(len(x))
            return torch.autograd.grad(log_probabilities.gather(1, labels[:, None]).sum(), x)[0]
