"""Timestep samplers: their distributions and importance weights."""

import pytest
import torch

from core.training.timesteps import ImportanceTimesteps, UniformTimesteps

CPU = torch.device("cpu")
COSTS = torch.linspace(0.5, 20, 25, dtype=torch.float64)  # typical loss of each timestep


def make_sampler(costs=COSTS, history=10):
    """A sampler with `history` recorded losses around `costs` for every timestep."""
    generator = torch.Generator().manual_seed(1)
    sampler = ImportanceTimesteps(len(costs))
    for _ in range(history):
        noise = 0.8 + 0.4 * torch.rand(len(costs), generator=generator).double()
        sampler.update(torch.arange(len(costs)), costs * noise)
    return sampler


def test_uniform_timesteps_are_stratified_with_equal_weights():
    torch.manual_seed(0)
    t, weight = UniformTimesteps(1000).draw(10, CPU)
    assert torch.equal((t // 100).sort().values, torch.arange(10))
    assert torch.equal(weight, torch.ones(10))


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_shifted_timesteps_have_the_quantiles_of_the_inverse_map(shift):
    """t / T = x is reached by the uniform u = x / (s - (s - 1) x)."""
    t, weight = UniformTimesteps(1000, shift).draw(2000, CPU)
    assert t.min() >= 0 and t.max() < 1000 and torch.equal(weight, torch.ones(2000))
    for x in (0.1, 0.25, 0.5, 0.75, 0.9):
        share = (t < 1000 * x).float().mean().item()
        assert share == pytest.approx(x / (shift - (shift - 1) * x), abs=4e-3)


def test_importance_is_uniform_until_every_history_is_full():
    sampler = make_sampler(history=9)
    sampler.update(torch.arange(24), COSTS[:24])
    assert torch.equal(sampler.probabilities(), torch.full((25,), 1 / 25, dtype=torch.float64))
    sampler.update(torch.tensor([24]), COSTS[24:])
    assert sampler.probabilities()[24] > 1.5 / 25


def test_importance_is_the_root_of_the_mean_square_of_the_last_ten():
    sampler = ImportanceTimesteps(2, uniform=0.1)
    for loss in range(1, 14):
        sampler.update(torch.tensor([0, 1]), torch.tensor([float(loss), 2.0]))
    root = torch.tensor([torch.arange(4, 14).double().square().mean().sqrt(), 2.0], dtype=torch.float64)
    torch.testing.assert_close(sampler.probabilities(), 0.9 * root / root.sum() + 0.1 / 2)


def test_importance_weights_are_unbiased_and_reduce_the_variance():
    """The weighted mean of any quantity is its uniform mean; that of the losses has a low variance."""
    sampler, count = make_sampler(), 50_000
    torch.manual_seed(0)
    t, weight = sampler.draw(count, CPU)
    drawn = torch.bincount(t, minlength=25) / count
    torch.testing.assert_close(
        drawn.double(), sampler.probabilities(), rtol=0, atol=5 * (0.08 / count) ** 0.5
    )
    assert drawn[20:].sum() > 5 * drawn[:5].sum()

    for quantity in (COSTS, COSTS.flip(0), torch.ones(25, dtype=torch.float64)):
        weighted = weight * quantity[t]
        error = weighted.std() / count**0.5
        assert (weighted.mean() - quantity.mean()).abs() < 4 * error
    uniform = COSTS[torch.randint(25, (count,))]
    assert (weight * COSTS[t]).std() < uniform.std() / 5


def test_zero_losses_give_uniform_probabilities():
    sampler = make_sampler(torch.zeros(25, dtype=torch.float64))
    assert torch.equal(sampler.probabilities(), torch.full((25,), 1 / 25, dtype=torch.float64))


def test_a_restored_state_gives_the_same_draws():
    sampler, other = make_sampler(), ImportanceTimesteps(25)
    other.load_state_dict(sampler.state_dict())
    sampler.update(torch.tensor([3]), torch.tensor([1000.0]))  # does not change the copy
    assert not torch.equal(sampler.probabilities(), other.probabilities())
    other.update(torch.tensor([3]), torch.tensor([1000.0]))
    draws = []
    for each in (sampler, other):
        torch.manual_seed(0)
        draws.append(each.draw(8, CPU))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*draws, strict=True))
    with pytest.raises(ValueError, match="expected"):
        ImportanceTimesteps(24).load_state_dict(sampler.state_dict())
