"""Noise schedules: their tables, interpolation, posterior, serialization and timestep spacings."""

import json

import numpy as np
import pytest
import torch

from core.diffusion.process import Process
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError

PRESERVING = [
    NoiseSchedule.linear(),
    NoiseSchedule.scaled_linear(),
    NoiseSchedule.cosine(),
    NoiseSchedule.cosine(64),
    NoiseSchedule.sigmoid(),
    NoiseSchedule.sigmoid(100, start=0.0, end=3.0, tau=0.9),
    NoiseSchedule.scaled_linear().zero_terminal_snr(),
    NoiseSchedule.cosine(64).zero_terminal_snr(),
]
FLOWS = [NoiseSchedule.flow(), NoiseSchedule.flow(64, shift=3.0)]
EXPLODING = [NoiseSchedule.karras(), NoiseSchedule.karras(64, 0.01, 20.0, 3.0)]
SCHEDULES = [*PRESERVING, *FLOWS, *EXPLODING]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("fractional", [False, True])
def test_alpha_and_sigma_satisfy_the_process_and_snr_decreases(schedule, fractional):
    t = torch.arange(-1, schedule.timesteps)
    if fractional:
        t = torch.linspace(-1, schedule.timesteps - 1, 777, dtype=torch.float64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    constant = {
        Process.VARIANCE_PRESERVING: alpha**2 + sigma**2,
        Process.RECTIFIED_FLOW: alpha + sigma,
        Process.VARIANCE_EXPLODING: alpha,
    }[schedule.process]
    torch.testing.assert_close(constant, torch.ones_like(alpha), rtol=0, atol=1e-14)
    assert alpha[0] == 1 and sigma[0] == 0 and (sigma.diff() >= 0).all()
    assert (schedule.log_snr(t).diff() < 0).all() and schedule.log_snr(-1) == torch.inf


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_fractional_timesteps_interpolate_log_snr_and_t_of_log_snr_inverts(schedule):
    """Fractional timesteps agree with the tables at integers and are linear in log-SNR between them."""
    integers = torch.arange(-1, schedule.timesteps)
    torch.testing.assert_close(
        schedule.alpha(integers.double()), schedule.alpha(integers), rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(
        schedule.sigma(integers.double()), schedule.sigma(integers), rtol=1e-9, atol=1e-12
    )
    inside = integers[1:-2]
    between = (schedule.log_snr(inside) * 3 + schedule.log_snr(inside + 1)) / 4
    torch.testing.assert_close(schedule.log_snr(inside + 0.25), between)
    t = torch.linspace(-1, schedule.timesteps - 1, 777, dtype=torch.float64)
    torch.testing.assert_close(schedule.t_of_log_snr(schedule.log_snr(t)), t, rtol=0, atol=1e-6)
    assert schedule.t_of_log_snr(torch.inf) == -1
    assert schedule.t_of_log_snr(-torch.inf) == schedule.timesteps - 1
    assert schedule.sigma(10) < schedule.sigma(10.5) < schedule.sigma(11)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_posterior_is_finite_at_every_timestep(schedule):
    """Also at a last timestep without signal, where x_t is uninformative and q(x_s | x_0) remains."""
    t = torch.arange(schedule.timesteps)
    x0, xt = torch.full((len(t), 1), 0.7).double(), torch.full((len(t), 1), -0.4).double()
    for previous in (t - 1, torch.full_like(t, -1)):
        assert all(part.isfinite().all() for part in schedule.posterior(x0, xt, t, previous))
    if schedule.alpha(schedule.timesteps - 1) == 0:
        last, before = t[-1:], t[-1:] - 1
        mean, variance, _ = schedule.posterior(x0[-1:], xt[-1:], last)
        torch.testing.assert_close(mean[:, 0], schedule.alpha(before) * 0.7)
        torch.testing.assert_close(variance[:, 0], schedule.sigma(before) ** 2)


def test_zero_terminal_snr_rescales_alpha_linearly_and_preserves_the_first():
    """Lin et al. 2023, algorithm 1: sqrt(abar) is shifted and scaled linearly."""
    plain, t = NoiseSchedule.linear(), torch.arange(1000)
    rescaled = plain.zero_terminal_snr()
    assert rescaled.alpha(999) == 0 and rescaled.sigma(999) == 1 and rescaled.log_snr(999) == -torch.inf
    assert rescaled.alpha(0).item() == pytest.approx(plain.alpha(0).item(), abs=1e-15)
    ratio = (rescaled.alpha(t[:-1]) - rescaled.alpha(t[1:])) / (plain.alpha(t[:-1]) - plain.alpha(t[1:]))
    torch.testing.assert_close(ratio, torch.full_like(ratio, ratio[0].item()), rtol=1e-8, atol=0)


def test_sigmoid_is_jabris():
    """Algorithm 1 of the appendix of Jabri et al. 2022, at times from 1 / T to 1, clipped there at 1e-9."""
    schedule = NoiseSchedule.sigmoid(1000, start=-3, end=3, tau=0.9, max_beta=0.9999999)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    time = np.arange(1, 1001) / 1000
    low, high = sigmoid(-3 / 0.9), sigmoid(3 / 0.9)
    gamma = (high - sigmoid((time * 6 - 3) / 0.9)) / (high - low)
    abar = schedule.alpha(torch.arange(1000)).numpy() ** 2
    np.testing.assert_allclose(abar, np.clip(gamma, 1e-9, 1), rtol=1e-8, atol=2e-9)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 3, 5, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_like_determines_dtype_and_broadcastable_shape(shape, dtype):
    schedule, t = NoiseSchedule.linear(), torch.tensor([0, 999])
    x = torch.ones(shape, dtype=dtype)
    alpha = schedule.alpha(t, x)
    assert alpha.dtype == dtype and alpha.shape == (2, *[1] * (len(shape) - 1))
    noised = schedule.add_noise(x, torch.zeros_like(x), t)
    assert noised.dtype == dtype and torch.equal(noised, alpha.expand(shape))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_a_checkpoint_restores_the_same_tables(schedule):
    stored = json.loads(json.dumps(schedule.to_dict()))
    restored = NoiseSchedule.from_dict(stored)
    t = torch.arange(schedule.timesteps)
    assert restored.timesteps == schedule.timesteps and restored.name == schedule.name
    assert torch.equal(restored.alpha(t), schedule.alpha(t))
    assert restored.to_dict() == stored


def test_a_checkpoint_restores_the_settings():
    schedule = NoiseSchedule.linear(100, start=1e-3, end=0.1)
    restored = NoiseSchedule.from_dict(schedule.to_dict())
    assert restored.alpha(99) == schedule.alpha(99) != NoiseSchedule.linear(100).alpha(99)


@pytest.mark.parametrize("steps", [1, 2, 3, 37, 999, 1000])
@pytest.mark.parametrize("schedule", [NoiseSchedule.cosine(), NoiseSchedule.karras(1000, rho=5.0)], ids=repr)
def test_spacings_run_from_the_noisiest_to_the_cleanest_timestep(schedule, steps):
    for spacing in ("linspace", "quadratic", "karras"):
        timesteps = schedule.sampling_timesteps(steps, spacing)
        assert timesteps[0] == pytest.approx(999) and (
            steps == 1 or timesteps[-1] == pytest.approx(0, abs=1e-9)
        )
        assert len(set(timesteps)) == steps and sorted(timesteps, reverse=True) == timesteps
        assert spacing == "karras" or all(isinstance(t, int) for t in timesteps)


def test_quadratic_spacing_is_denser_towards_clean_data():
    squares = [round(999 * (i / 9) ** 2) for i in reversed(range(10))]
    assert NoiseSchedule.cosine().sampling_timesteps(10, "quadratic") == squares


def test_karras_spacing_is_even_on_a_karras_schedule():
    """sigma^(1/rho) is linear in t there, so 4 steps visit every third of 10 timesteps."""
    schedule = NoiseSchedule.karras(10)
    assert schedule.sampling_timesteps(4, "karras") == pytest.approx([9, 6, 3, 0], abs=1e-9)


@pytest.mark.parametrize("steps", [1, 3, 37, 999, 1000])
def test_trailing_starts_at_the_noisiest_and_leading_ends_at_the_cleanest(steps):
    schedule = NoiseSchedule.cosine()
    trailing, leading = schedule.sampling_timesteps(steps), schedule.sampling_timesteps(steps, "leading")
    assert trailing[0] == 999 and leading[-1] == 0
    for timesteps in (trailing, leading):
        assert len(timesteps) == steps == len(set(timesteps))
        assert sorted(timesteps, reverse=True) == timesteps and timesteps[-1] >= 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: NoiseSchedule.cosine().sampling_timesteps(0),
        lambda: NoiseSchedule.cosine().sampling_timesteps(1001),
        lambda: NoiseSchedule.cosine().sampling_timesteps(10, "middle"),  # type: ignore[arg-type]
        lambda: NoiseSchedule.flow().sampling_timesteps(10, "karras"),
        lambda: NoiseSchedule.scaled_linear(start=0.0),
        lambda: NoiseSchedule.sigmoid(start=3.0, end=-3.0),
        lambda: NoiseSchedule.sigmoid(tau=0.0),
        lambda: NoiseSchedule.karras(sigma_min=0.0),
        lambda: NoiseSchedule.flow(shift=0.0),
        lambda: NoiseSchedule.flow().zero_terminal_snr(),
        lambda: NoiseSchedule.from_dict({"name": "karras", "zero_terminal_snr": True}),
        lambda: NoiseSchedule.linear(1),
        lambda: NoiseSchedule.linear(start=0.5, end=0.1),
        lambda: NoiseSchedule.cosine(max_beta=1.0),
        lambda: NoiseSchedule.from_dict({"name": "exotic", "timesteps": 10}),
        lambda: NoiseSchedule.from_dict({"name": "linear", "bend": 2}),
        lambda: NoiseSchedule.from_dict({}),
    ],
)
def test_invalid_input_raises_user_error_in_one_sentence(wrong):
    with pytest.raises(UserError) as caught:
        wrong()
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_an_unknown_name_raises_an_error_that_lists_the_known_ones():
    with pytest.raises(UserError, match="linear, scaled_linear, cosine, sigmoid, karras, flow"):
        NoiseSchedule.from_dict({"name": "exotic"})


def test_a_timestep_outside_the_table_raises_index_error():
    schedule = NoiseSchedule.linear(10)
    for t in (-2, 10, -1.5, 9.5, float("nan")):
        with pytest.raises(IndexError):
            schedule.alpha(t)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("t", [7, 12.25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scales_are_alpha_and_sigma_for_every_memory_layout_of_t(schedule, t, dtype):
    like = torch.zeros(3, 2, 4, 4, dtype=dtype)
    copied, expanded = torch.full((3,), t), torch.tensor(t).expand(3)
    alpha, sigma = schedule.alpha(copied, like), schedule.sigma(copied, like)
    for t_rows in (copied, expanded, expanded):
        for actual, expected in zip(schedule.scales(t_rows, like), (alpha, sigma), strict=True):
            assert actual.dtype == dtype and torch.equal(actual.expand_as(alpha), expected)
    mixed = torch.tensor([3, 9, 30])
    assert torch.equal(schedule.scales(mixed, like)[0], schedule.alpha(mixed, like))
