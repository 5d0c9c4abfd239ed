"""Prompts that change over time, on clips whose texts are the known means of their pixels."""

import torch

from core.diffusion.schedule import NoiseSchedule
from core.samplers import ddim
from tests.oracles.known import Gaussian, empty_condition
from video.sampling.prompt_schedule import ScheduledPrompts, fade_weights

SCHEDULE = NoiseSchedule.cosine()


def test_weights_by_hand() -> None:
    weights = fade_weights([0, 4], 8, fade=4)
    assert weights[1].tolist() == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]
    torch.testing.assert_close(weights.sum(0), torch.ones(8))
    assert fade_weights([0, 2, 3], 6).sum(0).tolist() == [1] * 6
    assert fade_weights([0], 3).tolist() == [[1, 1, 1]]


def test_every_frame_has_the_mean_of_its_text() -> None:
    """The mean of samples of a mixture of predictions of Gaussians that differ in their means alone."""
    weights = fade_weights([0, 3], 6, fade=2)
    texts = [empty_condition(-1.0, 1), empty_condition(1.0, 1)]
    denoiser = ScheduledPrompts(Gaussian(SCHEDULE, s=0.2).denoiser(), texts, weights)
    batch = 400
    z = torch.randn(batch, 1, 6, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    *_, last = ddim(denoiser, z, empty_condition(9.0, batch), steps=30)
    means = last.x.mean(dim=(0, 1, 3, 4))
    torch.testing.assert_close(means, (weights[1] - weights[0]).double(), rtol=0, atol=0.02)


def test_texts_without_weight_cost_nothing() -> None:
    class Counting(Gaussian):
        calls = 0

        def forward(self, x, t, condition):
            self.calls += 1
            return super().forward(x, t, condition)

    network = Counting(SCHEDULE)
    texts = [empty_condition(value, 1) for value in (-1.0, 1.0)]
    weights = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    denoiser = ScheduledPrompts(network.denoiser(), texts, weights)
    x, t = torch.zeros(1, 1, 2, 1, 1, dtype=torch.float64), torch.tensor([500])
    found = denoiser(x, t, empty_condition(0.0, 1))
    assert network.calls == 1
    alone = Gaussian(SCHEDULE).denoiser()(x, t, empty_condition(1.0, 1))
    torch.testing.assert_close(found.x0, alone.x0)
    torch.testing.assert_close(found.eps, alone.eps)
