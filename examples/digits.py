"""scikit-learn's handwritten digits, and a small denoiser that trains on them in seconds."""

from collections.abc import Callable
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.losses import simple_loss
from core.nn.unet import UNet, UNetConfig
from core.training.ema import EMA
from core.training.trainer import stratified_timesteps

LEVELS = 17  # gray levels
ANY = 10  # label for the unconditional case
HELD_BACK = 297  # images at the end, which are not trained on


def digits() -> tuple[Tensor, Tensor]:
    """Images (1797,1,8,8) in [-1, 1] on 17 levels of gray, and what they show, (1797,) int64."""
    data: Any = load_digits()
    return torch.from_numpy(data.images).float()[:, None] / 8 - 1, torch.from_numpy(data.target).long()


def condition(labels: Tensor) -> Condition:
    """Condition of labels (B,): one token (B,1,16), one-hot at the digit, or zeros for `ANY`."""
    tokens = torch.eye(16)[labels][:, None] * (labels != ANY)[:, None, None]
    return Condition(tokens, torch.ones(len(labels), 1, dtype=torch.bool), torch.zeros(len(labels), 10))


def denoiser(
    schedule: NoiseSchedule,
    parameterization: Parameterization,
    learned_variance: bool = False,
    width: int = 32,
    seed: int = 0,
) -> Denoiser:
    """An untrained denoiser with a small U-Net. width: channels of the first level; seed: of the weights."""
    torch.manual_seed(seed)
    config = UNetConfig(
        in_channels=1, out_channels=2 if learned_variance else 1, patch=2, context_width=16, head_width=16,
        widths=(width, 2 * width), blocks=(1, 1), attention=(False, True),
    )  # fmt: skip
    return Denoiser(UNet(config), schedule, parameterization, learned_variance=learned_variance)


def train(
    denoiser: Denoiser, steps: int, loss: Callable[..., Tensor] = simple_loss, dropout: float = 0.15
) -> Denoiser:
    """Trains in place and returns a denoiser with the averaged weights. dropout: share of dropped labels."""
    images, labels = (part[:-HELD_BACK] for part in digits())
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=2e-3, betas=(0.9, 0.99))
    average = EMA(denoiser.network, width=0.1)
    torch.manual_seed(0)
    for step in range(1, steps + 1):
        index = torch.randint(len(images), (64,))
        x0, y = images[index], torch.where(torch.rand(64) < dropout, ANY, labels[index])
        t = stratified_timesteps(64, denoiser.schedule.timesteps, x0.device)
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, step / 50, 2 * (1 - step / (steps + 1)))
        loss(denoiser, x0, t, condition(y), torch.randn_like(x0)).mean().backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(denoiser.network, step)
    return denoiser.with_network(average.network)
