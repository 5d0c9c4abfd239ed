"""Sampling options: each name is its sampler, guidance is what the options give, and what is refused."""

import pytest
import torch

import core.sampling
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.guidance import ClassifierFreeGuidance, GuidanceInterval
from core.samplers import SamplerState
from core.sampling import guide, sample_latents, start_sampler
from core.sampling_options import SamplingOptions
from tests.oracles.known import Gaussian, Mixture, empty_condition

FUNCTIONS = {
    None: "ddim",
    "ddim": "ddim",
    "ddpm": "ddpm",
    "dpm-solver++": "dpm_solver",
    "unipc": "unipc",
    "heun": "heun",
    "euler": "euler",
    "lcm": "lcm",
    "tcd": "tcd",
}


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_name_reaches_its_sampler_and_no_other(name, monkeypatch) -> None:
    called = []
    for function in set(FUNCTIONS.values()):
        original = getattr(core.sampling, function)
        monkeypatch.setattr(
            core.sampling, function, lambda *a, f=function, o=original, **k: called.append(f) or o(*a, **k)
        )
    schedule = NoiseSchedule.flow() if name == "euler" else NoiseSchedule.cosine()
    denoiser, none = Mixture(schedule).denoiser(), empty_condition(0.0, 1)
    noise = torch.randn(1, 1, dtype=torch.float64, generator=generators(1)[0])
    options = SamplingOptions(4, 1.0, sampler=name)
    sample_latents(denoiser, noise, none, none, options, generators(1))
    assert called == [FUNCTIONS[name]]


@pytest.mark.parametrize("name", ["ddim", "dpm-solver++", "unipc", "heun"])
def test_deterministic_samplers_follow_the_exact_flow(name) -> None:
    """With many steps each ends where the probability flow of the mixture ends."""
    mixture = Mixture(NoiseSchedule.cosine())
    start = mixture.quantiles(999, 9)
    none = empty_condition(0.0, 9)
    options = SamplingOptions(250, 1.0, sampler=name)
    found = sample_latents(mixture.denoiser(), start, none, none, options, [])
    expected = mixture.flow(start[:, 0], torch.tensor(999), torch.tensor(-1))[:, None]
    torch.testing.assert_close(found, expected, atol=0.04, rtol=0)


def test_eta_and_ddpm_draw_from_each_samples_own_generator() -> None:
    mixture, none = Mixture(NoiseSchedule.cosine()), empty_condition(0.0, 2)
    start = mixture.quantiles(999, 2)
    for options in (SamplingOptions(8, 1.0, eta=1.0), SamplingOptions(8, 1.0, sampler="ddpm")):
        both = sample_latents(mixture.denoiser(), start, none, none, options, generators(2))
        again = sample_latents(
            mixture.denoiser(), start[1:], none[1], none[1], options, [torch.Generator().manual_seed(1)]
        )
        plain = sample_latents(mixture.denoiser(), start, none, none, SamplingOptions(8, 1.0), generators(2))
        assert torch.equal(both[1:], again) and not torch.allclose(both, plain, atol=1e-3)


def test_guidance_is_as_the_options_say() -> None:
    denoiser, negative = Gaussian(NoiseSchedule.cosine()).denoiser(), empty_condition(-1.0, 1)
    plain = guide(denoiser, negative, SamplingOptions(1, 3.0, guidance_rescale=0.4))
    assert isinstance(plain, ClassifierFreeGuidance) and (plain.scale, plain.rescale) == (3.0, 0.4)
    limited = guide(denoiser, negative, SamplingOptions(1, 3.0, guidance_interval=(0.5, 2.0)))
    assert isinstance(limited, GuidanceInterval)
    x, positive = torch.ones(1, 4, dtype=torch.float64), empty_condition(1.0, 1)
    schedule = denoiser.schedule
    for log_snr, guided in ((0.0, True), (-6.0, False), (6.0, False)):  # sigma / alpha 1, 20 and 1 / 20
        t = schedule.t_of_log_snr(log_snr).reshape(1)
        reference = plain if guided else denoiser
        if guided:
            reference = ClassifierFreeGuidance(denoiser, 3.0, negative)
        torch.testing.assert_close(limited(x, t, positive).x0, reference(x, t, positive).x0)


def test_callers_see_every_step_and_can_constrain_the_start() -> None:
    mixture, none = Mixture(NoiseSchedule.cosine()), empty_condition(0.0, 1)
    steps, starts = [], []

    def constrain(denoiser, noise, t):
        starts.append(t)
        return denoiser, noise + 1

    start = mixture.quantiles(999, 2)[:1]
    options = SamplingOptions(3, 1.0)
    found = sample_latents(
        mixture.denoiser(), start, none, none, options, [], on_step=steps.append, constrain=constrain
    )
    plain = sample_latents(mixture.denoiser(), start + 1, none, none, options, [])
    assert [state.step for state in steps] == [1, 2, 3] and starts == [999]
    assert torch.equal(found, plain) and torch.equal(found, steps[-1].x)


def test_a_given_path_is_followed() -> None:
    mixture, none = Mixture(NoiseSchedule.cosine()), empty_condition(0.0, 1)
    states = start_sampler(
        mixture.denoiser(), mixture.quantiles(800, 2)[:1], none, SamplingOptions(3, 1.0), [],
        timesteps=[800, 400, 100], end=50,
    )  # fmt: skip
    assert [state.t for state in states] == [800, 400, 100]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sampler": "magic"}, "There is no sampler 'magic': give one of ddim, ddpm, dpm-solver"),
        ({"guidance_scale": -1.0}, "The guidance scale must be from 0 to 100"),
        ({"guidance_scale": float("nan")}, "The guidance scale must be from 0 to 100"),
        ({"sampler": "heun", "eta": 0.5}, "eta is an option of ddim and tcd"),
        ({"sampler": "tcd", "eta": 1.5}, "The eta of tcd must be from 0 to 1, not 1.5"),
        ({"guidance_interval": (2.0, 1.0)}, "A guidance interval needs 0 <= low < high, not 2 and 1"),
        ({"guidance_scale": 1.0, "guidance_interval": (0.0, 1.0)}, "needs guidance"),
        ({"guidance_rescale": 1.5}, "The guidance rescale must be from 0 to 1"),
    ],
)
def test_what_is_refused(options, sentence) -> None:
    with pytest.raises(UserError, match=sentence.replace("+", r"\+")):
        SamplingOptions(**({"steps": 4, "guidance_scale": 3.0} | options))


def test_a_sample_that_is_not_finite_is_refused_at_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prediction is finite, and the sampler's arithmetic with it is not."""
    mixture, none = Mixture(NoiseSchedule.cosine()), empty_condition(0.0, 1)
    states = [
        SamplerState(torch.full((1, 1), value), torch.zeros(1, 1), step, 3, 0)
        for step, value in enumerate((1.0, float("inf"), 1.0), 1)
    ]
    monkeypatch.setattr(core.sampling, "ddim", lambda *_, **__: iter(states))
    seen: list[SamplerState] = []
    with pytest.raises(UserError, match="The sample is not finite after step 2 of 3"):
        sample_latents(
            mixture.denoiser(),
            torch.zeros(1, 1),
            none,
            none,
            SamplingOptions(3, 1.0),
            [],
            on_step=seen.append,
        )
    assert seen == states[:1]
