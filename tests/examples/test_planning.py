"""Diffuser in mazes: dynamics and distances against closed forms, planning against a Brownian bridge."""

import json
import sys

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import shortest_path
from torch import nn

from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.guidance import GradientGuidance
from core.samplers import ddim, ddpm, dpm_solver
from examples.planning import evaluate, train
from examples.planning.cloning import clone
from examples.planning.control import Pairs, draw_pairs, follow_controller, follow_plans
from examples.planning.drawing import HELD, denoising_frames
from examples.planning.inpainting import Inpainting
from examples.planning.mazes.maze import LAYOUTS, RADIUS, Maze
from examples.planning.mazes.trajectories import longest_span, make_trajectories
from examples.planning.model import TrajectoryModel, TrajectoryTask
from examples.planning.network import TemporalUNet, known_entries, read_known_entries
from examples.planning.planner import Planner, make_generators
from examples.planning.returns import Return


def randomize(module, scale=0.2):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def ends_known(count, channels, length):
    """Random trajectories whose first and last steps are known."""
    values = torch.randn(count, channels, length, generator=torch.Generator().manual_seed(8)).clamp(-0.9, 0.9)
    mask = torch.zeros(count, channels, length, dtype=torch.bool)
    mask[..., [0, -1]] = True
    return values, mask


def test_under_a_constant_force_velocity_and_position_are_geometric_sums():
    maze, action, n = Maze("large"), np.array([0.8, 0.0]), 9
    state = np.array([1.5, 3.5, 0.0, 0.0])
    for _ in range(n):
        state = maze.step(state, action)
    decay = 0.7 ** np.arange(1, n + 1)
    velocity = 0.1 * 0.8 * (1 - decay) / (1 - 0.7)
    np.testing.assert_allclose(state, [1.5 + velocity.sum(), 3.5, velocity[-1], 0.0], atol=1e-12)


def test_a_wall_stops_what_runs_into_it_and_lets_it_slide_along():
    maze = Maze("large")
    states = np.array([[1.5, 1.5, 0.0, 0.0]])
    for _ in range(30):
        states = maze.step(states, np.array([[0.1, -1.0]]))
    np.testing.assert_allclose(states[0, [1, 3]], [1 + RADIUS, 0.0], atol=1e-12)
    assert states[0, 0] > 2 and states[0, 2] == pytest.approx(0.1 / 3, rel=1e-3)


def test_random_forces_never_lead_into_a_wall():
    maze, rng = Maze("medium"), np.random.default_rng(0)
    states = np.zeros((40, 4))
    states[:, :2] = [np.add(maze.cells[i % len(maze.cells)], 0.5) for i in range(40)]
    force = rng.uniform(-1, 1, (40, 2))
    for _ in range(60):
        force = np.clip(force + 0.5 * rng.standard_normal((40, 2)), -1, 1)
        states = maze.step(states, force)
        for dx in (-0.099, 0.099):
            for dy in (-0.099, 0.099):
                corners = (states[:, :2] + [dx, dy]).astype(int)
                assert all(LAYOUTS["medium"][y][x] == "." for x, y in corners)


@pytest.mark.parametrize("name", LAYOUTS)
def test_distances_are_those_of_scipy(name):
    maze = Maze(name)
    near = [[abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1 for b in maze.cells] for a in maze.cells]
    expected = shortest_path(np.array(near, dtype=float), unweighted=True)
    table = maze.distance_table()
    assert [[table[b][a] for b in maze.cells] for a in maze.cells] == expected.tolist()


def test_trajectories_follow_the_dynamics_and_are_shorter_than_the_maze():
    maze = Maze("large")
    states, actions = make_trajectories(maze, 60, 40, seed=1)
    assert states.shape == (60, 40, 4) and actions.shape == (60, 40, 2)
    np.testing.assert_allclose(maze.step(states[:, :-1], actions[:, :-1]), states[:, 1:], atol=1e-12)
    assert not maze.touches_wall(states[..., :2]).any()
    farthest = max(max(row.values()) for row in maze.distance_table().values())
    assert 6 < longest_span(maze, states) < farthest - 4
    assert np.array_equal(make_trajectories(maze, 60, 40, seed=1)[0], states)


class Bridge(nn.Module):
    """The optimal network for a random walk, given its known ends: E[x0 | x_t, ends], by Gaussian algebra."""

    def __init__(self, schedule, length):
        super().__init__()
        self.schedule, self.length = schedule, length
        steps = torch.arange(1, length + 1, dtype=torch.float64)
        self.covariance = 0.04 * torch.minimum(steps[:, None], steps)

    def forward(self, x, t, condition):
        values, _ = read_known_entries(condition)
        ends, inner = [0, self.length - 1], list(range(1, self.length - 1))
        gain = torch.linalg.solve(self.covariance[ends][:, ends], self.covariance[ends][:, inner]).T
        prior = values[..., ends].double() @ gain.T
        spread = self.covariance[inner][:, inner] - gain @ self.covariance[ends][:, inner]
        alpha, sigma = self.schedule.alpha(int(t[0])), self.schedule.sigma(int(t[0]))
        noisy = alpha**2 * spread + sigma**2 * torch.eye(len(inner), dtype=torch.float64)
        update = torch.linalg.solve(noisy, alpha * spread)
        out = values.double().clone()
        out[..., inner] = prior + (x[..., inner].double() - alpha * prior) @ update
        return out


def test_plans_of_a_random_walk_are_brownian_bridges():
    """From noise 0 the plan is the straight line; the map from noise has the covariance of a bridge."""
    length, schedule = 9, NoiseSchedule.cosine(100)
    planner = Inpainting(Denoiser(Bridge(schedule, length), schedule, Parameterization.X0))
    values, mask = ends_known(1, 1, length)
    noise = torch.cat([torch.zeros(1, 1, length), torch.eye(length)[:, None]]).double()
    condition = known_entries(values.double(), mask).repeat_interleave(len(noise))
    *_, last = ddim(planner, noise, condition, steps=100)
    first, goal = values[0, 0, [0, -1]].double()
    s = torch.arange(length, dtype=torch.float64)
    line = first + (goal - first) * s / (length - 1)
    torch.testing.assert_close(last.x[0, 0], line, rtol=0, atol=2e-3)
    response = last.x[1:, 0] - last.x[0, 0]
    bridge = 0.04 * torch.minimum(s[:, None], s) * (length - 1 - torch.maximum(s[:, None], s)) / (length - 1)
    torch.testing.assert_close(response.T @ response, bridge, rtol=0.06, atol=2e-3)


@pytest.mark.parametrize("sampler", [ddim, ddpm, dpm_solver])
def test_start_and_goal_of_a_plan_are_exact_with_guidance_too(sampler):
    network = randomize(TemporalUNet(4, (16, 16), 1))
    schedule = NoiseSchedule.cosine(50)

    class Total:
        def __init__(self):
            self.schedule = schedule

        def __call__(self, x, t):
            return x.sum((1, 2))

    guided = GradientGuidance(Denoiser(network, schedule, Parameterization.X0, clip=1.0), Total(), 0.1)
    values, mask = ends_known(3, 4, 12)
    extra = {"generators": make_generators(3, 0)} if sampler is ddpm else {}
    *_, last = sampler(
        Inpainting(guided), torch.randn(3, 4, 12), known_entries(values, mask), steps=6, **extra
    )
    torch.testing.assert_close(last.x[mask], values[mask], rtol=0, atol=1e-6)
    assert (last.x[~mask] - values[~mask]).abs().min() > 0


@torch.no_grad()
def test_a_step_of_a_plan_depends_on_the_steps_around_it_only():
    """The same output for a piece of a longer trajectory, far from where the piece ends."""
    network = randomize(TemporalUNet(4, (16, 24), 1))
    x = torch.randn(1, 4, 112)
    mask = torch.zeros(1, 4, 112, dtype=torch.bool)
    t = torch.tensor([20])
    whole = network(x, t, known_entries(x, mask))
    piece = network(x[..., 16:96], t, known_entries(x[..., 16:96], mask[..., 16:96]))
    torch.testing.assert_close(piece[..., 36:44], whole[..., 52:60], rtol=1e-4, atol=1e-4)
    assert (piece[..., 0] - whole[..., 16]).abs().max() > 1e-3


@torch.no_grad()
def test_with_ends_every_step_reads_what_is_known_of_them():
    """What is known at the ends changes a step far away, and what is not known changes none."""
    network = randomize(TemporalUNet(2, (16,), 1, ends=True))
    values, mask = torch.randn(1, 2, 60), torch.zeros(1, 2, 60, dtype=torch.bool)
    mask[:, :, 0] = mask[:, 0, -1] = True
    x, t = torch.randn(1, 2, 60), torch.tensor([7])
    out = network(x, t, known_entries(values, mask))
    for channel, step, changes in ((0, 0, True), (1, 0, True), (0, -1, True), (1, -1, False), (0, 1, False)):
        other = values.clone()
        other[:, channel, step] += 1
        change = (network(x, t, known_entries(other, mask)) - out)[..., 30].abs().max()
        assert (change > 1e-3) == changes


@torch.no_grad()
def test_known_entries_are_read_clean():
    network = randomize(TemporalUNet(4, (16,), 1))
    values, mask = ends_known(2, 4, 8)
    x, t = torch.randn(2, 4, 8), torch.tensor([3, 40])
    out = network(x, t, known_entries(values, mask))
    torch.testing.assert_close(network(torch.where(mask, x + 5, x), t, known_entries(values, mask)), out)
    assert (network(x, t, known_entries(-values, mask)) - out).abs().max() > 1e-3
    with pytest.raises(ValueError, match="L a multiple of 2"):
        TemporalUNet(4, (16, 16), 1)(x[..., :7], t, known_entries(values, mask)[:1])


def test_the_loss_is_the_error_of_unknown_entries():
    """A network that is off by 1 everywhere: the squared error is 1, times the share of unknown entries.

    It is weighed by 1 / sigma^2, which is SNR + 1, but by no more than 51.
    """
    torch.manual_seed(0)
    x0 = torch.randn(64, 4, 16)

    class Off(nn.Module):
        def forward(self, x, t, condition):
            values, mask = read_known_entries(condition)
            lengths.append(x.shape[2])
            known.append(mask[:, 0].float().mean(1))
            weights.append((1 / schedule.sigma(t).square()).clamp(max=51).float())
            assert torch.equal(values[mask], self.window(x.shape[2])[mask])
            return self.window(x.shape[2]) + 1

        def window(self, length):
            return x0[..., :length]

    lengths: list[int] = []
    known: list[torch.Tensor] = []
    weights: list[torch.Tensor] = []
    schedule = NoiseSchedule.cosine(50)
    model = Denoiser(Off(), schedule, Parameterization.X0)
    task = TrajectoryTask(x0, stride=16)
    loss = task.loss(model, torch.arange(64))
    torch.testing.assert_close(loss, (1 - known[0]) * weights[0])
    assert weights[0].min() < 1.1 and weights[0].max() == 51
    assert lengths == [16] and {1.0, 2.0} <= set((16 * known[0]).tolist()) <= {0.0, 1.0, 2.0}


def test_a_warm_start_noises_the_former_plan_and_takes_few_steps():
    """A network that takes noise for data: one step from t gives the former plan + sigma / alpha noise."""
    model = TrajectoryModel(Maze("u"), 8, (16,), 1)

    class Credulous(nn.Module):
        def forward(self, x, t, condition):
            return x / model.denoiser.schedule.alpha(t, x)

    model.denoiser = Denoiser(Credulous(), model.denoiser.schedule, Parameterization.X0)
    planner = Planner(model, steps=20, warm_steps=1)
    former = 2.5 + 0.1 * np.random.default_rng(0).standard_normal((2, 8, 4))
    states, goals = former[:, 0], former[:, -1, :2]
    (state,) = planner.sample(states, goals, 8, make_generators(2, 4), former)
    noise = torch.stack([torch.randn(4, 8, generator=generator) for generator in make_generators(2, 4)])
    t = model.denoiser.schedule.sampling_timesteps(20)[-1]
    ratio = model.denoiser.schedule.sigma(int(t)) / model.denoiser.schedule.alpha(int(t))
    expected = (model.normalize(former) + ratio * noise).float()
    torch.testing.assert_close(state.x[..., 1:-1], expected[..., 1:-1], rtol=1e-4, atol=1e-5)
    assert len(list(planner.sample(states, goals, 8, make_generators(2, 4)))) == 20


def test_a_cloned_controller_does_as_the_data():
    """Where every action points to the last position of its trajectory."""
    maze, rng = Maze("u"), np.random.default_rng(0)
    states = np.zeros((400, 2, 4))
    states[..., :2] = rng.uniform(1, 4, (400, 2, 2))
    towards = np.clip(states[:, 1, :2] - states[:, 0, :2], -1, 1)
    controller = clone(maze, states, np.stack([towards, towards], axis=1), 300, seed=0)
    error = controller(states[:, 0], states[:, 1, :2]) - towards
    assert np.abs(error).mean() < 0.1 < np.abs(towards).mean()


def test_a_return_is_learned_and_its_gradient_is_that_of_the_reward():
    """The reward is minus the second channel, so at little noise each step's gradient is (0, -1)."""
    torch.manual_seed(0)
    guide = Return(NoiseSchedule.cosine(50), channels=2, widths=(16, 16))
    optimizer = torch.optim.Adam(guide.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        guide.loss(torch.randn(32, 2, 8), lambda x0: -x0[:, 1]).mean().backward()
        optimizer.step()
    x, t = torch.randn(64, 2, 8), torch.zeros(64, dtype=torch.long)
    denoiser = Denoiser(nn.Identity(), guide.schedule, Parameterization.X0)
    gradient = GradientGuidance(denoiser, guide).gradient(x, t)
    assert gradient.mean((0, 2)).tolist() == pytest.approx([0, -1], abs=0.2)


def test_a_clip_shows_the_plans_after_every_step(tmp_path):
    model = TrajectoryModel(Maze("u"), 8, (16,), 1)
    pairs = draw_pairs(model.environment, 2, seed=0)
    randomize(model.denoiser.network)
    frames = denoising_frames(Planner(model, steps=3, warm_steps=1), pairs, 8, seed=0)
    assert frames.shape[0] == 3 + HELD and frames.shape[3] == 3
    assert np.array_equal(frames[2], frames[-1]) and not np.array_equal(frames[0], frames[1])


def test_pairs_are_at_rest_and_as_far_as_asked():
    maze = Maze("large")
    pairs = draw_pairs(maze, 50, seed=0, farther_than=12)
    assert pairs.cells.min() > 12 and not pairs.states[:, 2:].any()
    assert not maze.touches_wall(pairs.states[:, :2]).any()
    still = follow_controller(maze, lambda state, goal: np.zeros((len(state), 2)), pairs, 3)
    assert still.states.shape == (50, 4, 4) and not still.reached(pairs.goals).any()


def test_training_resumes_and_its_model_is_measured(tmp_path, monkeypatch, capsys):
    """A toy run by the commands: it is trained, goes on, and the report has every row."""
    run = [str(tmp_path / "run"), "--trajectories", "40", "--batch-size", "16", "--widths", "16", "16"]
    for steps in ("2", "3"):
        monkeypatch.setattr(sys, "argv", ["train", "--maze", "u", "--steps", steps, "--run", *run])
        train.main()
    assert json.loads((tmp_path / "run" / "model" / "config.json").read_text())["maze"] == "u"
    small = [
        "--tasks",
        "3",
        "--steps",
        "3",
        "--warm-steps",
        "1",
        "--trajectories",
        "20",
        "--cloning-steps",
        "2",
    ]
    arguments = ["evaluate", str(tmp_path / "run" / "model"), *small, "--out", str(tmp_path / "report.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    evaluate.main()
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["any"]) == [
        "behavior cloning", "one plan", "receding horizon", "receding horizon, warm starts",
    ]  # fmt: skip
    assert 3 <= report["longest trajectory in cells"] <= 6
    assert min(report["milliseconds a plan"].values()) > 0
    monkeypatch.setattr(sys, "argv", ["evaluate", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit) as stopped:
        evaluate.main()
    assert stopped.value.code == 2 and "There is no model" in capsys.readouterr().err


def test_plans_are_renewed_over_what_is_left_of_their_length():
    """A planner that plans straight lines: at rest at the goal when the length is over, from any state."""
    maze = Maze("large")
    lengths: list[tuple[int, bool]] = []

    class Straight:
        model = TrajectoryModel(maze, 8, (16,), 1)

        def plan(self, states, goals, length, generators, former=None):
            lengths.append((length, former is not None))
            assert former is None or np.allclose(former[:, 0, :2], states[:, :2])
            share = np.linspace(0, 1, length)[None, :, None]
            positions = states[:, None, :2] * (1 - share) + goals[:, None] * share
            return np.concatenate([positions, np.zeros_like(positions)], axis=2)

    pairs = Pairs(np.array([[1.5, 3.5, 0, 0]]), np.array([[4.5, 3.5]]), np.array([3.0]))
    outcome = follow_plans(Straight(), pairs, 24, seed=0, every=8, warm=True)
    assert lengths == [(24, False), (16, True), (8, True)]
    assert outcome.states.shape == (1, 24, 4) and outcome.reached(pairs.goals).all()
    with pytest.raises(UserError, match="1 to 5 steps"):
        Planner(Straight.model, steps=5, warm_steps=6)
