"""Classifier guidance: guidance by the gradient of a classifier of noisy images."""

from typing import Protocol

from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.diffusion.schedule import NoiseSchedule
from core.guidance.base import GuidableDenoiser, check_schedules_agree
from core.guidance.gradient import GradientGuidance


class ClassifierLike(Protocol):
    """Protocol of classifiers of noisy images, such as `core.models.classifier.NoisyClassifier`."""

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule that timesteps refer to."""
        ...

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Logits (B,K) of x (B,...) noised to t; t: (B,) integers. Differentiable in x."""
        ...


class ClassProbability:
    """The log-density log p(y | x_t) of labels y, int64 (B,), or (1,) for all, by a classifier."""

    def __init__(self, classifier: ClassifierLike, labels: Tensor) -> None:
        self.classifier = classifier
        self.labels = labels

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule of the classifier."""
        return self.classifier.schedule

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The log-probabilities (B,)."""
        log_probabilities = self.classifier(x, t).log_softmax(dim=1)
        labels = self.labels.to(x.device).expand(len(x))
        return log_probabilities.gather(1, labels[:, None])[:, 0]


class ClassifierGuidance(GradientGuidance):
    """Classifier guidance: eps - scale sigma_t grad_{x_t} log p(y | x_t).

    Dhariwal & Nichol 2021, algorithm 2.

    By Bayes' rule scale 1 turns the score of p(x_t) into that of p(x_t | y). A larger scale sharpens
    p(y | x_t) (section 4.3).

    labels: the target class of each row, int64 (B,), or (1,) for all.

    Raises ValueError when denoiser and classifier have different noise schedules.
    """

    def __init__(
        self, denoiser: GuidableDenoiser, classifier: ClassifierLike, labels: Tensor, scale: float = 1.0
    ) -> None:
        check_schedules_agree(denoiser, classifier.schedule, "classifier")
        super().__init__(denoiser, ClassProbability(classifier, labels), scale)
        self.labels = labels

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The guided prediction, not clipped; of the classifier one forward and backward pass.

        Raises ValueError when there are neither 1 nor B labels.
        """
        if self.labels.shape not in ((1,), (len(x),)):
            raise ValueError(f"labels {tuple(self.labels.shape)} for a batch of {len(x)}")
        return super().predict(x, t, condition)
