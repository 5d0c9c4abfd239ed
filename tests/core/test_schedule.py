import json

import pytest
import torch

from core.errors import UserError
from core.schedule import NoiseSchedule

SCHEDULES = [NoiseSchedule.linear(), NoiseSchedule.cosine(), NoiseSchedule.cosine(64)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_variance_is_preserved_and_signal_falls(schedule):
    t = torch.arange(-1, schedule.timesteps)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=0, atol=1e-14)
    assert alpha[0] == 1 and sigma[0] == 0
    assert (alpha.diff() < 0).all() and (schedule.log_snr(t[1:]).diff() < 0).all()
    assert schedule.log_snr(-1) == torch.inf


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 3, 5, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_like_gives_dtype_and_broadcastable_shape(shape, dtype):
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


def test_settings_survive_the_checkpoint():
    schedule = NoiseSchedule.linear(100, start=1e-3, end=0.1)
    restored = NoiseSchedule.from_dict(schedule.to_dict())
    assert restored.alpha(99) == schedule.alpha(99) != NoiseSchedule.linear(100).alpha(99)


@pytest.mark.parametrize("steps", [1, 3, 37, 999, 1000])
def test_trailing_starts_at_the_noisiest_and_leading_ends_at_the_cleanest(steps):
    schedule = NoiseSchedule.cosine()
    trailing, leading = schedule.spaced(steps), schedule.spaced(steps, "leading")
    assert trailing[0] == 999 and leading[-1] == 0
    for timesteps in (trailing, leading):
        assert len(timesteps) == steps == len(set(timesteps))
        assert sorted(timesteps, reverse=True) == timesteps and 0 <= timesteps[-1]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: NoiseSchedule.cosine().spaced(0),
        lambda: NoiseSchedule.cosine().spaced(1001),
        lambda: NoiseSchedule.cosine().spaced(10, "middle"),  # type: ignore[arg-type]
        lambda: NoiseSchedule.linear(1),
        lambda: NoiseSchedule.linear(start=0.5, end=0.1),
        lambda: NoiseSchedule.cosine(max_beta=1.0),
        lambda: NoiseSchedule.from_dict({"name": "exotic", "timesteps": 10}),
        lambda: NoiseSchedule.from_dict({"name": "linear", "bend": 2}),
        lambda: NoiseSchedule.from_dict({}),
    ],
)
def test_bad_input_is_one_sentence(wrong):
    with pytest.raises(UserError) as caught:
        wrong()
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_timestep_outside_the_table_is_refused():
    schedule = NoiseSchedule.linear(10)
    for t in (-2, 10):
        with pytest.raises(IndexError):
            schedule.alpha(t)
