import pytest
import torch

from dream3d.distill import DreamTime, LinearAnnealing


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_range_changes_linearly_and_is_then_constant():
    annealing = LinearAnnealing((0.9, 1.0), (0.1, 0.5), until=0.5)
    assert annealing.range(0.0) == (0.9, 1.0)
    assert annealing.range(0.25) == pytest.approx((0.5, 0.75))
    assert annealing.range(0.5) == annealing.range(1.0) == pytest.approx((0.1, 0.5))


def test_every_part_of_the_range_has_one_timestep():
    annealing = LinearAnnealing((0.2, 0.6), (0.2, 0.6))
    orders = set()
    for seed in range(20):
        t = annealing.draw(8, 0.3, 1000, random(seed))
        assert t.dtype == torch.int64
        assert sorted(((t - 200) // 50).tolist()) == list(range(8))
        orders.add(tuple(t.argsort().tolist()))
    assert len(orders) > 10  # no view is always the noisiest


def test_timesteps_are_below_t():
    t = LinearAnnealing((1.0, 1.0), (1.0, 1.0)).draw(4, 0.0, 1000, random())
    assert t.tolist() == [999] * 4


@pytest.mark.parametrize("wrong", [{"start": (0.5, 0.2)}, {"end": (-0.1, 0.5)}, {"until": 0.0}])
def test_invalid_annealing_is_refused(wrong):
    with pytest.raises(ValueError, match="range of timesteps|share of the run"):
        LinearAnnealing(**wrong)


def test_dreamtime_is_non_increasing_and_follows_its_prior():
    dreamtime = DreamTime(plateau=(0.5, 0.8), tails=(0.1, 0.3))
    steps = 2000
    t = torch.tensor([int(dreamtime.draw(3, i / steps, 1000, random())[0]) for i in range(steps + 1)])
    assert (t.diff() <= 0).all()
    assert (t[0], t[-1]) == (980, 20)
    # The plateau's 300 timesteps against the Gaussian tails', cut at 980 and 20.
    share = torch.arange(20, 981, dtype=torch.float64) / 1000
    tails = (
        torch.where(share < 0.5, (share - 0.5) / 0.1, 0) + torch.where(share > 0.8, (share - 0.8) / 0.3, 0)
    ).square()
    expected = 301 / (-tails / 2).exp().sum().item()
    assert ((t >= 500) & (t <= 800)).double().mean().item() == pytest.approx(expected, abs=2 / steps)


@pytest.mark.parametrize("wrong", [{"plateau": (0.8, 0.5)}, {"tails": (0.0, 0.3)}, {"limits": (0.5, 0.5)}])
def test_invalid_dreamtime_is_refused(wrong):
    with pytest.raises(ValueError, match="invalid DreamTime schedule"):
        DreamTime(**wrong)
