"""Schedules and whole rollouts against diffusers' DDIMScheduler and DDPMScheduler: same model, same noise."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler, HeunDiscreteScheduler
from torch import nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.samplers import ddim, ddpm, noise_like

BATCH, SHAPE = 3, (3, 4, 4)
EPS, X0, V, _ = Parameterization
PREDICTION = {EPS: "epsilon", X0: "sample", V: "v_prediction"}
BETAS = {"linear": "linear", "cosine": "squaredcos_cap_v2", "scaled_linear": "scaled_linear"}


class Network(nn.Module):
    """A network that is nonlinear in x, depends on t and mixes pixels, so that any error has an effect."""

    def forward(self, x, t, condition):
        time = (t.to(x.dtype) / 1000).view(-1, 1, 1, 1)
        return 0.6 * torch.tanh(x + 0.3 * x.roll(1, dims=-1)) + 0.4 * torch.sin(3 * time) * x.roll(1, dims=1)


def nothing(batch=BATCH):
    return Condition(torch.zeros(batch, 1, 1), torch.ones(batch, 1, dtype=torch.bool), torch.zeros(batch, 10))


def generators(seed=0):
    return [torch.Generator().manual_seed(seed + i) for i in range(BATCH)]


def start(dtype):
    return noise_like((BATCH, *SHAPE), generators(100)).to(dtype)


def last(states):
    *_, state = states
    return state.x


def assert_same(ours, theirs):
    assert theirs.isfinite().all() and theirs.std() > 1e-3
    assert ((ours - theirs).abs().max() / theirs.abs().max()).item() < 1e-4


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("timesteps", [1000, 100])
def test_tables(name, timesteps):
    ours = getattr(NoiseSchedule, name)(timesteps)
    theirs = DDPMScheduler(num_train_timesteps=timesteps, beta_schedule=BETAS[name]).alphas_cumprod.double()
    t = torch.arange(timesteps)
    torch.testing.assert_close(ours.alpha(t) ** 2, theirs, rtol=2e-4, atol=1e-9)
    torch.testing.assert_close(ours.sigma(t) ** 2, 1 - theirs, rtol=2e-4, atol=2e-7)


def test_table_of_stable_diffusion():
    settings = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    theirs = DDPMScheduler(**settings).alphas_cumprod.double()
    t = torch.arange(1000)
    torch.testing.assert_close(NoiseSchedule.scaled_linear().alpha(t) ** 2, theirs, rtol=2e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["linear", "scaled_linear"])
def test_table_of_zero_terminal_snr(name):
    settings = {"beta_schedule": BETAS[name], "beta_start": 0.0001, "beta_end": 0.02}
    theirs = DDIMScheduler(**settings, rescale_betas_zero_snr=True).alphas_cumprod.double()
    ours = getattr(NoiseSchedule, name)(start=0.0001, end=0.02).zero_terminal_snr()
    t = torch.arange(1000)
    torch.testing.assert_close(ours.alpha(t) ** 2, theirs, rtol=1e-3, atol=2e-7)
    assert ours.alpha(999) == theirs[999] == 0


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
def test_table_of_flow(shift):
    """diffusers lists the noise levels from the noisiest to the cleanest."""
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift).sigmas.double().flip(0)
    ours = NoiseSchedule.flow(shift=shift)
    torch.testing.assert_close(ours.sigma(torch.arange(1000)), theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize("steps", [2, 10, 37])
def test_karras_levels(steps):
    """Noise levels and fractional timesteps of the Karras spacing."""
    scheduler = HeunDiscreteScheduler(beta_start=1e-4, beta_end=0.02, use_karras_sigmas=True)
    scheduler.set_timesteps(steps)
    schedule = NoiseSchedule.linear()
    ours = torch.tensor(schedule.sampling_timesteps(steps, "karras"), dtype=torch.float64)
    sigmas, timesteps = scheduler.sigmas[:-1:2].double(), scheduler.timesteps[::2].double()
    torch.testing.assert_close((-schedule.log_snr(ours) / 2).exp(), sigmas, rtol=1e-3, atol=0)
    torch.testing.assert_close(ours, timesteps, rtol=0, atol=2e-2)


@pytest.mark.parametrize("steps", [2, 7, 10, 40, 50, 333, 1000])
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_spacing(steps, spacing):
    scheduler = DDIMScheduler(timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    assert NoiseSchedule.linear().sampling_timesteps(steps, spacing) == scheduler.timesteps.tolist()


def test_add_noise():
    x0, eps, t = start(torch.float32), noise_like((BATCH, *SHAPE), generators()), torch.tensor([0, 500, 999])
    theirs = DDPMScheduler().add_noise(x0, eps, t)
    torch.testing.assert_close(NoiseSchedule.linear().add_noise(x0, eps, t), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("parameterization", [EPS, X0, V])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(("spacing", "steps"), [("trailing", 50), ("leading", 20)])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_ddim(name, parameterization, eta, spacing, steps, clip):
    scheduler = DDIMScheduler(
        beta_schedule=BETAS[name],
        prediction_type=PREDICTION[parameterization],
        timestep_spacing=spacing,
        clip_sample=clip is not None,
    )
    scheduler.set_timesteps(steps)
    network, x, sources = Network(), start(torch.float64), generators()
    for t in scheduler.timesteps.tolist():
        noise = noise_like(x.shape, sources).to(x)
        output = network(x, torch.full((BATCH,), t), None)
        step = scheduler.step(output, t, x, eta=eta, use_clipped_model_output=True, variance_noise=noise)
        x = step.prev_sample

    denoiser = Denoiser(network, getattr(NoiseSchedule, name)(), parameterization, clip=clip)
    where = {"steps": steps} if spacing == "trailing" else {"timesteps": scheduler.timesteps.tolist()}
    states = ddim(denoiser, start(torch.float64), nothing(), eta=eta, generators=generators(), **where)
    assert_same(last(states), x)


def test_ddim_on_every_timestep():
    scheduler = DDIMScheduler(num_train_timesteps=200, clip_sample=False)
    scheduler.set_timesteps(200)
    network, x = Network(), start(torch.float64)
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(network(x, torch.full((BATCH,), t), None), t, x).prev_sample
    denoiser = Denoiser(network, NoiseSchedule.linear(200), EPS)
    assert_same(last(ddim(denoiser, start(torch.float64), nothing(), steps=200)), x)


def test_ddim_with_an_offset_ending_at_the_first_noise_level():
    """Stable Diffusion's settings: leading, steps_offset 1, set_alpha_to_one False."""
    settings = {"steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False}
    scheduler = DDIMScheduler(timestep_spacing="leading", **settings)
    scheduler.set_timesteps(25)
    timesteps = scheduler.timesteps.tolist()
    network, x = Network(), start(torch.float64)
    for t in timesteps:
        x = scheduler.step(network(x, torch.full((BATCH,), t), None), t, x).prev_sample
    denoiser = Denoiser(network, NoiseSchedule.linear(), EPS)
    assert_same(last(ddim(denoiser, start(torch.float64), nothing(), timesteps=timesteps, end=0)), x)


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("parameterization", [EPS, X0, V])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize(("total", "steps"), [(1000, 25), (100, 100)])
def test_ddpm(name, parameterization, variance, total, steps):
    scheduler = DDPMScheduler(
        num_train_timesteps=total,
        beta_schedule=BETAS[name],
        prediction_type=PREDICTION[parameterization],
        variance_type=variance,
        timestep_spacing="leading",
        clip_sample=True,
    )
    scheduler.set_timesteps(steps)
    # float32: diffusers draws its noise in the dtype of the model's output
    network, x, sources = Network(), start(torch.float32), generators()
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(network(x, torch.full((BATCH,), t), None), t, x, generator=sources).prev_sample

    denoiser = Denoiser(network, getattr(NoiseSchedule, name)(total), parameterization, clip=1.0)
    where = {"timesteps": scheduler.timesteps.tolist(), "variance": variance}
    states = ddpm(denoiser, start(torch.float32), nothing(), generators=generators(), **where)
    assert_same(last(states), x)
