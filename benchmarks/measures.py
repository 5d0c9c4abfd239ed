"""Measures of samples against real data, by the features of a judge. Pure functions; all in float64."""

from typing import NamedTuple

import torch
from torch import Tensor


def frechet_distance(features: Tensor, others: Tensor) -> float:
    """Squared Frechet distance of the normal distributions fitted to (N,D) and (M,D) features; N, M > 1.

    |m - n|^2 + tr(S + R - 2 (S R)^(1/2)) (Dowson & Landau 1982; Heusel et al. 2017, "GANs Trained by a Two
    Time-Scale Update Rule", equation 6, where the features are Inception's).
    """
    (mean, covariance), (other_mean, other_covariance) = _normal(features), _normal(others)
    # S R has the eigenvalues of the symmetric S^(1/2) R S^(1/2), so the trace of its root is a sum of theirs.
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp(min=0).sqrt().sum()
    spread = covariance.trace() + other_covariance.trace() - 2 * cross
    return ((mean - other_mean).square().sum() + spread).item()


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]."""

    precision: float  # of samples that lie among real data: fidelity
    recall: float  # of real data that lies among samples: diversity


def precision_recall(real: Tensor, samples: Tensor, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall of (N,D) and (M,D) features (Kynkaanniemi et al. 2019, equations 1-2).

    Whatever lies within the distance of some point of a set to its k-th nearest neighbor in that set lies
    among the set; k < N, M.
    """
    return PrecisionRecall(_share_among(samples, real, k), _share_among(real, samples, k))


def _share_among(points: Tensor, others: Tensor, k: int) -> float:
    """The share of the points that lie among the others."""
    others = others.double()
    # The nearest of all is the point itself.
    radius = torch.cdist(others, others, compute_mode="donot_use_mm_for_euclid_dist").kthvalue(k + 1).values
    distances = torch.cdist(points.double(), others, compute_mode="donot_use_mm_for_euclid_dist")
    return (distances <= radius).any(1).double().mean().item()


def _normal(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D,D)."""
    features = features.double()
    return features.mean(0), torch.cov(features.T).reshape(features.shape[1], features.shape[1])
