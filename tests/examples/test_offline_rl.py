"""Diffusion-QL against its formulas by hand, core's sampler, and a bandit whose best action is known."""

import json
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from core.errors import UserError
from core.samplers import ddpm
from examples.offline_rl import run
from examples.offline_rl.diffuser import Diffuser, Planning, windows
from examples.offline_rl.environments import MazeTask, run_episodes
from examples.offline_rl.learners import TD3BC, Batch, Cloning, DiffusionQL, Settings
from examples.offline_rl.policy import (
    diffusion_policy,
    in_state,
    policy_noise,
    sample_actions,
    variance_preserving,
)
from examples.offline_rl.q_function import DoubleQ, follow, frozen_copy
from examples.offline_rl.transitions import Transitions

SMALL = Settings(width=32, learning_rate=3e-3, rate=0.03)


def batch(count=64, seed=0, state_width=3, action_width=2):
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(count, width, generator=generator) for width in (state_width, action_width)]
    rest = torch.rand(count, generator=generator), torch.randn(count, state_width, generator=generator)
    ends = (torch.rand(count, generator=generator) < 0.3).float()
    return Batch(rows[0], rows[1].clamp(-1, 1), *rest, ends)


def test_the_schedule_is_that_of_the_paper():
    """abar of step i is exp of minus the integral of beta(t) = 0.1 + 9.9 t from 0 to i / 5."""
    schedule = variance_preserving(5)
    end = np.arange(1, 6) / 5
    expected = np.exp(-(0.1 * end + 9.9 * end**2 / 2))
    np.testing.assert_allclose(schedule.alpha(torch.arange(5)).numpy() ** 2, expected, rtol=1e-12)
    np.testing.assert_allclose(schedule.sigma(torch.arange(5)).numpy() ** 2, 1 - expected, rtol=1e-12)


def test_actions_are_those_of_cores_ancestral_sampler():
    torch.manual_seed(0)
    policy, states = diffusion_policy(3, 2, width=16), torch.randn(4, 3)
    seeds = [torch.Generator().manual_seed(i) for i in range(4)]
    noise = torch.stack([torch.stack([torch.randn(2, generator=g) for g in seeds]) for _ in range(5)])
    seeds = [torch.Generator().manual_seed(i) for i in range(4)]
    start = torch.stack([torch.randn(2, generator=g) for g in seeds])
    *_, last = ddpm(policy, start, in_state(states), steps=5, generators=seeds)
    actions = sample_actions(policy, states, noise)
    torch.testing.assert_close(actions, last.x, rtol=1e-5, atol=1e-6)
    assert actions.abs().max() <= 1


def test_the_gradient_of_the_loss_is_that_of_the_formula():
    """L = L_d - eta E[Q1(s, a0)] / E|Q2(s, a0)|, written out with the betas of DDPM and a fixed coin."""
    torch.manual_seed(0)
    learner = DiffusionQL(3, 2, Settings(width=16))
    states, noise = torch.randn(8, 3), policy_noise(learner.policy, 8, 2)
    torch.manual_seed(5)
    coin = torch.rand(())
    torch.manual_seed(5)
    (-0.7 * learner.improvement(states, noise)).backward()
    parameters = list(learner.policy.network.parameters())
    gradients = [p.grad.clone() for p in parameters]
    learner.policy.zero_grad()

    end = torch.arange(6, dtype=torch.float64) / 5
    abar = torch.exp(-(0.1 * end + 9.9 * end**2 / 2))  # abar[i] after step i, 1 at i = 0
    x = noise[0]
    for i in (5, 4, 3, 2, 1):
        eps = learner.policy.network(x, torch.full((8,), i - 1), in_state(states))
        x0 = ((x - (1 - abar[i]).sqrt().float() * eps) / abar[i].sqrt().float()).clamp(-1, 1)
        beta = 1 - abar[i] / abar[i - 1]
        mean = abar[i - 1].sqrt() * beta / (1 - abar[i]) * x0.double()
        mean = mean + (1 - beta).sqrt() * (1 - abar[i - 1]) / (1 - abar[i]) * x.double()
        variance = beta * (1 - abar[i - 1]) / (1 - abar[i])
        x = (mean + variance.sqrt() * (noise[6 - i].double() if i > 1 else 0)).float()
    values = learner.critic.q(states, x)
    top, scale = values if coin < 0.5 else values[::-1]
    (-0.7 * top.mean() / scale.abs().mean().item()).backward()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)
    assert max(gradient.abs().max() for gradient in gradients) > 1e-4


@pytest.mark.parametrize("shift", [0.0, -1.0])
def test_targets_of_the_q_functions_end_with_the_episode(shift):
    """Q functions fitted to one batch arrive at r + 0.9 v where it goes on, and at r where it ends."""
    torch.manual_seed(0)
    learner = Cloning(3, 2, Settings(width=64, learning_rate=3e-3, discount=0.9, reward_shift=shift))
    from examples.offline_rl.learners import Critic

    critic, data, following = Critic(learner), batch(16), torch.full((16,), 2.0)
    for _ in range(200):
        critic.learn(data, following)
    expected = data.rewards + shift + 1.8 * (1 - data.terminals)
    for values in critic.q(data.states, data.actions):
        torch.testing.assert_close(values, expected, rtol=0, atol=0.15)


class Known(nn.Module):
    """Q functions 10 a and 12 a of the first coordinate of the action."""

    def forward(self, states, actions):
        return 10 * actions[:, 0], 12 * actions[:, 0]

    lower = DoubleQ.lower


def test_max_q_backup_takes_the_best_of_ten_and_the_policy_prefers_high_q():
    torch.manual_seed(0)
    learner, best = DiffusionQL(3, 1, SMALL), DiffusionQL(3, 1, Settings(width=32, max_q_backup=True))
    states = torch.randn(200, 3)
    for each in (learner, best):
        each.critic.target = Known()
    sampled = sample_actions(learner.target, states, policy_noise(learner.target, 200, 1))[:, 0]
    assert learner.act(states).mean() > sampled.mean() + 0.3
    values = best.next_values(states), learner.next_values(states)
    assert values[0].mean() > values[1].mean() + 3
    assert values[1].mean() == pytest.approx(torch.minimum(10 * sampled, 12 * sampled).mean().item(), abs=1.5)


@pytest.mark.parametrize(("make", "steps", "rate"), [(DiffusionQL, 200, 0.03), (TD3BC, 300, 0.005)])
def test_a_bandit_is_solved_better_than_by_cloning(make, steps, rate):
    """Rewards are -20 (a - s)^2 for actions of the data around s / 2; every episode ends at once."""
    torch.manual_seed(0)
    states = torch.rand(512, 1) * 2 - 1
    actions = (states / 2 + 0.4 * torch.randn(512, 1)).clamp(-1, 1)
    rewards, ends = -20 * (actions - states).square()[:, 0], torch.ones(512)
    errors = []
    for learner in (Cloning(1, 1, SMALL), make(1, 1, replace(SMALL, rate=rate))):
        for _ in range(steps):
            rows = torch.randint(512, (64,))
            columns = (part[rows] for part in (states, actions, rewards, states, ends))
            learner.learn(Batch(*columns))
        errors.append((learner.act(states) - states).abs().mean().item())
    assert errors[0] == pytest.approx(0.25, abs=0.06) and errors[1] < 0.75 * errors[0]


def test_layer_norms_bound_the_values_of_actions_far_outside_the_data():
    """Fitted to values 10 a of actions in [-1, 1], a network goes far beyond at 100, but not with norms."""
    values = []
    for normed in (False, True):
        torch.manual_seed(0)
        q = DoubleQ(1, 1, 32, normed)
        optimizer, states = torch.optim.Adam(q.parameters(), lr=3e-3), torch.zeros(256, 1)
        for _ in range(300):
            actions = torch.rand(256, 1) * 2 - 1
            loss = sum((each - 10 * actions[:, 0]).square().mean() for each in q(states, actions))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss.item() < 1
        values.append(q(torch.zeros(1, 1), torch.full((1, 1), 100.0))[0].item())
    assert values[0] > 300 and abs(values[1]) < 60


def test_a_target_follows_slowly():
    network = nn.Linear(1, 1, bias=False)
    target = frozen_copy(network)
    start = network.weight.item()
    nn.init.constant_(network.weight, start + 1)
    for _ in range(3):
        follow(target, network, 0.1)
    assert target.weight.item() == pytest.approx(start + 1 - 0.9**3)
    assert not target.weight.requires_grad


def test_the_maze_rewards_its_goal_and_its_data_know_nothing_of_it():
    task = MazeTask("u", longest=40)
    state, _ = task.reset(seed=3)
    assert np.abs(state).max() <= 1
    data = task.transitions(30, 32, seed=0)
    assert len(data) == 30 * 31 and 0.02 < data.rewards.mean() < 0.6
    np.testing.assert_array_equal(data.rewards, data.terminals)
    still = run_episodes([MazeTask("u", longest=5) for _ in range(3)], lambda s: torch.zeros(len(s), 2), 0)
    assert still.tolist() == [0, 0, 0]

    def along_the_u(states):
        """Right through the upper corridor, down on the right, left through the lower one."""
        x, y = states[:, 0] * 2.5 + 2.5, states[:, 1] * 2.5 + 2.5
        upper, right = (y < 2) & (x < 3.3), (y < 3.2) & (x > 2.8)
        across = torch.where(upper, 1.0, torch.where(right, 3.5 - x, -1.0))
        return torch.stack([across, torch.where(upper, 1.5 - y, torch.where(right, 1.0, 3.5 - y))], dim=1)

    assert task.goal == (1, 3)
    returns = run_episodes([MazeTask("u", longest=40) for _ in range(6)], along_the_u, seed=0)
    assert returns.tolist() == [1] * 6


def test_transitions_are_stored_without_pickles(tmp_path):
    data = MazeTask().transitions(20, 8, seed=0)
    data.save(tmp_path / "data.npz")
    again = Transitions.load(tmp_path / "data.npz")
    assert all(
        np.array_equal(getattr(data, n), getattr(again, n)) for n in ("states", "rewards", "terminals")
    )
    assert len(Transitions.cat([data, again])[5:]) == 2 * len(data) - 5
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match="does not hold transitions"):
        Transitions.load(tmp_path / "broken.npz")
    with pytest.raises(UserError, match="There are no data"):
        Transitions.load(tmp_path / "missing.npz")


def test_scores_are_kept_and_training_goes_on_from_them(tmp_path, monkeypatch, capsys):
    out = tmp_path / "scores.json"
    monkeypatch.setattr(run, "MAZE_DATA", {"count": 20, "length": 8, "seed": 0})
    monkeypatch.setattr(run, "EPISODES", 2)
    small = ["--task", "maze", "--steps", "2", "--batch-size", "8", "--width", "16", "--out", str(out)]
    for seeds in ("1", "2"):
        monkeypatch.setattr(sys, "argv", ["run", *small, "--seeds", seeds])
        run.main()
    report = json.loads(out.read_text())
    assert list(report["scores"]) == ["bc", "td3+bc", "diffusion-ql"]
    assert all(list(by_seed) == ["0", "1"] for by_seed in report["scores"].values())
    assert capsys.readouterr().out.count("seed 0") == 3
    monkeypatch.setattr(sys, "argv", ["run", *small, "--rate", "0.05"])
    with pytest.raises(SystemExit) as stopped:
        run.main()
    assert stopped.value.code == 2 and "with another rate (0.005)" in capsys.readouterr().err
    assert json.loads(out.read_text()) == report
    monkeypatch.setattr(sys, "argv", ["run", "--task", "hopper", "--out", str(tmp_path / "hopper.json")])
    with pytest.raises(SystemExit) as stopped:
        run.main()
    missing = "--data" if find_spec("gymnasium") else "gymnasium"
    assert stopped.value.code == 2 and f"needs {missing}" in capsys.readouterr().err


def test_episodes_are_those_of_the_pendulums_equations():
    pytest.importorskip("gymnasium", reason="the extra examples-rl is not installed")
    pytest.importorskip("stable_baselines3", reason="the extra examples-rl is not installed")
    from examples.offline_rl import behavior

    env = behavior.make_task("pendulum")
    episode = behavior.run_episode(env, lambda state: np.zeros(1, np.float32), seed=0)
    assert len(episode) == 200 and not episode.terminals.any()
    np.testing.assert_array_equal(episode.states[1:], episode.next_states[:-1])
    state, action = episode.states[0], np.array([0.5], np.float32)
    env.reset(seed=0)
    following, reward, *_ = env.step(action)
    angle = np.arctan2(state[1], state[0])
    speed = state[2] + (15 * np.sin(angle) + 3 * 2 * 0.5) * 0.05
    np.testing.assert_allclose(following[2], speed, rtol=1e-5)
    assert reward == pytest.approx(-(angle**2 + 0.1 * state[2] ** 2 + 0.001 * 1.0**2), rel=1e-4)


def test_training_of_behavior_policies_resumes(tmp_path, monkeypatch):
    """Stopped at the second evaluation, it goes on there, and the replay buffer holds every step once."""
    pytest.importorskip("gymnasium", reason="the extra examples-rl is not installed")
    pytest.importorskip("stable_baselines3", reason="the extra examples-rl is not installed")
    from examples.offline_rl import behavior

    monkeypatch.setattr(behavior, "EPISODES", 1)
    scores = iter([-1000.0, KeyboardInterrupt, -1000.0, -100.0, -1100.0])

    def mean_return(*_, **__):
        if isinstance(score := next(scores), float):
            return score
        raise score

    monkeypatch.setattr(behavior, "mean_return", mean_return)
    settings = "pendulum", 600, 200, 100, 0, tmp_path
    with pytest.raises(KeyboardInterrupt):
        behavior.make_data(*settings)
    assert [path.name for path in (tmp_path / "training").iterdir()] == ["000000200"]
    reference = behavior.make_data(*settings)
    assert (reference["medium_step"], reference["expert_step"]) == (600, 600)
    assert not (tmp_path / "training").exists()
    replay = Transitions.load(tmp_path / "medium-replay.npz")
    assert len(replay) == 600 and len(np.unique(replay.states, axis=0)) == 600
    for name, count in (("medium", 100), ("medium-expert", 200)):
        assert len(Transitions.load(tmp_path / f"{name}.npz")) == count


def walk(rewards, terminals, starts):
    """Transitions of one-dimensional episodes that begin at `starts` and step by 1, until the next start."""
    count = len(rewards)
    states = np.zeros((count, 1), np.float32)
    for row in range(count):
        states[row] = starts[row] if row in starts else states[row - 1] + 1
    actions = np.arange(1, count + 1, dtype=np.float32)[:, None] / 10
    return Transitions(
        states, actions, np.array(rewards, np.float32), states + 1, np.array(terminals, np.float32)
    )


def test_trajectories_rest_after_the_end_of_their_episode():
    data = walk([1, 2, 4, 8, 16], [0, 0, 1, 0, 0], {0: 0, 3: 20})
    x0, returns = windows(data, 3, discount=0.5)
    expected = [
        [[0, 1, 2], [0.1, 0.2, 0.3]], [[1, 2, 3], [0.2, 0.3, 0]], [[2, 3, 3], [0.3, 0, 0]],
        [[20, 21, 22], [0.4, 0.5, 0]], [[21, 22, 22], [0.5, 0, 0]],
    ]  # fmt: skip
    np.testing.assert_allclose(x0, np.array(expected), rtol=1e-6)
    np.testing.assert_allclose(returns, [[3, 4, 4], [4, 4, 0], [4, 0, 0], [16, 16, 0], [16, 0, 0]])


def test_plans_begin_in_the_state_and_prefer_what_is_rewarded():
    """States do not matter and the reward is the action, drawn at random: the guide asks for large ones."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    states = rng.standard_normal((401, 1)).astype(np.float32)
    actions = rng.uniform(-1, 1, (400, 1)).astype(np.float32)
    data = Transitions(states[:-1], actions, actions[:, 0], states[1:], np.zeros(400, np.float32))
    settings = Planning(horizon=8, widths=(16, 32), discount=0.0, scale=1.0, learning_rate=3e-3)
    planner = Diffuser(data, settings)
    for _ in range(150):
        planner.learn(torch.randint(400, (64,)))
    chosen = planner.act(torch.randn(64, 1))
    planner.settings = replace(settings, scale=0.0, candidates=1)
    free = planner.act(torch.randn(64, 1))
    assert chosen.mean() > free.mean() + 0.4
    assert free.mean().abs() < 0.3 and free.std() > 0.25
