"""Data and networks of the benchmarks: sklearn's handwritten digits, small denoisers and classifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.attributes import WIDTH
from core.condition import Condition
from core.diffusion.denoiser import Denoiser, DenoiserLike
from core.diffusion.schedule import NoiseSchedule
from core.nn.embeddings import timestep_embedding
from core.samplers import ddim, noise_like
from core.training.batch import batch_indices
from core.training.trainer import stratified_timesteps

CLASSES = 10
LEVELS = 17  # gray levels of the data, 0 to 16
TESTED = 297  # digits of the test set, which no model is trained on
BATCH = 128
JUDGE_STEPS = 600  # training steps of the judge


class Digits(NamedTuple):
    """Images (N,1,8,8) in [-1, 1] with 17 gray levels, and their classes, int64 (N,)."""

    images: Tensor
    labels: Tensor

    def enlarged(self, size: int) -> Digits:
        """Color images (N,3,size,size), enlarged by bicubic interpolation."""
        images = F.interpolate(self.images, size=(size, size), mode="bicubic").clamp(-1, 1)
        return Digits(images.expand(-1, 3, -1, -1).contiguous(), self.labels)


def digits() -> tuple[Digits, Digits]:
    """Training and test sets of 1500 and 297 digits, in a fixed random order."""
    from sklearn.datasets import load_digits  # imported here because only training needs it

    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images = (torch.from_numpy(pixels).float() / 8 - 1).view(-1, 1, 8, 8)[order]
    data = Digits(images, torch.from_numpy(labels).long()[order])
    return Digits(*(part[TESTED:] for part in data)), Digits(*(part[:TESTED] for part in data))


def class_condition(labels: Tensor) -> Condition:
    """Class condition: one token (B,1,10), one-hot at the class; zeros for label -1, unconditional."""
    tokens = F.one_hot(labels.clamp(min=0), CLASSES) * (labels >= 0)[:, None]
    mask = torch.ones(len(labels), 1, dtype=torch.bool)
    return Condition(tokens[:, None].float(), mask, torch.zeros(len(labels), WIDTH))


class Perceptron(nn.Module):
    """Residual perceptron over the pixels of a digit, conditioned on the timestep and optionally the class.

    outputs: size of the output: 64 for a denoiser, 128 with a learned variance, 10 for a classifier.
    """

    def __init__(self, outputs: int, width: int = 256, blocks: int = 3) -> None:
        """width: hidden features. blocks: residual blocks."""
        super().__init__()
        self.width = width
        self.stem = nn.Linear(64, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.class_embedding = nn.Linear(CLASSES, width, bias=False)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(blocks)
        )
        self.out = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, outputs))

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """Outputs (B,outputs) for noisy digits (B,1,8,8) at timesteps (B,)."""
        embedding = self.time(timestep_embedding(t, self.width))
        if condition is not None:
            embedding = embedding + self.class_embedding(condition.tokens[:, 0])
        h = self.stem(x.flatten(1))
        for block in self.blocks:
            h = h + block(h + embedding)
        return self.out(h)


class ImagePerceptron(Perceptron):
    """A `Perceptron` whose output is (B,channels,8,8)."""

    def __init__(self, channels: int = 1) -> None:
        """channels: 1, or 2 with a learned variance."""
        super().__init__(64 * channels)

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """Outputs (B,channels,8,8) for noisy digits (B,1,8,8) at timesteps (B,)."""
        return super().forward(x, t, condition).view(len(x), -1, 8, 8)


class NoisyPerceptron(Perceptron):
    """A classifier of noisy digits, for classifier guidance."""

    def __init__(self, schedule: NoiseSchedule) -> None:
        """schedule: the noise schedule of the denoiser that it guides."""
        super().__init__(CLASSES)
        self.schedule = schedule


class Judge(nn.Module):
    """Classifier of clean images; its last hidden layer (B,32) is the feature space of the metrics."""

    def __init__(self, values: int) -> None:
        """values: numbers per image, C*H*W."""
        super().__init__()
        self.features = nn.Sequential(
            nn.Flatten(), nn.Linear(values, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU()
        )
        self.out = nn.Linear(32, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B,10) of images (B,C,H,W)."""
        return self.out(self.features(images))

    @classmethod
    def trained(cls, data: Digits) -> Judge:
        """A judge trained on the data with a fixed seed: every call returns the same weights."""
        torch.manual_seed(0)
        judge = cls(data.images[0].numel())

        def loss(index: Tensor) -> Tensor:
            images = data.images[index]
            images = images + 0.1 * torch.randn_like(images)
            return F.cross_entropy(judge(images), data.labels[index])

        train(judge, loss, len(data.labels), JUDGE_STEPS)
        return judge.eval().requires_grad_(False)

    def accuracy(self, data: Digits) -> float:
        """Share of correctly classified images, in [0, 1]."""
        return (self(data.images).argmax(1) == data.labels).double().mean().item()


def train(
    network: nn.Module, loss: Callable[[Tensor], Tensor], size: int, steps: int, batch: int = BATCH
) -> None:
    """Minimizes the scalar `loss(index)` with AdamW and cosine decay of the rate to zero.

    index: rows of the batch (batch,). size: number of rows of the data.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        optimizer.zero_grad()
        loss(batch_indices(size, batch, 0, step)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        scheduler.step()


Loss = Callable[[Denoiser, Tensor, Tensor, Condition, Tensor], Tensor]
"""A loss with the signature of `core.losses.simple_loss`."""


def train_denoiser(
    denoiser: Denoiser, loss: Loss, data: Digits, steps: int, batch: int = BATCH, drop: float = 0.1
) -> Denoiser:
    """Trains a denoiser on the data and returns it; drop: share of the samples without a class condition."""

    def batch_loss(index: Tensor) -> Tensor:
        x0, labels = data.images[index], data.labels[index]
        labels = torch.where(torch.rand(len(labels)) < drop, -1, labels)
        t = stratified_timesteps(len(x0), denoiser.schedule.timesteps, x0.device)
        return loss(denoiser, x0, t, class_condition(labels), torch.randn_like(x0)).mean()

    train(denoiser.network, batch_loss, len(data.labels), steps, batch)
    return denoiser.eval().requires_grad_(False)


def sample(
    denoiser: DenoiserLike, shape: tuple[int, int, int], labels: Tensor, steps: int = 20, seed: int = 0
) -> Tensor:
    """DDIM samples (B,C,H,W) of the classes (B,), not clamped; sample i uses the seed `seed + i`."""
    generators = [torch.Generator().manual_seed(seed + i) for i in range(len(labels))]
    *_, last = ddim(
        denoiser, noise_like((len(labels), *shape), generators), class_condition(labels), steps=steps
    )
    return last.x
