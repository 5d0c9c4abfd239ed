"""Tests of Frechet distance, precision and recall against closed forms, SciPy and loops."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from dreamlift.evaluation.distribution_metrics import frechet_distance, precision_recall


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
