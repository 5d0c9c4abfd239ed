"""Tests of the claims and scripts in benchmarks/."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import animatediff_real, checkpoints, digits, extension, latent, orderings, real_size
from benchmarks.claims import table
from benchmarks.digits import LEVELS, Digits, class_condition
from benchmarks.orderings import ORDERINGS, Lab, traded
from benchmarks.sampling_overhead import cases, measure
from dreamlift.evaluation.distribution_metrics import PrecisionRecall


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


def test_overhead_of_every_sampler_is_finite():
    for name, case in cases(None).items():
        measured = measure(case, steps=3, repeats=1)
        assert list(measured) == ["ours", "diffusers"], name
        assert all(np.isfinite(overhead).all() for overhead in measured.values())


def test_real_size_results_of_ours_and_diffusers_agree(tmp_path):
    """On the tiny network, the scalar result of both libraries must agree."""
    checkpoints.stable_diffusion(tmp_path, tiny=True)
    place = real_size.Place(tmp_path, torch.device("cpu"), torch.float32)
    for case in ("sample", "distil"):
        of_each = [real_size.measure(prepare, place, 1) for prepare in real_size.CASES[case].values()]
        assert of_each[0].result == pytest.approx(of_each[1].result, rel=1e-4)
        assert all(m.peak > 0.1 and m.seconds > 0 for m in of_each)
    assert real_size.measure(real_size.CASES["dream3d"]["ours"], place, 1).result != 0


def test_animatediff_clips_of_ours_and_diffusers_agree(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    figures = animatediff_real.compare(tmp_path, tiny=True)
    assert list(figures) == ["diffusers", "ours"]
    assert figures["ours"]["difference"] < 1e-4
    assert all(case["peak_gb"] >= case["load_gb"] > 0 < case["sample"] for case in figures.values())


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
