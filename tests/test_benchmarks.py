"""Tests of the metrics, claims and scripts in benchmarks/."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from benchmarks import animatediff_real, checkpoints, digits, extension, latent, orderings, real_size
from benchmarks.digits import LEVELS, Digits, class_condition
from benchmarks.measures import PrecisionRecall, frechet_distance, precision_recall
from benchmarks.orderings import ORDERINGS, Lab, table, traded
from benchmarks.sampling_overhead import cases, measure


def normal(count, width, seed):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whitened(count, width, seed):
    """Rows with exactly zero mean and unit covariance."""
    rows = normal(count, width, seed)
    rows = rows - rows.mean(0)
    return rows @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(rows.T))).T


def test_frechet_distance_of_known_moments():
    """For N(m, diag a^2) and N(n, diag b^2) it is |m - n|^2 + |a - b|^2."""
    a, b = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([0.3, 2.5, 1.0]).double()
    features, others = whitened(50, 3, 0) * a + 4, whitened(80, 3, 1) * b
    expected = 3 * 4**2 + (a - b).square().sum().item()
    assert frechet_distance(features, others) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(others, features) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(features.float(), features.float()) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_against_scipys_matrix_root():
    features = normal(200, 8, 0) @ normal(8, 8, 1)
    others = normal(150, 8, 2) @ normal(8, 8, 3) + 0.5
    s, r = np.cov(features.numpy(), rowvar=False), np.cov(others.numpy(), rowvar=False)
    means = np.square(features.mean(0).numpy() - others.mean(0).numpy()).sum()
    expected = means + np.trace(s + r - 2 * np.real(sqrtm(s @ r)))
    assert frechet_distance(features, others) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_with_a_constant_feature():
    features = normal(50, 3, 0) * torch.tensor([1.0, 0.0, 2.0])
    assert frechet_distance(features, features + 1) == pytest.approx(3, rel=1e-6)


def share_among(points, others, k):
    """Reference implementation with loops over all points."""
    inside = 0
    for point in points:
        for other in others:
            radius = sorted(np.linalg.norm(others - other, axis=1))[k]
            if np.linalg.norm(point - other) <= radius:
                inside += 1
                break
    return inside / len(points)


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_against_loops(k):
    real, samples = normal(40, 2, 0), 0.5 * normal(30, 2, 1) + 0.7
    result = precision_recall(real, samples, k)
    assert result.precision == share_among(samples.numpy(), real.numpy(), k)
    assert result.recall == share_among(real.numpy(), samples.numpy(), k)
    assert 0 < result.recall < 1 and 0 < result.precision < 1


def test_samples_of_one_mode_have_full_precision_and_half_recall():
    left, right = normal(60, 2, 0), normal(60, 2, 1) + 50
    assert precision_recall(torch.cat([left, right]), left) == (1.0, 0.5)
    assert precision_recall(left, right) == (0.0, 0.0)


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
