"""Tests of the claims and scripts in benchmarks/."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import (
    adm,
    batches,
    digits,
    extension,
    latent,
    orderings,
    speed_docs,
    unclip,
    video_orderings,
    video_world,
)
from benchmarks.claims import table
from benchmarks.digits import LEVELS, Digits, class_condition
from benchmarks.orderings import ORDERINGS, Lab, traded
from core.bundled import BUNDLED
from core.toybox.scene_views import SceneView, render_clip
from dreamlift.evaluation.distribution_metrics import PrecisionRecall
from dreamlift.evaluation.judge import Judge


def test_guidance_claims_need_monotonic_curves():
    monotonic = [PrecisionRecall(p, r) for p, r in ((0.5, 0.9), (0.7, 0.8), (0.8, 0.5))]
    assert all(claim.holds for claim in traded("guidance", monotonic))
    peaked = [monotonic[0], PrecisionRecall(0.85, 0.4), monotonic[2]]
    held = {claim.what.removeprefix("guidance: "): claim.holds for claim in traded("guidance", peaked)}
    assert held == {
        "precision, least rise": False,
        "precision, rise in all": True,
        "recall, least fall": False,
        "recall, fall in all": True,
    }


def test_class_condition_is_one_hot_or_zero():
    condition = class_condition(torch.tensor([2, -1]))
    assert condition.tokens[0, 0].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert not condition.tokens[1].any() and condition.mask.all() and not condition.attributes.any()


def noise_of_17_grays(count):
    gray = torch.randint(LEVELS, (count, 1, 8, 8), generator=torch.Generator().manual_seed(count))
    return Digits(gray / 8 - 1, torch.arange(count) % 10)


@pytest.mark.parametrize("name", ORDERINGS)
def test_every_ordering_returns_finite_margins(name, monkeypatch):
    """Runs each ordering with minimal training on noise; the verdicts themselves are not tested."""
    for module, constant in ((digits, "JUDGE_STEPS"), (latent, "PARTS"), (orderings, "SAMPLES")):
        monkeypatch.setattr(module, constant, 20 if constant == "SAMPLES" else 1)
    lab = Lab(0, 0.004, noise_of_17_grays(140), noise_of_17_grays(12))
    figures, claims = ORDERINGS[name](lab)
    assert figures and claims
    assert all(np.isfinite(claim.margin) for claim in claims)
    assert table({0: claims}).row_count == len(claims)


def test_batches_are_compared_with_one_by_one(monkeypatch):
    """A clock that goes on by 3 a call and 1 a clip, and pictures that depend on the number."""
    now = 0.0

    def draw(size):
        nonlocal now
        now += 3 * 8 / size + 8
        clips = torch.zeros(8, 3, 2, 4, 4)
        clips[0, 0, 0, 0, 0] = 0.1 * (size - 1)
        return clips

    monkeypatch.setattr(batches.time, "process_time", lambda: now)
    figures = batches.measure(draw, [1, 4], rounds=2, on_cpu=True)
    assert figures["1"]["seconds"] == 4 and figures["1"]["ratio"] == 1 and figures["1"]["changed"] == 0
    assert figures["4"]["seconds"] == 1.75 and figures["4"]["ratio"] == pytest.approx(14 / 32)
    assert figures["4"]["difference"] == pytest.approx(0.3)
    assert figures["4"]["changed"] == pytest.approx(1 / (8 * 96))


def test_seams_of_extended_clips_are_at_their_borders():
    """A model whose frames grow brighter by 0.01, and by 0.03 where a window of four meets the next."""

    class Jumping:
        config = SimpleNamespace(window=4, loop=2)

        def sample(self, prompts, frames, overlap, **settings):
            steps = torch.full((frames,), 0.01)
            steps[self.config.window :: self.config.window - overlap] = 0.03
            return steps.cumsum(0).view(1, 1, -1, 1, 1).expand(len(prompts), 3, -1, 2, 2)

    row = extension.measure(Jumping(), overlap=1, scale=1.0, seeds=1, steps=1)
    assert row["seam"] == pytest.approx(3)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny world of the video orderings, with a judge of one step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_world, "COUNTS", {"few": 8, "many": 72, "images": 8, "large": 100})
        patch.setattr(video_world, "JUDGED", 64)
        patch.setattr(video_world, "JUDGE_STEPS", 1)
        made = video_world.World(tmp_path_factory.mktemp("world"))
        assert made.judge and made.large_judge
        yield made


@pytest.mark.parametrize("name", video_orderings.ORDERINGS)
def test_every_video_ordering_returns_finite_margins(name, world, monkeypatch):
    """Runs each ordering with a step of training; the verdicts themselves are not tested."""
    for constant, value in (("SAMPLES", 80), ("LONG_SAMPLES", 4), ("SAMPLING_STEPS", 1)):
        monkeypatch.setattr(video_orderings, constant, value)
    figures, claims = video_orderings.ORDERINGS[name](video_orderings.Lab(0, 0.001, world))
    assert figures and claims
    assert all(np.isfinite(claim.margin) for claim in claims)


def test_clips_of_the_video_world_are_their_captions(world):
    """Clip 0 against the toybox's own loop, averaged; a caption is a subject and an action."""
    clips, pairs = world.real
    assert clips.shape == (72, 3, 8, 16, 16) and pairs.bincount(minlength=40).max() == 2
    moment = world.many.columns["phase"][0].item()
    chosen, again = video_world.scenes(72, np.random.default_rng(1))
    assert again.tolist() == pairs.tolist()
    assert chosen[0].act.name == video_world.ACTIONS[pairs[0] % 5]
    expected = render_clip(SceneView(chosen[0], moment, 20.0, 12.0, shadow=False), 64).pixels[::2]
    means = torch.from_numpy(expected).float().unflatten(1, (16, 4)).unflatten(3, (16, 4)).mean((2, 4))
    assert ((clips[0].permute(1, 2, 3, 0) + 1) * 127.5 - means).abs().mean() < 2
    tokens = world.condition(torch.tensor([0, 1, 5, -1])).tokens
    assert torch.equal(tokens[0, 0], tokens[1, 0]) and torch.equal(tokens[0, 1], tokens[2, 1])
    assert not torch.equal(tokens[0, 1], tokens[1, 1]) and not torch.equal(tokens[0, 0], tokens[2, 0])


def test_faults_of_motion():
    """Frames are numbered, so that each fault can be read off the clips it makes; captions in turn."""
    torch.manual_seed(0)
    clips = torch.arange(40 * 8).float().view(40, 1, 8, 1, 1).expand(-1, 3, -1, 2, 2)
    pairs, index = torch.arange(40) % 4, torch.arange(40)

    def frames(fault):
        spoiled = video_world.disorder(clips, pairs, index, torch.full((40,), fault))
        assert spoiled.shape == clips.shape
        return spoiled[:, 0, :, 0, 0].long()

    shuffled, still, jumped, mixed = (frames(fault) for fault in range(4))
    own = clips[:, 0, :, 0, 0].long()
    assert torch.equal(shuffled.sort(1).values, own) and not (shuffled == own).all(1).any()
    assert torch.equal(still, own[:, :1].expand(-1, 8))
    steps = (jumped[:, 1:] - jumped[:, :-1]) % 8
    assert torch.equal(jumped // 8, own // 8) and ((steps != 1).nonzero()[:, 1] == 3).all()
    assert (steps[:, 3] != 1).all()
    assert torch.equal(mixed % 8, own % 8) and torch.equal(pairs[mixed // 8], pairs[:, None].expand(-1, 8))
    assert ((mixed // 8) != index[:, None]).any(1).all()


def test_faults_of_images_are_blur_and_noise():
    torch.manual_seed(0)
    images = torch.rand(8, 3, 1, 24, 24) * 2 - 1
    errors = []
    for fault in range(4):
        spoiled = video_world.degrade(images, torch.zeros(8), torch.arange(8), torch.full((8,), fault))
        errors.append((spoiled - images).std().item())
        assert spoiled.shape == images.shape
    assert errors[0] < errors[1] and errors[2:] == pytest.approx([0.1, 0.2], rel=0.05)


def test_every_network_of_the_ablation_trains_and_the_compared_ones_cost_the_same(monkeypatch):
    monkeypatch.setattr(adm, "SAMPLES", 10)
    monkeypatch.setattr(adm, "SCALES", (1.0, 4.0))
    monkeypatch.setattr(digits, "JUDGE_STEPS", 1)
    lab = adm.Lab(0, 0.001, noise_of_17_grays(140))
    costs = {}
    for name, changes in adm.VARIANTS.items():
        config = adm.BASE.model_copy(update=changes)
        costs[name] = adm.cost(config)[1]
        trained = lab.trained(config)
    assert costs["deeper"] == pytest.approx(costs["wider"], rel=0.1)
    assert costs["adm"] > costs["base"]
    found = lab.thresholded(trained)
    assert np.isfinite([distance for each in found.values() for distance in each.values()]).all()
    assert found["static"][4.0] != found["dynamic"][4.0]


class Copies:
    """Stands in for an unCLIP model: an embedding is a picture's place among those that were embedded."""

    def embed_images(self, images):
        self.pictures = images
        return torch.eye(len(images))

    def sample_embeddings(self, embeddings, options, seeds):
        shares = (embeddings / embeddings.sum(1, keepdim=True)).clamp(0, 1)
        return torch.einsum("nk,kchw->nchw", shares, self.pictures)


def test_variations_and_interpolations_of_copies_are_known():
    judge = Judge.load(BUNDLED / "judge")
    found = unclip.variations(Copies(), judge, 6)
    assert found["keep subject"] == found["keep view"] == 1 and found["change something else"] == 0
    assert found["PSNR"] > 45  # 256 levels
    way = unclip.interpolations(Copies(), judge, 4)
    assert way["pairs"] == 4 and way["begins at the first"] == way["ends at the second"] == 1
    assert way["q at 0/6"] < 0.1 < 0.9 < way["q at 6/6"]


def test_the_section_on_speed_is_made_from_the_figures():
    page = speed_docs.PAGE.read_text(encoding="utf-8")
    assert speed_docs.with_speed(page) == page
    section = page[page.index(speed_docs.BEGIN) : page.index(speed_docs.END)]
    for suite in speed_docs.SUITES:
        assert f"`dreamlift bench {suite}`" in section
    assert "Stable Diffusion" in section and "| not run |" in section  # on a GPU


def test_figures_of_a_trial_are_no_measurement(tmp_path, monkeypatch):
    stored = json.loads((speed_docs.FIGURES / "bench-core.json").read_text(encoding="utf-8"))
    (tmp_path / "bench-core.json").write_text(json.dumps({**stored, "quick": True}), encoding="utf-8")
    monkeypatch.setattr(speed_docs, "FIGURES", tmp_path)
    with pytest.raises(ValueError, match="--quick, which is no measurement"):
        speed_docs.read_figures("core")
    assert speed_docs.read_figures("start") is None
