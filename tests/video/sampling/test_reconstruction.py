"""Reconstruction guidance on clips of a known Gaussian, where what it should say has closed forms."""

import numpy as np
import pytest
import torch

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.guidance import ClassifierFreeGuidance
from core.samplers import ddim
from tests.oracles.known import Known, empty_condition
from video.sampling.reconstruction import ReconstructionGuidance

SCHEDULE = NoiseSchedule.cosine()
COVARIANCE = np.array(
    [[1.0, 0.8, 0.5, 0.3], [0.8, 1.2, 0.9, 0.5], [0.5, 0.9, 1.1, 0.7], [0.3, 0.5, 0.7, 0.9]]
)
KNOWN = np.array([1.2, 0.7])  # the first two of four frames


class Frames(Known):
    """Pixels of zero mean, each correlated with itself in the other frames."""

    def expected(self, x, alpha, sigma, condition):
        return torch.einsum("fg,bcghw->bcfhw", gain(alpha.flatten()[0].item(), sigma.flatten()[0].item()), x)


def gain(alpha: float, sigma: float) -> torch.Tensor:
    """E[x | z] = gain z."""
    noisy = alpha**2 * COVARIANCE + sigma**2 * np.eye(4)
    return torch.from_numpy(alpha * COVARIANCE @ np.linalg.inv(noisy))


def guided(scale: float, around=None) -> ReconstructionGuidance:
    known = torch.from_numpy(KNOWN).view(1, 1, 2, 1, 1)
    return ReconstructionGuidance(around or Frames(SCHEDULE).denoiser(), known, scale)


def noisy(t: int, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 1, 4, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(t))


@pytest.mark.parametrize("t", [30, 500, 900])
@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_it_is_equation_7(t: int, scale: float) -> None:
    z = noisy(t)
    alpha, sigma = SCHEDULE.alpha(t).item(), SCHEDULE.sigma(t).item()
    matrix = gain(alpha, sigma).numpy()
    rows = z[:, 0, :, 0, 0].numpy()
    plain = rows @ matrix.T
    missed = KNOWN - plain[:, :2]
    # The gradient of |missed|^2 by the unknown frames of z, where the prediction is linear in z.
    gradient = -2 * missed @ matrix[:2, 2:]
    expected = np.concatenate([np.tile(KNOWN, (3, 1)), plain[:, 2:] - scale * alpha / 2 * gradient], axis=1)
    prediction = guided(scale)(z, torch.full((3,), t), empty_condition(0.0, 3))
    np.testing.assert_allclose(prediction.x0[:, 0, :, 0, 0].numpy(), expected, rtol=1e-10)
    together = alpha * prediction.x0 + sigma * prediction.eps
    torch.testing.assert_close(together, z)
    assert not prediction.x0.requires_grad


def test_at_little_noise_scale_one_is_the_exact_conditional_mean() -> None:
    """There x^a(z_t) is as uncertain as the equation takes it to be: this tells the factors in it."""
    t = 20
    z = noisy(t)
    alpha, sigma = SCHEDULE.alpha(t).item(), SCHEDULE.sigma(t).item()
    posterior = np.linalg.inv(np.linalg.inv(COVARIANCE) + alpha**2 / sigma**2 * np.eye(4))
    plain = z[:, 0, :, 0, 0].numpy() @ gain(alpha, sigma).numpy().T
    pull = posterior[2:, :2] @ np.linalg.inv(posterior[:2, :2])
    step = (KNOWN - plain[:, :2]) @ pull.T
    found = (
        guided(1.0)(z, torch.full((3,), t), empty_condition(0.0, 3)).x0[:, 0, 2:, 0, 0].numpy() - plain[:, 2:]
    )
    assert np.linalg.norm(found - step) < 0.05 * np.linalg.norm(step)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_known_frames_come_out_as_they_went_in_and_draw_the_others_to_them(eta: float) -> None:
    """Against the exact distribution of the others, given those, by its Kullback-Leibler divergence."""
    steps, batch = 25, 4000
    generators = [torch.Generator().manual_seed(i) for i in range(batch)]
    divergence = []
    for scale in (0.0, 1.0, 2.0):
        guidance = guided(scale)
        x = guidance.begin(noisy(1, batch), SCHEDULE.sampling_timesteps(steps)[0])
        *_, last = ddim(guidance, x, empty_condition(0.0, batch), steps=steps, eta=eta, generators=generators)
        frames = last.x[:, 0, :, 0, 0].numpy()
        np.testing.assert_allclose(frames[:, :2], np.tile(KNOWN, (batch, 1)), atol=1e-10)
        divergence.append(from_conditional(frames[:, 2:]))
    assert max(divergence[1:]) < 0.05
    # Without noise of its own, replacement leaves the known frames and the others on ways of their own.
    assert eta or divergence[0] > 2 * max(divergence[1:])


def from_conditional(samples: np.ndarray) -> float:
    """KL divergence of samples, taken as Gaussian, from the last two frames given the first two."""
    pull = COVARIANCE[2:, :2] @ np.linalg.inv(COVARIANCE[:2, :2])
    precision = np.linalg.inv(COVARIANCE[2:, 2:] - pull @ COVARIANCE[:2, 2:])
    off, product = samples.mean(0) - pull @ KNOWN, precision @ np.cov(samples.T)
    return (np.trace(product) - 2 - np.log(np.linalg.det(product)) + off @ precision @ off) / 2


def test_the_start_has_the_known_frames_at_its_noise_level() -> None:
    z = noisy(0)
    begun = guided(1.0).begin(z, 700)
    alpha = SCHEDULE.alpha(700).item()
    known = torch.from_numpy(KNOWN).view(1, 1, 2, 1, 1)
    torch.testing.assert_close(begun[:, :, :2], alpha * known + z[:, :, :2])
    assert torch.equal(begun[:, :, 2:], z[:, :, 2:])


def test_it_goes_around_other_guidance_and_a_network_of_single_precision() -> None:
    class Told(Frames):
        def expected(self, x, alpha, sigma, condition):
            return (
                super().expected(x.double(), alpha, sigma, condition).to(x)
                + condition.tokens[:, :, None, None]
            )

    around = ClassifierFreeGuidance(Told(SCHEDULE).denoiser(), 3.0, empty_condition(0.0, 1))
    z, t = noisy(5).float(), torch.full((3,), 500)
    condition = Condition(torch.full((3, 1, 1), 0.1), torch.ones(3, 1).bool(), torch.zeros(3, 10))
    found = guided(1.0, around)(z, t, condition).x0
    plain = guided(1.0)(z.double(), t, empty_condition(0.0, 3)).x0
    # What the text adds, three times over, is missing from x^a too.
    matrix, alpha = gain(SCHEDULE.alpha(500).item(), SCHEDULE.sigma(500).item()), SCHEDULE.alpha(500).item()
    shift = 0.3 - alpha * (torch.full((2,), 0.3, dtype=torch.float64) @ matrix[:2, 2:])
    torch.testing.assert_close(
        found[0, 0, 2:, 0, 0].double(), plain[0, 0, 2:, 0, 0] + shift, rtol=0, atol=1e-5
    )


def test_nothing_is_asked_for_gradients_where_scale_is_zero() -> None:
    class Refusing(Frames):
        def expected(self, x, alpha, sigma, condition):
            assert not torch.is_grad_enabled()
            return super().expected(x, alpha, sigma, condition)

    with torch.no_grad():
        guided(0.0, Refusing(SCHEDULE).denoiser())(noisy(5), torch.full((3,), 500), empty_condition(0.0, 3))


def test_the_denoiser_keeps_its_clip() -> None:
    around = Denoiser(Frames(SCHEDULE), SCHEDULE, Parameterization.X0, clip=0.5)
    assert guided(1.0, around)(noisy(5), torch.full((3,), 30), empty_condition(0.0, 3)).x0.abs().max() <= 0.5
