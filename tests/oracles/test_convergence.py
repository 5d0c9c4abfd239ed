"""Convergence order of each sampler: error against the exact probability flow, by number of steps."""

import pytest
import torch

from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.samplers import ddim, ddim_inversion, dpm_solver, heun, unipc
from tests.oracles.known import Mixture, Plane, empty_condition

COUNT = 15
SCHEDULES = {
    "cosine": (NoiseSchedule.cosine(), Parameterization.V),
    "linear": (NoiseSchedule.linear(), Parameterization.EPS),
    "karras": (NoiseSchedule.karras(), Parameterization.X0),
    "flow": (NoiseSchedule.flow(shift=3.0), Parameterization.FLOW),
    "zero terminal snr": (NoiseSchedule.scaled_linear().zero_terminal_snr(), Parameterization.V),
}
NOISY, CLEAN = -4.0, 3.0  # log-SNR where the flow starts and ends


def last(states):
    *_, state = states
    return state.x


def times(schedule, steps, noisy=NOISY, clean=CLEAN):
    """Fractional timesteps evenly spaced in log-SNR."""
    return schedule.t_of_log_snr(torch.linspace(noisy, clean, steps + 1, dtype=torch.float64)).tolist()


def error(sampler, known, steps, **settings):
    t = times(known.schedule, steps)
    x = known.quantiles(t[0], COUNT)
    states = sampler(
        known.denoiser(), x, empty_condition(0.0, COUNT), timesteps=t[:-1], end=t[-1], **settings
    )
    return rms(last(states) - known.flow(x, t[0], t[-1]))


def rms(x):
    return x.square().mean().sqrt().item()


def order(errors):
    """The slope of the log-log line through errors by number of steps."""
    steps, values = (torch.tensor([*side]).double().log() for side in (errors.keys(), errors.values()))
    steps, values = steps - steps.mean(), values - values.mean()
    return -(steps @ values / (steps @ steps)).item()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("data", [Mixture, Plane])
@pytest.mark.parametrize(
    ("sampler", "settings", "expected"),
    [
        (ddim, {}, 1),
        (dpm_solver, {}, 2),
        (heun, {}, 2),
        (unipc, {"order": 1}, 2),  # its corrector is one order better
        (unipc, {"order": 2, "variant": "bh1"}, 2),  # here its last step, of lower order, decides
        (unipc, {"order": 2, "variant": "bh2"}, 2),
    ],
    ids=["ddim", "dpm solver", "heun", "unipc 1", "unipc bh1", "unipc bh2"],
)
def test_order(name, data, sampler, settings, expected):
    schedule, parameterization = SCHEDULES[name]
    known = data(schedule, parameterization)
    errors = {steps: error(sampler, known, steps, **settings) for steps in (30, 60, 120)}
    assert order(errors) == pytest.approx(expected, abs=0.1)


def test_heun_is_first_order_at_the_highest_noise_levels_of_a_cosine_schedule():
    """Starting at sigma / alpha 20,000, second-order steps would have an error of 77 after five steps."""
    known = Mixture(NoiseSchedule.cosine())
    start = known.schedule.timesteps - 1
    x = known.quantiles(start, COUNT)
    for steps, limit in ((5, 0.1), (20, 0.02)):
        drawn = last(heun(known.denoiser(), x, empty_condition(0.0, COUNT), steps=steps))
        assert rms(drawn - known.flow(x, start, -1)) < limit


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("by", [2, 3])
def test_order_of_unipc_before_its_last_steps(variant, by):
    """At full order; the corrector makes it one order higher than requested."""
    known = Mixture(*SCHEDULES["cosine"])
    errors = {}
    for steps in (30, 60, 120):
        beyond = CLEAN + by * (CLEAN - NOISY) / steps
        t = times(known.schedule, steps + by, clean=beyond)
        x = known.quantiles(t[0], COUNT)
        states = unipc(
            known.denoiser(),
            x,
            empty_condition(0.0, COUNT),
            timesteps=t[:-1],
            end=t[-1],
            order=by,
            variant=variant,
        )
        full = [state.x for state in states][steps - 1]
        errors[steps] = rms(full - known.flow(x, t[0], t[steps]))
    assert order(errors) > by + 0.8


@pytest.mark.parametrize("name", ["flow", "zero terminal snr"])
@pytest.mark.parametrize(
    ("sampler", "expected"),
    [(ddim, 1), (dpm_solver, 2), (heun, 2), (unipc, 2)],
    ids=["ddim", "dpm solver", "heun", "unipc"],
)
def test_order_from_a_timestep_without_signal(name, sampler, expected):
    """With timesteps evenly spaced from T - 1, where log-SNR is infinite."""
    schedule, parameterization = SCHEDULES[name]
    known = Mixture(schedule, parameterization)
    top = schedule.timesteps - 1
    clean = schedule.t_of_log_snr(1.0).item()
    x = known.quantiles(top, COUNT)
    errors = {}
    for steps in (20, 40, 80):
        t = torch.linspace(top, clean, steps + 1, dtype=torch.float64).tolist()
        states = sampler(known.denoiser(), x, empty_condition(0.0, COUNT), timesteps=t[:-1], end=clean)
        errors[steps] = rms(last(states) - known.flow(x, top, clean))
    assert order(errors) == pytest.approx(expected, abs=0.15)


def test_inversion_follows_the_same_flow_in_reverse():
    known = Mixture(*SCHEDULES["cosine"])
    errors = {}
    for steps in (30, 60, 120):
        t = times(known.schedule, steps)[::-1]
        x = known.quantiles(t[0], COUNT)
        states = ddim_inversion(known.denoiser(), x, empty_condition(0.0, COUNT), timesteps=t[1:], start=t[0])
        errors[steps] = rms(last(states) - known.flow(x, t[0], t[-1]))
    assert order(errors) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", SCHEDULES)
def test_iterated_inversion_undoes_ddim_exactly(name):
    known = Mixture(*SCHEDULES[name])
    denoiser, condition, t = known.denoiser(), empty_condition(0.0, COUNT), times(known.schedule, 20)
    x, off = known.quantiles(t[-1], COUNT), {}
    for iterations in (1, 3, 20):
        up = {"timesteps": t[-2::-1], "start": t[-1], "iterations": iterations}
        noise = last(ddim_inversion(denoiser, x, condition, **up))
        off[iterations] = rms(last(ddim(denoiser, noise, condition, timesteps=t[:-1], end=t[-1])) - x)
    assert off[1] > 5 * off[3] > 0 and off[20] < 1e-8
