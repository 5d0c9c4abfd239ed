"""Progressive distillation against DDIM itself and against a teacher that is exact."""

import pytest
import torch

from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.losses.distillation import StepPair, distillation_loss, distillation_target, step_pairs
from core.samplers import ddim
from tests.oracles.known import Gaussian, Mixture, empty_condition

SCHEDULE = NoiseSchedule.cosine()


@pytest.mark.parametrize("row", range(4))
def test_one_step_to_the_target_arrives_where_two_ddim_steps_arrive(row: int) -> None:
    teacher = Mixture(SCHEDULE).denoiser()
    torch.manual_seed(0)
    z, condition = torch.randn(6, 5, dtype=torch.float64), empty_condition(0.0, 6)
    t, middle, s = (column[row].item() for column in step_pairs(1000, 4))
    steps = StepPair(*(torch.full((6,), value, dtype=torch.float64) for value in (t, middle, s)))
    x0 = distillation_target(teacher, z, steps, condition)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (SCHEDULE.scales(each, z) for each in (steps.t, steps.s))
    arrival = alpha_s * x0 + sigma_s * (z - alpha_t * x0) / sigma_t
    states = list(ddim(teacher, z, condition, timesteps=[t, middle], end=s))
    torch.testing.assert_close(arrival, states[-1].x, atol=1e-8, rtol=1e-8)


def test_the_students_timesteps_are_those_that_it_is_sampled_at() -> None:
    for count in (1, 2, 4, 8):
        pairs = step_pairs(1000, count)
        assert pairs.t.tolist() == SCHEDULE.sampling_timesteps(count)
        assert pairs.s.tolist() == [*pairs.t.tolist()[1:], -1]
        assert torch.equal(pairs.middle * 2, pairs.t + pairs.s)


def test_the_loss_is_the_error_of_v() -> None:
    """The student predicts x0 of another Gaussian than its teacher: SNR + 1 times the squared distance."""
    student = Gaussian(SCHEDULE, Parameterization.V, s=0.5).denoiser()
    teacher = Gaussian(SCHEDULE, s=1.0).denoiser()
    torch.manual_seed(1)
    x0, noise = torch.randn(2, 3, 7, dtype=torch.float64).unbind(0)
    pairs = StepPair(*(column[[0, 1, 3]] for column in step_pairs(1000, 4)))
    condition = empty_condition(0.2, 3)
    loss = distillation_loss(student, teacher, x0, pairs, condition, noise)
    z = SCHEDULE.add_noise(x0, noise, pairs.t)
    target = distillation_target(teacher, z, pairs, condition)
    alpha, sigma = SCHEDULE.scales(pairs.t, z)
    v = student.raw_output(z, pairs.t, condition)[0]
    v_target = alpha * (z - alpha * target) / sigma - sigma * target
    torch.testing.assert_close(loss, (v - v_target).square().mean(1), atol=1e-9, rtol=1e-6)
