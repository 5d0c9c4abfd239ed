"""Few-step models: a student takes half the steps of a known teacher, and is stored as it was trained."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.condition import Condition, no_condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.losses.distillation import StepPair, distillation_loss, step_pairs
from core.nn.lora import LoRANetwork
from core.samplers import ddim
from video.cascade.distilled import DistilledConfig, load_student, merged, save_student

SCHEDULE = NoiseSchedule.cosine()


class Pointwise(nn.Module):
    """A small network of values and timesteps."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
        )

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        time = (t / 1000).float()[:, None].expand_as(x)
        return self.layers(torch.stack([x, time, time.square()], dim=-1))[..., 0]


@pytest.fixture(scope="module")
def teacher() -> Denoiser:
    """A denoiser of the values -1 and 1."""
    torch.manual_seed(0)
    denoiser = Denoiser(Pointwise(), SCHEDULE, Parameterization.V)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=3e-3)
    for _ in range(600):
        x0 = torch.randint(2, (256, 1)) * 2.0 - 1
        noise, t = torch.randn(256, 1), torch.randint(1000, (256,))
        alpha, sigma = SCHEDULE.scales(t, x0)
        v = denoiser.network(alpha * x0 + sigma * noise, t, no_condition(256, "cpu"))
        loss = (v - alpha * noise + sigma * x0).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return denoiser.requires_grad_(False)


def sampled(denoiser: Denoiser, steps: int) -> Tensor:
    noise = torch.randn(512, 1, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        return list(ddim(denoiser, noise, no_condition(512, "cpu"), steps=steps))[-1].x


def test_a_student_takes_half_the_steps_and_is_stored_as_adapters(teacher: Denoiser, tmp_path: Path) -> None:
    config = DistilledConfig(steps=2, rank=16, teacher="abc")
    student, pairs = config.student(teacher), step_pairs(1000, 2)
    assert torch.equal(sampled(student, 2), sampled(teacher, 2))
    optimizer = torch.optim.Adam(student.network.parameters(), lr=1e-2)
    torch.manual_seed(1)
    for _ in range(400):
        row = torch.randint(2, (256,))
        steps = StepPair(*(column[row] for column in pairs))
        x0 = torch.randint(2, (256, 1)) * 2.0 - 1
        noise = torch.randn(256, 1)
        loss = distillation_loss(student, teacher, x0, steps, no_condition(256, "cpu"), noise).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    target = sampled(teacher, 4)
    assert (sampled(student, 2) - target).abs().mean() < 0.4 * (sampled(teacher, 2) - target).abs().mean()

    save_student(tmp_path, config, student.network.state_dict(), {"samples": 1})
    loaded_config, loaded = load_student(tmp_path, teacher, "abc")
    assert loaded_config == config
    torch.testing.assert_close(sampled(merged(loaded), 2), sampled(student, 2), atol=2e-2, rtol=2e-2)
    assert not any(isinstance(module, LoRANetwork) for module in merged(loaded).modules())
    with pytest.raises(UserError, match="is of another video model"):
        load_student(tmp_path, teacher, "def")
