"""Metrics of samples in a feature space: against real data, and against their texts. Pure functions."""

from typing import NamedTuple

import torch
from torch import Tensor


def frechet_distance(features: Tensor, others: Tensor) -> float:
    """Squared Frechet distance of normal distributions fitted to (N,D) and (M,D) features; N, M > 1.

    |m - n|^2 + tr(S + R - 2 (S R)^(1/2)) (Dowson & Landau 1982; Heusel et al. 2017, "GANs Trained by a Two
    Time-Scale Update Rule", equation 6, where the features are Inception's).
    """
    (mean, covariance), (other_mean, other_covariance) = _normal(features), _normal(others)
    # S R and the symmetric S^(1/2) R S^(1/2) have the same eigenvalues; their roots sum to the trace.
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp(min=0).sqrt().sum()
    covariance_term = covariance.trace() + other_covariance.trace() - 2 * cross
    return ((mean - other_mean).square().sum() + covariance_term).item()


class PrecisionRecall(NamedTuple):
    """Improved precision and recall, both in [0, 1]."""

    precision: float  # share of samples inside the manifold of real data: fidelity
    recall: float  # share of real data inside the manifold of samples: diversity


def precision_recall(real: Tensor, samples: Tensor, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall of (N,D) and (M,D) features (Kynkaanniemi et al. 2019, equations 1-2).

    The manifold of a set is the union of balls around its points; the radius of each ball is the distance to
    the k-th nearest neighbor in the set; k < N, M.
    """
    return PrecisionRecall(_share_among(samples, real, k), _share_among(real, samples, k))


def _share_among(points: Tensor, others: Tensor, k: int) -> float:
    """Share of points (N,D) inside the manifold of others (M,D)."""
    others = others.double()
    # k + 1, because the nearest point is the point itself.
    radius = torch.cdist(others, others, compute_mode="donot_use_mm_for_euclid_dist").kthvalue(k + 1).values
    distances = torch.cdist(points.double(), others, compute_mode="donot_use_mm_for_euclid_dist")
    return (distances <= radius).any(1).double().mean().item()


def r_precision(images: Tensor, texts: Tensor) -> Tensor:
    """Whether no text is nearer to an image than its own, (N,) bool.

    R-Precision with R = 1 (Park et al. 2021, "Benchmark for Compositional Text-to-Image Synthesis"), the
    measure of DreamFusion's table 1.

    images, texts: unit embeddings (N,D), row i of both of one pair. Equal texts do not compete.
    """
    cosines = images @ texts.T
    own = cosines.diagonal()[:, None]
    same = (texts[:, None] == texts[None]).all(-1)
    return ~((cosines > own) & ~same).any(1)


def _normal(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D,D) of features (N,D)."""
    features = features.double()
    return features.mean(0), torch.cov(features.T).reshape(features.shape[1], features.shape[1])
