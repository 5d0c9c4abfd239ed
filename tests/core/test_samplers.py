import pytest
import torch
from torch import nn

from core.condition import Condition
from core.denoiser import Denoiser
from core.errors import UserError
from core.parameterization import Parameterization
from core.samplers import ddim, ddpm, noise_like
from core.schedule import NoiseSchedule

SHAPE = (3, 8, 8)


class Squash(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.7))
        self.asked = []

    def forward(self, x, t, condition):
        self.asked.append(t.tolist())
        return torch.tanh(self.gain * x) + condition.tokens[:, 0, :1, None, None]


def denoiser():
    return Denoiser(Squash(), NoiseSchedule.cosine(), Parameterization.V)


def conditions(batch):
    tokens = torch.arange(batch).float().view(batch, 1, 1) / 10
    return Condition(tokens, torch.ones(batch, 1, dtype=torch.bool), torch.zeros(batch, 10))


def sample(sampler, seeds, rows=None, **settings):
    """The last x for these seeds; sample i is told condition row rows[i]."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    x = noise_like((len(seeds), *SHAPE), generators)
    rows = list(range(len(seeds))) if rows is None else rows
    told = conditions(8)[torch.tensor(rows)]
    *_, state = sampler(denoiser(), x, told, generators=generators, **settings)
    return state.x


SAMPLERS = pytest.mark.parametrize(
    ("sampler", "settings"),
    [
        (ddim, {"steps": 12}),
        (ddim, {"steps": 12, "eta": 1.0}),
        (ddpm, {"steps": 12}),
        (ddpm, {"steps": 12, "variance": "fixed_large"}),
    ],
    ids=["ddim", "ddim eta 1", "ddpm small", "ddpm large"],
)


@SAMPLERS
def test_one_seed_gives_the_same_bytes_at_any_batch_size(sampler, settings):
    together = sample(sampler, [5, 6, 7, 8], **settings)
    assert torch.equal(together, sample(sampler, [5, 6, 7, 8], **settings))
    for i, seed in enumerate([5, 6, 7, 8]):
        assert torch.equal(sample(sampler, [seed], rows=[i], **settings), together[i : i + 1])
    assert torch.equal(sample(sampler, [8, 6], rows=[3, 1], **settings), together[[3, 1]])


@SAMPLERS
def test_another_seed_gives_another_sample(sampler, settings):
    a, b = sample(sampler, [1], **settings), sample(sampler, [2], **settings)
    assert (a - b).abs().mean() > 0.1


def test_noise_is_standard_normal_and_each_generators_own():
    generators = [torch.Generator().manual_seed(i) for i in range(3)]
    noise = noise_like((3, 100, 100), generators)
    assert noise.dtype == torch.float32
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03
    assert torch.equal(noise[1:2], noise_like((1, 100, 100), [torch.Generator().manual_seed(1)]))
    assert not torch.equal(noise_like((3, 100, 100), generators), noise)
    with pytest.raises(ValueError, match="3 generators"):
        noise_like((2, 4), generators)


def test_states_tell_progress_and_the_last_is_the_guess_itself():
    model, x = denoiser(), torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    states = list(ddim(model, x, conditions(2), steps=5))
    expected = [(1, 5, 999), (2, 5, 799), (3, 5, 599), (4, 5, 399), (5, 5, 199)]
    assert [(s.step, s.steps, s.t) for s in states] == expected
    assert model.network.asked == [[s.t] * 2 for s in states]
    assert torch.equal(states[-1].x, states[-1].x0)
    assert not torch.equal(states[0].x, states[0].x0)


def test_the_caller_may_stop_early_and_keeps_gradient_mode():
    model, x = denoiser(), torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    for state in ddim(model, x, conditions(1), steps=50):
        assert torch.is_grad_enabled() and not state.x.requires_grad and not state.x0.requires_grad
        if state.step == 3:
            break
    assert len(model.network.asked) == 3


def test_sampling_may_start_midway():
    model = denoiser()
    x = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    timesteps = model.schedule.spaced(10)
    states = list(ddim(model, x, conditions(1), timesteps=timesteps))
    rest = list(ddim(model, states[3].x, conditions(1), timesteps=timesteps[4:]))
    assert torch.equal(rest[-1].x, states[-1].x)


def test_eta_above_one_stays_finite_and_adds_more_noise():
    runs = {}
    for eta in (0.0, 1.0, 50.0):
        generators = [torch.Generator().manual_seed(3)]
        x = noise_like((1, *SHAPE), generators)
        states = ddim(denoiser(), x, conditions(1), steps=10, eta=eta, generators=generators)
        runs[eta] = [state.x for state in states]
    assert all(x.isfinite().all() for x in runs[50.0])
    moved = {eta: (xs[4] - xs[3]).abs().mean().item() for eta, xs in runs.items()}
    assert moved[0.0] < moved[1.0] < moved[50.0]


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"steps": 1001},
        {"steps": 5, "eta": -0.1},
        {"timesteps": []},
        {"timesteps": [10, 20]},
        {"timesteps": [10, 10]},
        {"timesteps": [1000, 0]},
        {"timesteps": [10, -1]},
        {"timesteps": [10, 5], "end": 5},
    ],
)
def test_impossible_settings_are_refused_before_the_first_step(settings):
    model = denoiser()
    with pytest.raises(UserError) as caught:
        ddim(model, torch.zeros(1, *SHAPE), conditions(1), **settings)
    assert str(caught.value).endswith(".") and model.network.asked == []


def test_misuse_is_refused_before_the_first_step():
    model, x, told = denoiser(), torch.zeros(2, *SHAPE), conditions(2)
    with pytest.raises(ValueError, match="2 generators"):
        ddim(model, x, told, steps=5, eta=1.0)
    with pytest.raises(ValueError, match="2 generators"):
        ddpm(model, x, told, steps=5, generators=[torch.Generator()])
    with pytest.raises(ValueError, match="either"):
        ddim(model, x, told)
    with pytest.raises(UserError, match="fixed_small"):
        ddpm(model, x, told, steps=5, variance="learned", generators=[torch.Generator()] * 2)  # type: ignore[arg-type]
