"""Whole rollouts against diffusers' schedulers, and sums that its own tests publish: same model and noise."""

import pytest
import torch
from diffusers import (
    DDIMInverseScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from torch import nn

from core.diffusion.denoiser import Denoiser, Prediction
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.diffusion.timestep_spacing import distilled
from core.samplers import ddim, ddim_inversion, ddpm, dpm_solver, euler, heun, lcm, noise_like, tcd, unipc
from core.sampling import sample_latents
from core.sampling_options import SamplingOptions
from tests.oracles.known import empty_condition

BATCH, SHAPE = 3, (3, 4, 4)
EPS, X0, V, FLOW = Parameterization
PREDICTION = {EPS: "epsilon", X0: "sample", V: "v_prediction"}
BETAS = {"linear": "linear", "cosine": "squaredcos_cap_v2", "scaled_linear": "scaled_linear"}
STABLE_DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
CONDITION = empty_condition(0.0, BATCH)


class Network(nn.Module):
    """A network that is nonlinear in x, depends on t and mixes pixels, so that any error has an effect."""

    def forward(self, x, t, condition=None):
        time = (t.to(x.dtype) / 1000).view(-1, 1, 1, 1)
        return 0.6 * torch.tanh(x + 0.3 * x.roll(1, dims=-1)) + 0.4 * torch.sin(3 * time) * x.roll(1, dims=1)


def generators(seed=0):
    return [torch.Generator().manual_seed(seed + i) for i in range(BATCH)]


def start():
    return noise_like((BATCH, *SHAPE), generators(100)).double()


def last(states):
    *_, state = states
    return state.x


def theirs(scheduler, x, network, **step):
    for t in scheduler.timesteps:
        in_sigma = isinstance(scheduler, (HeunDiscreteScheduler, EulerDiscreteScheduler))
        scaled = scheduler.scale_model_input(x, t) if in_sigma else x
        output = network(scaled, t.expand(len(x)))
        x = scheduler.step(output, t, x, **step).prev_sample
    return x


def assert_same(ours, theirs):
    assert theirs.isfinite().all() and theirs.std() > 1e-3
    assert ((ours - theirs).abs().max() / theirs.abs().max()).item() < 1e-4


@pytest.mark.parametrize("steps", [10, 50])
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
def test_ddim_with_zero_terminal_snr(steps, spacing):
    scheduler = DDIMScheduler(
        **STABLE_DIFFUSION,
        rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
        timestep_spacing=spacing,
        clip_sample=False,
    )
    scheduler.set_timesteps(steps)
    schedule = NoiseSchedule.scaled_linear().zero_terminal_snr()
    states = ddim(
        Denoiser(Network(), schedule, V),
        start(),
        CONDITION,
        timesteps=schedule.sampling_timesteps(steps, spacing),
    )
    assert_same(last(states), theirs(scheduler, start(), Network()))


class WithVariance:
    """A network whose second half of channels is the variance, from -1 (beta~) to 1 (beta)."""

    def __init__(self, schedule):
        self.inner = Denoiser(Network(), schedule, EPS, clip=1.0)
        self.schedule = schedule

    def __call__(self, x, t, condition):
        x0, eps, _ = self.inner(x, t, condition)
        return Prediction(x0, eps, (torch.sin(2 * x) + 1) / 2)


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize(("total", "steps"), [(1000, 25), (100, 100)])
def test_ddpm_with_learned_variance(name, total, steps):
    scheduler = DDPMScheduler(
        num_train_timesteps=total, beta_schedule=BETAS[name], variance_type="learned_range", clip_sample=True
    )
    scheduler.set_timesteps(steps)

    # float32: diffusers draws its noise in the dtype of the model's output
    def both(x, t):
        return torch.cat([Network()(x, t), torch.sin(2 * x)], dim=1)

    run = {"timesteps": scheduler.timesteps.tolist(), "variance": "learned", "generators": generators()}
    denoiser = WithVariance(getattr(NoiseSchedule, name)(total))
    states = ddpm(denoiser, start().float(), CONDITION, **run)
    assert_same(last(states), theirs(scheduler, start().float(), both, generator=generators()))


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("clean", [True, False])
def test_ddim_inversion(name, spacing, clean):
    """For eps-prediction only: for others diffusers mixes the noise levels of two timesteps."""
    scheduler = DDIMInverseScheduler(
        beta_schedule=BETAS[name], timestep_spacing=spacing, clip_sample=False, set_alpha_to_one=clean
    )
    scheduler.set_timesteps(20)
    x, begin = 0.5 * start(), -1 if clean else 0
    run = {"timesteps": [t for t in scheduler.timesteps.tolist() if t > begin], "start": begin}
    denoiser = Denoiser(Network(), getattr(NoiseSchedule, name)(), EPS)
    assert_same(last(ddim_inversion(denoiser, x, CONDITION, **run)), theirs(scheduler, x, Network()))


# Of the cosine schedule diffusers' float32 leaves no digits of sigma at t = 0.
@pytest.mark.parametrize(("name", "clean"), [("linear", True), ("cosine", True), ("linear", False)])
@pytest.mark.parametrize("parameterization", [EPS, X0, V])
@pytest.mark.parametrize("steps", [2, 8, 25])
def test_dpm_solver(name, parameterization, steps, clean):
    scheduler = DPMSolverMultistepScheduler(
        beta_schedule=BETAS[name],
        prediction_type=PREDICTION[parameterization],
        final_sigmas_type="zero" if clean else "sigma_min",
        lower_order_final=clean,
    )
    scheduler.set_timesteps(steps)
    run = {"timesteps": scheduler.timesteps.tolist(), "end": -1 if clean else 0}
    denoiser = Denoiser(Network(), getattr(NoiseSchedule, name)(), parameterization)
    assert_same(last(dpm_solver(denoiser, start(), CONDITION, **run)), theirs(scheduler, start(), Network()))


@pytest.mark.parametrize("parameterization", [EPS, X0, V])
@pytest.mark.parametrize("steps", [2, 8, 25])
@pytest.mark.parametrize("order", [1, 2, 3])
# With "bh1" diffusers' last step to clean data is NaN.
@pytest.mark.parametrize(
    ("name", "variant", "clean"),
    [("linear", "bh2", True), ("cosine", "bh2", True), ("linear", "bh2", False), ("linear", "bh1", False)],
)
def test_unipc(name, parameterization, steps, order, variant, clean):
    scheduler = UniPCMultistepScheduler(
        beta_schedule=BETAS[name],
        prediction_type=PREDICTION[parameterization],
        solver_order=order,
        solver_type=variant,
        final_sigmas_type="zero" if clean else "sigma_min",
    )
    scheduler.set_timesteps(steps)
    run = {"timesteps": scheduler.timesteps.tolist(), "end": -1 if clean else 0}
    run |= {"order": order, "variant": variant}
    denoiser = Denoiser(Network(), getattr(NoiseSchedule, name)(), parameterization)
    assert_same(last(unipc(denoiser, start(), CONDITION, **run)), theirs(scheduler, start(), Network()))


@pytest.mark.parametrize("name", ["linear", "scaled_linear"])
@pytest.mark.parametrize("parameterization", [EPS, V])
@pytest.mark.parametrize("spacing", ["linspace", "karras"])
def test_heun(name, parameterization, spacing):
    """diffusers samples in x / alpha, and has no churn."""
    settings = STABLE_DIFFUSION if name == "scaled_linear" else {"beta_start": 1e-4, "beta_end": 0.02}
    scheduler = HeunDiscreteScheduler(
        **settings, prediction_type=PREDICTION[parameterization], use_karras_sigmas=spacing == "karras"
    )
    scheduler.set_timesteps(10)
    schedule = getattr(NoiseSchedule, name)()
    timesteps = schedule.sampling_timesteps(10, spacing)
    assert torch.allclose(torch.tensor(timesteps).float(), scheduler.timesteps[::2].float(), atol=1e-2)
    states = heun(Denoiser(Network(), schedule, parameterization), start(), CONDITION, timesteps=timesteps)
    assert_same(last(states), theirs(scheduler, start() / schedule.alpha(999), Network()))


class Timed(nn.Module):
    """A network conditioned on 1000 sigma, as the flow models of diffusers are."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.network = schedule, Network()

    def forward(self, x, t, condition):
        return self.network(x, 1000 * self.schedule.sigma(t))


def flow(shift=1.0):
    schedule = NoiseSchedule.flow(shift=shift)
    return Denoiser(Timed(schedule), schedule, FLOW)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 8, 40])
def test_flow_euler(shift, steps):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
    expected = theirs(scheduler, start(), Network())
    assert_same(last(euler(flow(shift), start(), CONDITION, steps=steps)), expected)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_euler_at_the_noise_levels_of_diffusers(shift):
    """diffusers shifts twice by default; any noise levels correspond to fractional timesteps."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(12)
    denoiser = flow()
    run = {"timesteps": at(denoiser.schedule, scheduler.sigmas[:-1])}
    assert_same(last(euler(denoiser, start(), CONDITION, **run)), theirs(scheduler, start(), Network()))


def at(schedule, sigmas):
    """The timesteps of a flow schedule at given sigmas."""
    sigmas = sigmas.double()
    return schedule.t_of_log_snr(2 * (1 - sigmas).log() - 2 * sigmas.log()).tolist()


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize(
    ("sampler", "scheduler"), [(dpm_solver, DPMSolverMultistepScheduler), (unipc, UniPCMultistepScheduler)]
)
def test_second_order_samplers_on_flow(sampler, scheduler, shift):
    """As in Wan. diffusers starts just below sigma = 1, and rounds the timesteps passed to the network."""
    scheduler = scheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)
    scheduler.set_timesteps(20)
    scheduler.sigmas = scheduler.sigmas.double()
    scheduler.timesteps = 1000 * scheduler.sigmas[:-1]
    denoiser = flow()
    run = {"timesteps": at(denoiser.schedule, scheduler.sigmas[:-1])}
    assert_same(last(sampler(denoiser, start(), CONDITION, **run)), theirs(scheduler, start(), Network()))


class Dummy(nn.Module):
    """The model of diffusers' tests/schedulers/test_schedulers.py."""

    def forward(self, x, t, condition=None):
        t = t.to(x.dtype).view(-1, 1, 1, 1)
        return x * t / (t + 1)


def dummy_sample():
    count = 4 * 3 * 8 * 8
    return (torch.arange(count).reshape(3, 8, 8, 4) / count).permute(3, 0, 1, 2)


PLAIN = {"beta_start": 1e-4, "beta_end": 0.02, "clip_sample": True}
STEEP = PLAIN | {"beta_start": 0.01}
FREE = {"clip_sample": False}  # nothing is clipped there
SOLVER = {"beta_start": 1e-4, "beta_end": 0.02, "final_sigmas_type": "sigma_min"}
FULL_ORDER = SOLVER | {"lower_order_final": False}
V_PREDICTION = {"prediction_type": "v_prediction"}


@pytest.mark.parametrize(
    ("scheduler", "settings", "sampler", "ends", "mean", "total"),
    [
        (DDPMScheduler, PLAIN, ddpm, {}, 0.3372, 258.9606),
        (DDPMScheduler, PLAIN | V_PREDICTION, ddpm, {}, 0.2631, 202.0296),
        (DDIMScheduler, PLAIN, ddim, {}, 0.223967, 172.0067),
        (DDIMScheduler, PLAIN | V_PREDICTION, ddim, {}, 0.0684, 52.5302),
        (DDIMScheduler, STEEP | {"set_alpha_to_one": True}, ddim, {}, 0.1951, 149.8295),
        (DDIMScheduler, STEEP | {"set_alpha_to_one": False}, ddim, {"end": 0}, 0.1941, 149.0784),
        (DDIMInverseScheduler, PLAIN | FREE, ddim_inversion, {}, 0.8746, 671.6816),
        (DDIMInverseScheduler, STEEP | FREE, ddim_inversion, {}, 0.7031, 539.9622),
        (
            DPMSolverMultistepScheduler,
            SOLVER | {"lower_order_final": False},
            dpm_solver,
            {"end": 0},
            0.3301,
            None,
        ),
        (UniPCMultistepScheduler, SOLVER, unipc, {"end": 0}, 0.2464, None),
        (UniPCMultistepScheduler, SOLVER | V_PREDICTION, unipc, {"end": 0}, 0.1014, None),
    ],
)
def test_published_sums(scheduler, settings, sampler, ends, mean, total):
    """Mean and sum of |x| after the full loop of diffusers' tests: it keeps to them here, and so do we.

    (Those of its Heun are left out: that loop steps from an input scaled by mistake, and shrinks to 0.)
    """
    reference = scheduler(**settings)
    if sampler is not ddpm:
        reference.set_timesteps(10)
    noise = {"generator": torch.Generator().manual_seed(0)} if sampler is ddpm else {}
    expected = theirs(reference, dummy_sample(), Dummy(), **noise)

    denoiser = Denoiser(
        Dummy(),
        NoiseSchedule.linear(start=settings["beta_start"]),
        V if "prediction_type" in settings else EPS,
        clip=1.0 if settings.get("clip_sample") else None,
    )
    # One generator for the whole batch there: drawing from it sample by sample comes to the same.
    noise = {"generators": [torch.Generator().manual_seed(0)] * 4} if sampler is ddpm else {}
    timesteps = [t for t in reference.timesteps.tolist() if t > ends.get("end", -1)]
    run = {"timesteps": timesteps, **ends, **noise}
    ours = last(sampler(denoiser, dummy_sample(), empty_condition(0.0, 4), **run))
    for x in (expected, ours):
        assert x.abs().mean().item() == pytest.approx(mean, abs=1e-4)
        assert total is None or x.abs().sum().item() == pytest.approx(total, abs=1e-2)


@pytest.mark.parametrize("parameterization", [EPS, V, X0])
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_lcm(parameterization, steps):
    scheduler = LCMScheduler(**STABLE_DIFFUSION, prediction_type=PREDICTION[parameterization])
    scheduler.set_timesteps(steps)
    denoiser = Denoiser(Network(), NoiseSchedule.scaled_linear(), parameterization)
    run = {"timesteps": distilled(1000, steps), "generators": generators()}
    x = start().float()  # diffusers draws its noise in the dtype of the model's output
    assert_same(
        last(lcm(denoiser, x, CONDITION, **run)), theirs(scheduler, x, Network(), generator=generators())
    )


@pytest.mark.parametrize("parameterization", [EPS, V, X0])
@pytest.mark.parametrize("steps", [1, 4, 8])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_tcd(parameterization, steps, eta):
    scheduler = TCDScheduler(**STABLE_DIFFUSION, prediction_type=PREDICTION[parameterization])
    scheduler.set_timesteps(steps)
    denoiser = Denoiser(Network(), NoiseSchedule.scaled_linear(), parameterization)
    run = {"timesteps": distilled(1000, steps), "generators": generators(), "eta": eta}
    x, step = start().float(), {"generator": generators(), "eta": eta}
    assert_same(last(tcd(denoiser, x, CONDITION, **run)), theirs(scheduler, x, Network(), **step))


@pytest.mark.parametrize("scheduler", [LCMScheduler, TCDScheduler])
@pytest.mark.parametrize("teacher_steps", [50, 40, 25])
def test_timesteps_of_distilled_models(scheduler, teacher_steps):
    scheduler = scheduler(original_inference_steps=teacher_steps)
    for steps in range(1, teacher_steps + 1):
        scheduler.set_timesteps(steps)
        assert distilled(1000, steps, teacher_steps) == scheduler.timesteps.tolist()


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 25])
def test_euler_off_a_flow(steps):
    """As SDXL-Lightning and AnimateDiff-Lightning are sampled: Euler with trailing timesteps."""
    scheduler = EulerDiscreteScheduler(**STABLE_DIFFUSION, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    denoiser = Denoiser(Network(), NoiseSchedule.scaled_linear(), EPS)
    options = SamplingOptions(steps, 1.0, sampler="euler")
    ours = sample_latents(denoiser, start(), CONDITION, CONDITION, options, generators())
    assert_same(ours, theirs(scheduler, start() * scheduler.init_noise_sigma, Network()))
