"""Progressive distillation: a student learns to do in one step of DDIM what its teacher does in two."""

from typing import NamedTuple

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Denoiser, DenoiserLike


class StepPair(NamedTuple):
    """Two steps of the teacher, t -> middle -> s, each (B,); timesteps may be fractional, s = -1 is clean."""

    t: Tensor
    middle: Tensor
    s: Tensor


def distillation_target(teacher: DenoiserLike, x: Tensor, steps: StepPair, condition: Condition) -> Tensor:
    """The x0 whose single DDIM step from t to s arrives where two steps of the teacher arrive, (B,...).

    Salimans and Ho 2022, "Progressive Distillation for Fast Sampling of Diffusion Models", algorithm 2:
    x~ = (z_s - (sigma_s / sigma_t) z_t) / (alpha_s - (sigma_s / sigma_t) alpha_t).

    x: z_t, (B,...). The teacher may be guided: the student then needs no guidance.
    """
    z = x
    for t, s in ((steps.t, steps.middle), (steps.middle, steps.s)):
        x0, eps, _ = teacher(z, t, condition)
        z = teacher.schedule.add_noise(x0, eps, s)
    alpha_t, sigma_t = teacher.schedule.scales(steps.t, x)
    alpha_s, sigma_s = teacher.schedule.scales(steps.s, x)
    ratio = sigma_s / sigma_t
    return (z - ratio * x) / (alpha_s - ratio * alpha_t)


def distillation_loss(
    student: Denoiser, teacher: DenoiserLike, x0: Tensor, steps: StepPair, condition: Condition, noise: Tensor
) -> Tensor:
    """Squared error of the student's x0 against `distillation_target`, weighted by SNR + 1, (B,).

    Salimans and Ho 2022, section 4: with this weight the error is that of v. x0, noise: (B,...).
    """
    x = student.schedule.add_noise(x0, noise, steps.t)
    with torch.no_grad():
        target = distillation_target(teacher, x, steps, condition)
    error = student.predict(x, steps.t, condition).x0 - target
    snr = student.schedule.log_snr(steps.t).exp().to(error)
    return (1 + snr) * error.square().flatten(1).mean(1)


def step_pairs(timesteps: int, steps: int) -> StepPair:
    """The teacher's pairs of steps for each of a student's `steps` steps, (steps,) each, noisiest first.

    timesteps: T of the schedule. The student's timesteps have trailing spacing, as in
    `NoiseSchedule.sampling_timesteps`; the teacher's middle ones lie half way between them.
    """
    edges = torch.linspace(timesteps - 1, -1, steps + 1, dtype=torch.float64)
    return StepPair(edges[:-1], (edges[:-1] + edges[1:]) / 2, edges[1:])
