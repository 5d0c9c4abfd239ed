"""Shared helpers of the guidance tests: recording networks, conditions, and denoisers with them."""

import torch
from torch import nn

from core.attributes import WIDTH
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.guidance import PerpNeg

PARAMETERIZATIONS = [Parameterization.EPS, Parameterization.X0, Parameterization.V]


class Recorder(nn.Module):
    """A network that depends on the unmasked tokens, the attributes and x, and records its calls."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x, t, condition):
        self.calls.append((x, t, condition))
        text = (condition.tokens.mean(2) * condition.mask).sum(1) / condition.mask.sum(1)
        attributes = condition.attributes.flatten(1).sum(1)
        return x * 0.1 + (text + attributes).view(-1, *[1] * (x.ndim - 1))


def condition(batch, length, seed=0, frames=None):
    """A random condition of B texts of `length` tokens, with attributes per image or per frame."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, WIDTH) if frames is None else (batch, frames, WIDTH)
    return Condition(
        torch.randn(batch, length, 4, generator=generator),
        torch.ones(batch, length, dtype=torch.bool),
        torch.randn(shape, generator=generator),
    )


def setup(frames=None, clip=None, parameterization=Parameterization.EPS):
    """A recording denoiser, x_t of two images or clips, and their timesteps."""
    shape = (2, 3, 4, 4) if frames is None else (2, 3, frames, 4, 4)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    denoiser = Denoiser(Recorder(), NoiseSchedule.cosine(), parameterization, clip)
    return denoiser, x, torch.tensor([200, 700])


class Painter(Recorder):
    """A recording network that returns the first token state, so that texts also differ in direction."""

    def forward(self, x, t, condition):
        super().forward(x, t, condition)
        return 0.1 * x + condition.tokens[:, 0].view(-1, 1, 4, 1)


def perp_neg(scale=4.0, weights=((0.5, 2.0), (1.0, 0.0)), clip=None):
    """Perp-Neg guidance with two negative prompts, of length 1 and 2."""
    denoiser = Denoiser(Painter(), NoiseSchedule.cosine(), Parameterization.EPS, clip)
    negatives = [condition(1, 3, 2), condition(2, 4, 3)]
    return PerpNeg(denoiser, scale, condition(1, 2, 4), negatives, torch.tensor(weights))


def guided_noise(denoiser, guided, t):
    """x_t recomputed from the guided x0 and eps, for a check of their consistency."""
    return denoiser.schedule.add_noise(guided.x0, guided.eps, t)


class Quadratic:
    """A classifier with two logits, the sums of x and of 0.3 x^2, that counts its calls."""

    schedule = NoiseSchedule.cosine()
    calls = 0

    def __call__(self, x, t):
        self.calls += 1
        return torch.stack([x.flatten(1).sum(1), 0.3 * x.square().flatten(1).sum(1)], dim=1)
