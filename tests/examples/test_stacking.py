"""Stacking by Diffuser: the rules of the blocks by hand, the controller, and what plans and scores know."""

import json
import sys

import numpy as np
import pytest
import torch

from core.errors import UserError
from examples.planning.control import follow_plans
from examples.planning.model import TrajectoryModel
from examples.planning.planner import Planner, make_generators
from examples.stacking import drawing, evaluate, train
from examples.stacking.blocks import SPEED, Blocks
from examples.stacking.controller import draw_arrangement, make_trajectories
from examples.stacking.tasks import KINDS, any_tower, arrangement, draw_tasks, right, tower_in_order
from examples.stacking.train import StackingTask

OPEN, CLOSE = -1.0, 1.0


def run(blocks, gripper, places, *moves):
    """The state after moves (dx, dy, grip) in blocks, from an empty gripper."""
    state = blocks.state(np.array(gripper), np.array(places))[None]
    for dx, dy, grip in moves:
        state = blocks.step(state, np.array([[dx / SPEED, dy / SPEED, grip]]))
    return state[0]


def overlaps(places):
    """Whether any two blocks (n,2) share more than an edge."""
    away = np.abs(places[:, None] - places[None]) + 2 * np.eye(len(places))[..., None]
    return (away < 1 - 1e-6).all(axis=2).any()


def rests(place, others):
    """Whether a block (2,) stands on the table, or with its center over what other blocks are below it."""
    below = [x for x, y in others if abs(place[1] - 1 - y) < 1e-6 and abs(x - place[0]) < 1]
    on_blocks = below and min(below) - 0.5 - 1e-6 <= place[0] <= max(below) + 0.5 + 1e-6
    return abs(place[1] - 0.5) < 1e-6 or bool(on_blocks)


def test_a_block_is_taken_carried_and_put_on_another():
    blocks = Blocks(2)
    taken = run(blocks, (1.2, 0.7), [(1.0, 0.5), (3.0, 0.5)], (0, 0, CLOSE))
    assert taken.tolist() == [1.0, 0.5, 1, 0, 1.0, 0.5, 3.0, 0.5]
    moves = (0, 0, CLOSE), (0, 1.5, CLOSE), (2, 0, CLOSE), (0, 0, OPEN), (1, 1, OPEN)
    put = run(blocks, (1.2, 0.7), [(1.0, 0.5), (3.0, 0.5)], *moves)
    assert put.tolist() == [4.0, 3.0, 0, 0, 3.0, 1.5, 3.0, 0.5]


def test_a_block_that_carries_another_is_not_taken():
    blocks = Blocks(2)
    below = run(blocks, (1.0, 0.5), [(1.0, 0.5), (1.3, 1.5)], (0, 0, CLOSE))
    above = run(blocks, (1.0, 1.5), [(1.0, 0.5), (1.3, 1.5)], (0, 0, CLOSE))
    assert not blocks.held(below).any() and blocks.held(above).tolist() == [False, True]


def test_a_carried_block_is_stopped_by_others_and_by_the_table():
    blocks = Blocks(2)
    state = run(blocks, (1.0, 0.5), [(1.0, 0.5), (2.4, 0.5)], (0, 0, CLOSE), (4, -4, CLOSE))
    np.testing.assert_allclose(blocks.places(state), [(1.4, 0.5), (2.4, 0.5)])
    np.testing.assert_allclose(state[:2], (1.4, 0.5))


@pytest.mark.parametrize(
    ("x", "others", "place"),
    [
        (2.0, [(2.4, 0.5)], (2.0, 1.5)),  # its center is over the other
        (2.0, [(2.6, 0.5)], (1.6, 0.5)),  # beyond its edge: down on that side
        (2.0, [(2.6, 0.5), (1.3, 0.5)], (2.0, 1.5)),  # between two that carry it together
        (2.0, [(2.6, 0.5), (2.6, 1.5)], (1.6, 0.5)),  # from above a tower
        (1.2, [(1.8, 0.5)], (0.8, 0.5)),
        (0.9, [(1.45, 0.5)], (2.45, 0.5)),  # no room at the edge of the table: on the other side
    ],
)
def test_what_is_dropped_falls(x, others, place):
    np.testing.assert_allclose(Blocks(3).fall(np.array([x, 3.0]), np.array(others)), place)


def test_blocks_never_overlap_and_always_rest():
    """300 random steps in which the gripper often goes to a block."""
    blocks, rng = Blocks(4), np.random.default_rng(0)
    state = blocks.state(np.full((8, 2), 2.0), np.stack([draw_arrangement(blocks, rng) for _ in range(8)]))
    heights = set()
    for _ in range(300):
        near = (blocks.places(state)[np.arange(8), rng.integers(4, size=8)] - state[:, :2]) / SPEED
        move = np.where(rng.random((8, 1)) < 0.3, near, rng.uniform(-1, 1, (8, 2)))
        state = blocks.step(state, np.concatenate([move, rng.uniform(-0.5, 1, (8, 1))], axis=1))
        for places, held in zip(blocks.places(state), blocks.held(state), strict=True):
            assert not overlaps(places)
            assert all(held[i] or rests(places[i], np.delete(places, i, axis=0)) for i in range(4))
            heights |= set(places[~held, 1].round(3))
    assert heights >= {0.5, 1.5, 2.5}


@pytest.mark.parametrize("towers", [True, False])
def test_the_controller_solves_every_task(towers):
    blocks = Blocks(4)
    states, actions = make_trajectories(blocks, 60, 64, seed=1, towers=towers)
    assert len(states) == 60 and len(actions) == 60
    np.testing.assert_allclose(blocks.step(states[:, 9], actions[:, 9]), states[:, 10], atol=1e-12)
    assert not blocks.held(states[:, -1]).any()
    top = blocks.places(states[:, -1])[..., 1].max(axis=1)
    assert (top == 3.5).all() if towers else 3 < len(set(top)) + 1 <= 5


def test_recorded_trajectories_are_followed_by_their_actions():
    blocks = Blocks(3)
    states, _ = make_trajectories(blocks, 20, 40, seed=2, towers=False)

    class Recorded:
        model = TrajectoryModel(blocks, 40, (16,), 1)

        def plan(self, starts, goals, length, generators):
            return states

    tasks = draw_tasks(blocks, "rearrangement", len(states), seed=0)._replace(states=states[:, 0])
    outcome = follow_plans(Recorded(), tasks, 40, seed=0)
    np.testing.assert_allclose(outcome.states[:, -1], states[:, -1], atol=1e-9)


def test_a_block_is_taken_where_it_is_though_the_plan_is_off():
    blocks = Blocks(4)
    places = [(2.0, 0.5), (4.0, 0.5), (6.0, 0.5), (8.5, 0.5)]
    state = blocks.state(np.array([1.0, 2.0]), np.array(places))[None]
    planned = run(blocks, (2.4, 0.9), [(2.4, 0.9), *places[1:]], (0, 0, CLOSE))[None]
    taken = blocks.step(state, blocks.action_towards(state, planned))
    assert blocks.held(taken)[0].tolist() == [True, False, False, False]
    assert taken[0, :2].tolist() == [2.0, 0.5]
    state[0, 0] = 2.0 + 1.5 * SPEED
    on_its_way = blocks.step(state, blocks.action_towards(state, planned))
    assert not blocks.held(on_its_way).any() and on_its_way[0, 0] == 2.0 + 0.5 * SPEED
    carried = blocks.step(taken, blocks.action_towards(taken, planned))
    np.testing.assert_allclose(carried[0, :2], planned[0, :2])


def test_goals_say_nothing_or_the_order_or_the_places():
    blocks = Blocks(2)
    state = blocks.state(np.array([1.0, 2.0]), np.array([(2.0, 1.5), (2.1, 0.5)]))[None]
    known = {goal_of: (~np.isnan(goal_of(blocks, state)[0])).tolist() for goal_of in KINDS.values()}
    assert known == {
        any_tower: [False] * 8,
        tower_in_order: [False, False, True, True, False, True, False, True],
        arrangement: [False, False, True, True, True, True, True, True],
    }


def test_scores_of_blocks_by_hand():
    blocks = Blocks(3)
    places = np.array([(2.0, 1.5), (2.1, 0.5), (5.0, 0.5)])
    state = blocks.state(np.array([1.0, 2.0]), places)[None]
    wanted = blocks.state(np.array([4.0, 1.0]), np.array([(2.4, 1.5), (2.1, 0.5), (2.0, 2.5)]))[None]

    def score(goal_of):
        return right(blocks, state, goal_of(blocks, wanted)).tolist()

    assert score(any_tower) == [[True, True, False]]
    assert score(tower_in_order) == [[True, True, False]]
    assert score(arrangement) == [[True, True, False]]
    wanted[0, blocks.placed.start] = 2.6
    assert score(arrangement) == [[False, True, False]] and score(tower_in_order) == [[True, True, False]]
    state[0, 2] = 1.0
    assert score(tower_in_order) == [[False, True, False]] and score(any_tower) == [[True, False, False]]


@torch.no_grad()
def test_what_is_known_of_a_goal_is_exact_in_the_plan_and_the_rest_is_free():
    blocks = Blocks(2)
    model = TrajectoryModel(blocks, 16, (16, 16), 1)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.denoiser.network.parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    tasks = draw_tasks(blocks, "stacking in order", 3, seed=0)
    plans = Planner(model, steps=4, warm_steps=1).plan(tasks.states, tasks.goals, 16, make_generators(3, 0))
    np.testing.assert_allclose(plans[:, 0], tasks.states, atol=1e-5)
    known = ~np.isnan(tasks.goals)
    assert known.sum(axis=1).tolist() == [4, 4, 4]
    np.testing.assert_allclose(plans[:, -1][known], tasks.goals[known], atol=1e-5)
    assert np.ptp(plans[:, -1][~known]) > 0.1


def test_training_knows_goals_of_all_kinds_and_none_of_a_tower_that_is_not_built():
    blocks = Blocks(2)
    task = StackingTask(torch.zeros(600, 8, 4), 1, blocks, torch.arange(600) < 300)
    torch.manual_seed(0)
    mask = task.known(task.x0, torch.arange(600))
    assert not mask[..., 1:-1].any() and not mask[:, :4, -1].any()
    last = mask[:, 4:, -1].long()
    kinds, counts = last[:300].unique(dim=0, return_counts=True)
    assert kinds.tolist() == [[0, 0, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]] and counts.min() > 75
    assert last[300:].all() and mask[..., 0].all()


def test_commands_train_measure_and_draw(tmp_path, monkeypatch, capsys):
    small = ["--blocks", "2", "--trajectories", "20", "--batch-size", "4", "--widths", "16", "16"]
    for steps in ("1", "2"):
        arguments = ["train", *small, "--steps", steps, "--run", str(tmp_path / "run")]
        monkeypatch.setattr(sys, "argv", arguments)
        train.main()
    model, report = str(tmp_path / "run" / "model"), tmp_path / "report.json"
    few = [
        "--steps",
        "2",
        "--warm-steps",
        "1",
        "--tasks",
        "2",
        "--trajectories",
        "20",
        "--cloning-steps",
        "2",
    ]
    monkeypatch.setattr(sys, "argv", ["evaluate", model, *few, "--out", str(report)])
    evaluate.main()
    found = json.loads(report.read_text())
    assert list(found)[-3:] == list(KINDS) and found["block_count"] == 2
    assert list(found["stacking"]) == [
        "behavior cloning", "one plan", "receding horizon", "receding horizon, warm starts",
    ]  # fmt: skip
    clip, plan = tmp_path / "tasks.webp", tmp_path / "plan.png"
    monkeypatch.setattr(
        sys, "argv", ["drawing", model, "--steps", "1", "--out", str(clip), "--plan", str(plan)]
    )
    drawing.main()
    assert clip.stat().st_size > 1000 and plan.stat().st_size > 1000
    monkeypatch.setattr(sys, "argv", ["evaluate", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit) as stopped:
        evaluate.main()
    assert stopped.value.code == 2 and "There is no model" in capsys.readouterr().err
    with pytest.raises(UserError, match="1 to 6 blocks"):
        Blocks(7)
