"""Claims of papers, tested on tiny models that are trained here; exit code 1 if a claim does not hold.

    python -m benchmarks.orderings [--seeds 0 1 2] [--only schedule ...] [--effort 1] [--out folder]

Every model is trained on sklearn's digits, on one thread. Each claim must hold for every seed by its margin:

    schedule      the cosine schedule gives test digits a higher likelihood than the linear one, after the
                  same number of steps (Nichol & Dhariwal 2021, table 1)
    objective     the hybrid objective, with its learned variance, gives them a higher likelihood than the
                  simple objective with the better of both fixed variances (same table)
    guidance      a larger guidance scale, with a classifier or classifier-free, increases precision and
                  decreases recall (Dhariwal & Nichol 2021, figure 4; Ho & Salimans 2022; measured as in
                  Kynkaanniemi et al. 2019)
    latents       a U-Net samples at least 4 times as fast on latents as on pixels, at equal or better
                  quality and after no more training (Rombach et al. 2022, figures 6 and 7)

effort: multiplies all training steps; the margins are meant for 1 and more.
out: folder of orderings.json and, with matplotlib, orderings.png.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import claims, latent
from benchmarks.claims import Claim, options
from benchmarks.digits import (
    CLASSES,
    LEVELS,
    Digits,
    ImagePerceptron,
    Judge,
    NoisyPerceptron,
    class_condition,
    digits,
    sample,
    train,
    train_denoiser,
)
from core.diffusion.denoiser import Denoiser, DenoiserLike
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.guidance import ClassifierFreeGuidance, ClassifierGuidance
from core.likelihood import variational_bound
from core.losses import hybrid_loss, simple_loss
from core.training.trainer import stratified_timesteps
from dreamlift.evaluation.distribution_metrics import PrecisionRecall, frechet_distance, precision_recall

TIMESTEPS = 100
SAMPLES = 1000  # for precision and recall
STEPS = 800  # training steps of a denoiser of digits
SCALES = {"classifier-free": (1.0, 1.25, 1.5, 2.0, 3.0), "classifier": (0.0, 0.5, 1.0, 2.0, 4.0)}


class Lab:
    """The models of one seed, each trained at its first use."""

    def __init__(self, seed: int, effort: float, known: Digits, unseen: Digits) -> None:
        """effort: multiplies the training steps. known, unseen: training and test digits."""
        self.seed, self.effort = seed, effort
        self.known, self.unseen = known, unseen

    def _denoiser(self, schedule: NoiseSchedule, learned_variance: bool = False) -> Denoiser:
        """A trained denoiser; the hybrid loss is used if the variance is learned."""
        torch.manual_seed(self.seed)
        network = ImagePerceptron(2 if learned_variance else 1)
        denoiser = Denoiser(network, schedule, Parameterization.EPS, 1.0, learned_variance)
        loss = partial(hybrid_loss, levels=LEVELS) if learned_variance else simple_loss
        return train_denoiser(denoiser, loss, self.known, round(self.effort * STEPS))

    @cached_property
    def linear(self) -> Denoiser:
        """Linear schedule; betas are scaled by 1000 / T as in improved-diffusion, so that x_T is noise."""
        scale = 1000 / TIMESTEPS
        return self._denoiser(NoiseSchedule.linear(TIMESTEPS, 1e-4 * scale, 0.02 * scale))

    @cached_property
    def cosine(self) -> Denoiser:
        """Cosine schedule with the simple objective."""
        return self._denoiser(NoiseSchedule.cosine(TIMESTEPS))

    @cached_property
    def hybrid(self) -> Denoiser:
        """Cosine schedule with the hybrid objective and a learned variance."""
        return self._denoiser(NoiseSchedule.cosine(TIMESTEPS), learned_variance=True)

    @cached_property
    def classifier(self) -> NoisyPerceptron:
        """Classifier of noisy digits, for classifier guidance."""
        torch.manual_seed(self.seed)
        classifier, data = NoisyPerceptron(NoiseSchedule.cosine(TIMESTEPS)), self.known

        def loss(index: Tensor) -> Tensor:
            x0 = data.images[index]
            t = stratified_timesteps(len(x0), TIMESTEPS, x0.device)
            noised = classifier.schedule.add_noise(x0, torch.randn_like(x0), t)
            return F.cross_entropy(classifier(noised, t), data.labels[index])

        train(classifier, loss, len(data.labels), round(self.effort * STEPS / 3))
        return classifier.eval().requires_grad_(False)

    def bits(self, denoiser: Denoiser) -> float:
        """Bits per dimension of the test digits; with the better fixed variance if none is learned."""
        x0, condition = self.unseen.images, class_condition(self.unseen.labels)

        def total(fixed: float) -> float:
            generators = [torch.Generator().manual_seed(i) for i in range(len(x0))]
            bound = variational_bound(
                denoiser, x0, condition, generators=generators, levels=LEVELS, fixed=fixed
            )
            return bound.total.mean().item()

        return total(0.0) if denoiser.learned_variance else min(total(0.0), total(1.0))


def schedule(lab: Lab) -> tuple[dict[str, Any], list[Claim]]:
    """Likelihoods of the linear and the cosine schedule."""
    bits = {"linear": lab.bits(lab.linear), "cosine": lab.bits(lab.cosine)}
    return bits, [Claim("cosine over linear, bits/dim", bits["linear"] - bits["cosine"], 0.02)]


def objective(lab: Lab) -> tuple[dict[str, Any], list[Claim]]:
    """Likelihoods of the simple and the hybrid objective."""
    bits = {"simple": lab.bits(lab.cosine), "hybrid": lab.bits(lab.hybrid)}
    return bits, [Claim("hybrid over simple, bits/dim", bits["simple"] - bits["hybrid"], 0.05)]


def guidance(lab: Lab) -> tuple[dict[str, Any], list[Claim]]:
    """Precision and recall at growing guidance scales, classifier-free and with a classifier."""
    judge = Judge.trained(lab.known)
    real = judge.features(lab.known.images)
    labels = torch.arange(SAMPLES) % CLASSES
    unconditional = class_condition(torch.tensor([-1]))

    def measured(guided: DenoiserLike) -> PrecisionRecall:
        return precision_recall(real, judge.features(sample(guided, (1, 8, 8), labels).clamp(-1, 1)))

    curves = {
        "classifier-free": [
            measured(ClassifierFreeGuidance(lab.cosine, scale, unconditional))
            for scale in SCALES["classifier-free"]
        ],
        "classifier": [
            measured(ClassifierGuidance(lab.cosine, lab.classifier, labels, scale))
            for scale in SCALES["classifier"]
        ],
    }
    figures = {
        name: [{"scale": scale, **point._asdict()} for scale, point in zip(SCALES[name], curve, strict=True)]
        for name, curve in curves.items()
    }
    trades = [claim for name, curve in curves.items() for claim in traded(name, curve)]
    return {**figures, "accuracy of the judge": judge.accuracy(lab.unseen)}, trades


def traded(name: str, curve: Sequence[PrecisionRecall]) -> list[Claim]:
    """Claims that precision rises and recall falls from each scale to the next and overall."""
    rises = [after.precision - before.precision for before, after in pairwise(curve)]
    falls = [before.recall - after.recall for before, after in pairwise(curve)]
    return [
        Claim(f"{name}: precision, least rise", min(rises), -0.01),
        Claim(f"{name}: precision, rise in all", sum(rises), 0.1),
        Claim(f"{name}: recall, least fall", min(falls), -0.01),
        Claim(f"{name}: recall, fall in all", sum(falls), 0.1),
    ]


def latents(lab: Lab) -> tuple[dict[str, Any], list[Claim]]:
    """Speed, quality and training cost of a pixel model and a latent model."""
    known, unseen = lab.known.enlarged(latent.SIZE), lab.unseen.enlarged(latent.SIZE)
    judge = Judge.trained(known)
    results = latent.compare(known, judge, lab.seed, lab.effort)
    floor = frechet_distance(judge.features(known.images), judge.features(unseen.images))
    saved = {
        field: 1 - getattr(results["latents"], field) / getattr(results["pixels"], field)
        for field in latent.Figures._fields
    }
    figures = {name: model._asdict() for name, model in results.items()}
    return {**figures, "distance of test digits": floor}, [
        Claim("latents: times as fast", 1 / (1 - saved["milliseconds"]), 4.0),
        Claim("latents: share of the distance saved", saved["distance"], 0.0),
        Claim("latents: share of the training saved", saved["training_gflop"], 0.0),
    ]


ORDERINGS: Mapping[str, Callable[[Lab], tuple[dict[str, Any], list[Claim]]]] = {
    "latents": latents,
    "schedule": schedule,
    "objective": objective,
    "guidance": guidance,
}


def draw(path: Path, figures: Mapping[int, Mapping[str, Any]]) -> None:
    """Plots the figures of all seeds into one PNG file."""
    from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]

    figure = Figure(figsize=(12, 3.2), layout="constrained")
    bits, trade, distance = figure.subplots(1, 3)
    for results in figures.values():
        likelihoods = {**results.get("schedule", {}), **results.get("objective", {})}
        bits.plot(list(likelihoods), list(likelihoods.values()), "o", color="tab:blue", alpha=0.6)
        for name, color in (("classifier", "tab:blue"), ("classifier-free", "tab:orange")):
            curve = results.get("guidance", {}).get(name, [])
            points = [point["recall"] for point in curve], [point["precision"] for point in curve]
            trade.plot(*points, "o-", color=color, alpha=0.6, label=name)
        for name, color in (("pixels", "tab:blue"), ("latents", "tab:orange")):
            if model := results.get("latents", {}).get(name):
                point = model["milliseconds"], model["distance"]
                distance.plot(*point, "o", color=color, alpha=0.6, label=name)
        if floor := results.get("latents", {}).get("distance of test digits"):
            distance.axhline(floor, color="gray", linewidth=0.5, label="test digits")
    bits.set(title="Test digits", ylabel="bits per dimension")
    trade.set(title="Guidance, stronger to the left", xlabel="recall", ylabel="precision")
    distance.set(title="Pixels and latents", xlabel="ms a sample", ylabel="Frechet distance")
    for axes in (trade, distance):
        handles, labels = axes.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))  # one entry per label, not one per seed
        axes.legend(list(unique.values()), list(unique))
    figure.savefig(path, dpi=120)


def main() -> None:
    """Tests the claims and prints their margins; exits with code 1 if one does not hold."""
    arguments = options(__doc__, list(ORDERINGS))
    known, unseen = digits()
    claims.run(
        arguments,
        lambda seed: Lab(seed, arguments.effort, known, unseen),
        ORDERINGS,
        "orderings.json",
        draw if find_spec("matplotlib") else None,
    )


if __name__ == "__main__":
    main()
