"""Behavior of all samplers: determinism, progress, network calls and errors. Accuracy: tests/oracles."""

import pytest
import torch
from torch import nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser, Prediction
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.guidance import ClassifierGuidance
from core.samplers import ddim, ddim_inversion, ddpm, dpm_solver, euler, heun, lcm, noise_like, tcd, unipc

SHAPE = (3, 8, 8)
COSINE = NoiseSchedule.cosine()
NOISY = (ddim, ddpm, heun, lcm, tcd)  # samplers that may add noise


class TanhNetwork(nn.Module):
    """A nonlinear network that records the timesteps of its calls."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.7))
        self.timesteps_called = []

    def forward(self, x, t, condition):
        self.timesteps_called.append(t.tolist())
        return torch.tanh(self.gain * x) + condition.tokens[:, 0, :1, None, None]


def denoiser(schedule=COSINE, parameterization=Parameterization.V):
    return Denoiser(TanhNetwork(), schedule, parameterization)


FLOW = NoiseSchedule.flow(shift=3.0), Parameterization.FLOW
ZERO_SNR = NoiseSchedule.scaled_linear().zero_terminal_snr(), Parameterization.V


class WithVariance:
    """A denoiser that also predicts a constant variance fraction between beta~ and beta."""

    def __init__(self, fraction):
        self.inner, self.fraction = denoiser(), fraction
        self.schedule = self.inner.schedule

    def __call__(self, x, t, condition):
        x0, eps = self.inner(x, t, condition)[:2]
        return Prediction(x0, eps, torch.full_like(x, self.fraction))


def conditions(batch):
    tokens = torch.arange(batch).float().view(batch, 1, 1) / 10
    return Condition(tokens, torch.ones(batch, 1, dtype=torch.bool), torch.zeros(batch, 10))


def sample(sampler, seeds, rows=None, model=None, **settings):
    """The last x for the given seeds; the condition of sample i is row rows[i]."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    x = noise_like((len(seeds), *SHAPE), generators)
    rows = list(range(len(seeds))) if rows is None else rows
    condition = conditions(8)[torch.tensor(rows)]
    if sampler in NOISY:
        settings["generators"] = generators
    *_, state = sampler(model or denoiser(), x, condition, **settings)
    return state.x


SAMPLERS = pytest.mark.parametrize(
    ("sampler", "settings"),
    [
        (ddim, {"steps": 12}),
        (ddim, {"steps": 12, "eta": 1.0}),
        (ddpm, {"steps": 12}),
        (ddpm, {"steps": 12, "variance": "fixed_large"}),
        (ddpm, {"steps": 12, "variance": "learned", "model": WithVariance(0.3)}),
        (ddim_inversion, {"steps": 12}),
        (dpm_solver, {"steps": 12}),
        (unipc, {"steps": 12}),
        (heun, {"steps": 12}),
        (heun, {"steps": 12, "s_churn": 3.0}),
        (euler, {"steps": 12, "model": denoiser(*FLOW)}),
        (lcm, {"steps": 12}),
        (tcd, {"steps": 12}),
        (tcd, {"steps": 12, "eta": 0.0}),
    ],
    ids=[
        *("ddim", "ddim eta 1", "ddpm small", "ddpm large", "ddpm learned", "ddim inversion"),
        *("dpm solver", "unipc", "heun", "heun with churn", "euler", "lcm", "tcd", "tcd eta 0"),
    ],
)


@SAMPLERS
def test_one_seed_gives_the_same_bytes_at_any_batch_size(sampler, settings):
    together = sample(sampler, [5, 6, 7, 8], **settings)
    assert torch.equal(together, sample(sampler, [5, 6, 7, 8], **settings))
    for i, seed in enumerate([5, 6, 7, 8]):
        assert torch.equal(sample(sampler, [seed], rows=[i], **settings), together[i : i + 1])
    assert torch.equal(sample(sampler, [8, 6], rows=[3, 1], **settings), together[[3, 1]])


@SAMPLERS
def test_different_seeds_give_different_samples(sampler, settings):
    a, b = sample(sampler, [1], **settings), sample(sampler, [2], **settings)
    assert (a - b).abs().mean() > 0.1


def test_noise_is_standard_normal_and_depends_on_its_own_generator():
    generators = [torch.Generator().manual_seed(i) for i in range(3)]
    noise = noise_like((3, 100, 100), generators)
    assert noise.dtype == torch.float32
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03
    assert torch.equal(noise[1:2], noise_like((1, 100, 100), [torch.Generator().manual_seed(1)]))
    assert not torch.equal(noise_like((3, 100, 100), generators), noise)
    with pytest.raises(ValueError, match="3 generators"):
        noise_like((2, 4), generators)


def test_states_report_progress_and_the_last_x_is_the_predicted_x0():
    model, x = denoiser(), torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    states = list(ddim(model, x, conditions(2), steps=5))
    expected = [(1, 5, 999), (2, 5, 799), (3, 5, 599), (4, 5, 399), (5, 5, 199)]
    assert [(s.step, s.steps, s.t) for s in states] == expected
    assert model.network.timesteps_called == [[s.t] * 2 for s in states]
    assert torch.equal(states[-1].x, states[-1].x0)
    assert not torch.equal(states[0].x, states[0].x0)


@SAMPLERS
def test_every_sampler_reports_progress(sampler, settings):
    settings = dict(settings)
    model = settings.pop("model", denoiser())
    if sampler in NOISY:
        settings["generators"] = [torch.Generator(), torch.Generator()]
    states = list(sampler(model, torch.zeros(2, *SHAPE), conditions(2), **settings))
    assert [(state.step, state.steps) for state in states] == [(i + 1, 12) for i in range(12)]
    assert sampler in (ddim_inversion, tcd) or torch.equal(states[-1].x, states[-1].x0)
    assert all(state.x.dtype == state.x0.dtype == torch.float32 for state in states)


@pytest.mark.parametrize("sampler", [ddim, ddpm, dpm_solver, unipc, heun, lcm, tcd])
@pytest.mark.parametrize("model", [FLOW, ZERO_SNR], ids=["flow", "zero snr"])
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_sampling_starts_from_a_timestep_without_signal(sampler, model, steps):
    """With alpha = 0 and sigma = 1, x_t is pure noise and does not affect the predicted x0."""
    x = sample(sampler, [1, 2], model=denoiser(*model), steps=steps)
    assert x.isfinite().all() and x.abs().max() < 20


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_of_every_order_gives_finite_samples(order, variant):
    for model in (FLOW, ZERO_SNR):
        for steps in (1, 2, 3, 10):
            settings = {"steps": steps, "order": order, "variant": variant}
            assert sample(unipc, [1], model=denoiser(*model), **settings).isfinite().all()


@pytest.mark.parametrize(("fraction", "variance"), [(0.0, "fixed_small"), (1.0, "fixed_large")])
def test_learned_variance_interpolates_between_the_fixed_ones(fraction, variance):
    learned = sample(ddpm, [1, 2], model=WithVariance(fraction), steps=10, variance="learned")
    torch.testing.assert_close(learned, sample(ddpm, [1, 2], steps=10, variance=variance))


def test_gradients_work_after_sampling_in_inference_mode():
    guided = ClassifierGuidance(denoiser(), Brightness(), torch.tensor([0]), 2.0)
    x, condition = torch.ones(1, *SHAPE), conditions(1)
    with torch.inference_mode():
        *_, unguided = ddim(guided.denoiser, x, condition, steps=3)
    *_, state = ddim(guided, x, condition, steps=3)
    assert state.x.isfinite().all() and not torch.equal(state.x, unguided.x)


class Brightness(nn.Module):
    """A classifier of dark and bright images, whose gradient depends on the timestep."""

    schedule = COSINE

    def forward(self, x, t):
        bright = (x * (1 + t / 1000).to(x).view(-1, 1, 1, 1)).mean(dim=(1, 2, 3))
        return torch.stack([-bright, bright], dim=1)


def test_number_of_network_calls():
    """One call per step, two for Heun, one per iteration for inversion; fractional timesteps unchanged."""
    condition, x = conditions(1), torch.zeros(1, *SHAPE)
    for sampler, settings, calls in (
        (ddim, {}, 5),
        (dpm_solver, {}, 5),
        (unipc, {}, 5),
        (heun, {}, 8),  # one call in the first step, from high noise, and in the last, to clean data
        (ddim_inversion, {"iterations": 3}, 15),
        (lcm, {"generators": [torch.Generator()]}, 5),
        (tcd, {"generators": [torch.Generator()]}, 5),
    ):
        model = denoiser()
        list(sampler(model, x, condition, steps=5, **settings))
        assert len(model.network.timesteps_called) == calls
    model = denoiser()
    timesteps = model.schedule.sampling_timesteps(4, "karras")
    states = list(ddim(model, x, condition, timesteps=timesteps))
    assert [t for (t,) in model.network.timesteps_called] == timesteps == [state.t for state in states]
    assert not all(float(t).is_integer() for t in timesteps)


class NonFiniteNetwork(nn.Module):
    """A network whose output is not finite below a timestep."""

    def __init__(self, value, below):
        super().__init__()
        self.value, self.below = value, below

    def forward(self, x, t, condition):
        x = x.clone()
        x[-1, 0, 0, 0] = self.value if t[0] < self.below else 0.0
        return x


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("sampler", [ddim, ddpm, dpm_solver, unipc, heun, lcm, tcd])
def test_an_output_that_is_not_finite_raises_an_error_that_names_the_step(sampler, value):
    model = Denoiser(NonFiniteNetwork(value, below=500), NoiseSchedule.cosine(), Parameterization.V)
    settings = {"generators": [torch.Generator()] * 2} if sampler in (ddpm, lcm, tcd) else {}
    done = 0
    with pytest.raises(UserError, match=r"not finite at step \d of 10 \(timestep [45]99\)"):
        for state in sampler(model, torch.zeros(2, *SHAPE), conditions(2), steps=10, **settings):
            done = state.step
    # Heun also evaluates the network at the end of a step, so the error comes one step earlier.
    assert done == (4 if sampler is heun else 5)


def test_the_caller_may_stop_early_and_gradient_mode_is_unchanged():
    model, x = denoiser(), torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    for state in ddim(model, x, conditions(1), steps=50):
        assert torch.is_grad_enabled() and not state.x.requires_grad and not state.x0.requires_grad
        if state.step == 3:
            break
    assert len(model.network.timesteps_called) == 3


def test_sampling_may_start_at_an_intermediate_timestep():
    model = denoiser()
    x = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    timesteps = model.schedule.sampling_timesteps(10)
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
    changes = {eta: (xs[4] - xs[3]).abs().mean().item() for eta, xs in runs.items()}
    assert changes[0.0] < changes[1.0] < changes[50.0]


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
def test_invalid_settings_raise_user_error_before_the_first_step(settings):
    model = denoiser()
    with pytest.raises(UserError) as caught:
        ddim(model, torch.zeros(1, *SHAPE), conditions(1), **settings)
    assert str(caught.value).endswith(".") and model.network.timesteps_called == []


@pytest.mark.parametrize(
    ("sampler", "settings"),
    [
        (heun, {"steps": 5, "s_churn": -1.0}),
        (heun, {"steps": 5, "s_noise": 0.0}),
        (heun, {"steps": 5, "s_tmin": 2.0, "s_tmax": 1.0}),
        (unipc, {"steps": 5, "order": 4}),
        (unipc, {"steps": 5, "variant": "bh3"}),
        (euler, {"steps": 5}),
        (ddim_inversion, {"steps": 5, "iterations": 0}),
        (ddim_inversion, {"timesteps": [20, 10]}),
        (ddim_inversion, {"timesteps": [10, 1000]}),
        (ddim_inversion, {"timesteps": [10, 20], "start": 10}),
        *(
            (sampler, settings)
            for sampler in (ddpm, dpm_solver, unipc, heun)
            for settings in ({"steps": 1001}, {"timesteps": [10, 20]}, {"timesteps": [999.5]})
        ),
        (dpm_solver, {"timesteps": [10.5, float("nan")]}),
    ],
)
def test_invalid_settings_of_other_samplers_raise_user_error_before_the_first_step(sampler, settings):
    model = denoiser()
    with pytest.raises(UserError) as caught:
        sampler(model, torch.zeros(1, *SHAPE), conditions(1), **settings)
    assert str(caught.value).endswith(".") and model.network.timesteps_called == []


def test_misuse_raises_value_error_before_the_first_step():
    model, x, condition = denoiser(), torch.zeros(2, *SHAPE), conditions(2)
    generators = [torch.Generator()] * 2
    with pytest.raises(ValueError, match="2 generators"):
        ddim(model, x, condition, steps=5, eta=1.0)
    with pytest.raises(ValueError, match="2 generators"):
        ddpm(model, x, condition, steps=5, generators=generators[:1])
    with pytest.raises(ValueError, match="either"):
        ddim(model, x, condition)
    with pytest.raises(ValueError, match="2 generators"):
        heun(model, x, condition, steps=5, s_churn=1.0)
    with pytest.raises(UserError, match="fixed_small"):
        ddpm(model, x, condition, steps=5, variance="guessed", generators=generators)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="Learned variance"):
        next(ddpm(model, x, condition, steps=5, variance="learned", generators=generators))
