"""Ablations of Dhariwal and Nichol 2021 (ADM) and of Imagen, on sklearn's digits at 16x16 pixels.

    python -m benchmarks.adm [--seeds 0 1 2] [--only base heads ...] [--effort 1] [--out FOLDER]

Every network is trained for the same number of steps on one thread. A table shows its parameters, the
arithmetic of a call, and the Frechet distance of samples from the training set in the features of a
classifier of digits, as mean and half the range of the seeds.

    base         two resolutions, one block each, one head at 8x8, convolutions between the resolutions
    deeper       two blocks for each resolution
    wider        wider levels, at the cost of `deeper` (table 1)
    heads        four heads
    resolutions  attention at 16x16 too
    biggan       the residual blocks of BigGAN between the resolutions
    added        the embedding added before the norm, in place of adaptive group norm (table 3)
    adm          heads, resolutions and biggan together
    efficient    two more blocks at 8x8: Imagen's efficient U-Net (section B.1)

The base model of every seed is also sampled at rising guidance scales with static thresholding, which limits
x0 to [-1, 1], and with Imagen's dynamic one (section 2.3). The folder keeps what is measured of each network,
and a run that was interrupted goes on with the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from benchmarks.claims import options
from benchmarks.digits import CLASSES, Digits, Judge, class_condition, digits, sample, train_denoiser
from benchmarks.report import write_json
from core.attributes import WIDTH
from core.diffusion.denoiser import Denoiser, DenoiserLike
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.guidance import ClassifierFreeGuidance, DynamicThresholding
from core.losses import simple_loss
from core.nn.flops import FlopCounter
from core.nn.unet import UNet, UNetConfig
from dreamlift.evaluation.distribution_metrics import frechet_distance

SIZE = 16
STEPS = 1000  # of training
SAMPLES = 500
SCALES = (1.0, 2.0, 4.0, 8.0)
PERCENTILE = 0.95  # of dynamic thresholding
BASE = UNetConfig(
    in_channels=3,
    patch=1,
    widths=(16, 32),
    blocks=(1, 1),
    attention=(False, True),
    heads=1,
    context_width=CLASSES,
    attribute_width=WIDTH,
)
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "deeper": {"blocks": (2, 2)},
    "wider": {"widths": (24, 40)},
    "heads": {"heads": 4},
    "resolutions": {"attention": (True, True)},
    "biggan": {"resampling": "residual"},
    "added": {"norm": "added"},
    "adm": {"heads": 4, "attention": (True, True), "resampling": "residual"},
    "efficient": {"blocks": (1, 3)},
}


class Measured(BaseModel):
    """What is measured of one network."""

    distance: float
    thresholding: dict[str, dict[float, float]]


class Lab:
    """Data, classifier and networks of one seed."""

    def __init__(self, seed: int, effort: float, known: Digits) -> None:
        """effort: multiplies the training steps. known: training digits."""
        self.seed, self.effort = seed, effort
        self.known = known.enlarged(SIZE)
        self.judge = Judge.trained(self.known)
        self.features = self.judge.features(self.known.images)

    def measured(self, name: str) -> Measured:
        """What is measured of one of the networks, after its training; of the base model thresholding too."""
        denoiser = self.trained(BASE.model_copy(update=VARIANTS[name]))
        thresholding = self.thresholded(denoiser) if name == "base" else {}
        return Measured(distance=self.distance(denoiser), thresholding=thresholding)

    def trained(self, config: UNetConfig) -> Denoiser:
        """A denoiser that was trained on the digits."""
        torch.manual_seed(self.seed)
        denoiser = Denoiser(UNet(config), NoiseSchedule.cosine(), Parameterization.V, clip=1.0)
        return train_denoiser(denoiser, simple_loss, self.known, max(1, round(self.effort * STEPS)))

    def distance(self, denoiser: DenoiserLike) -> float:
        """Frechet distance of samples, equally many of each class, from the training digits."""
        labels = torch.arange(SAMPLES) % CLASSES
        images = sample(denoiser, (3, SIZE, SIZE), labels, seed=self.seed * SAMPLES).clamp(-1, 1)
        return frechet_distance(self.judge.features(images), self.features)

    def thresholded(self, denoiser: Denoiser) -> dict[str, dict[float, float]]:
        """Distances by guidance scale, with static and with dynamic thresholding."""
        found: dict[str, dict[float, float]] = {"static": {}, "dynamic": {}}
        for scale in SCALES:
            guided = ClassifierFreeGuidance(denoiser, scale, class_condition(torch.tensor([-1])))
            found["static"][scale] = self.distance(guided)
            found["dynamic"][scale] = self.distance(DynamicThresholding(guided, PERCENTILE))
        return found


def cost(config: UNetConfig) -> tuple[int, float]:
    """Parameters of a network, and the operations of one call for one image in millions."""
    network = UNet(config)
    with FlopCounter() as counter:
        network(torch.zeros(1, 3, SIZE, SIZE), torch.zeros(1), class_condition(torch.tensor([0])))
    return sum(parameter.numel() for parameter in network.parameters()), counter.total / 1e6


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and half the range, for a table."""
    return f"{sum(values) / len(values):.{digits}f} +- {(max(values) - min(values)) / 2:.{digits}f}"


def main() -> None:
    """Trains, samples and prints the tables."""
    arguments = options(__doc__, [*VARIANTS, "thresholding"])
    names = [name for name in VARIANTS if name in arguments.only]
    known, _ = digits()
    start = time.process_time()
    found: dict[str, Measured] = {}
    for seed in arguments.seeds:
        lab = Lab(seed, arguments.effort, known)
        for name in names:
            stored = arguments.out and arguments.out / f"{name}-seed-{seed}-effort-{arguments.effort:g}.json"
            if stored and stored.is_file():
                measured = Measured.model_validate_json(stored.read_bytes())
            else:
                measured = lab.measured(name)
                if stored:
                    stored.write_text(measured.model_dump_json(indent=2) + "\n", encoding="utf-8")
            found[f"{name} {seed}"] = measured
            print(f"seed {seed}: {name} {measured.distance:.2f}", flush=True)
    distances = {name: [found[f"{name} {seed}"].distance for seed in arguments.seeds] for name in names}
    thresholds = [measured.thresholding for measured in found.values() if measured.thresholding]
    costs = {name: cost(BASE.model_copy(update=VARIANTS[name])) for name in names}
    table = Table("network", "parameters", "Mflop a call", "Frechet distance")
    for name in names:
        parameters, operations = costs[name]
        table.add_row(name, f"{parameters:,}", f"{operations:.1f}", spread(distances[name]))
    console = Console()
    console.print(table)
    if thresholds and "thresholding" in arguments.only:
        table = Table("guidance scale", *thresholds[0])
        for scale in SCALES:
            table.add_row(
                f"{scale:g}", *(spread([each[kind][scale] for each in thresholds]) for kind in thresholds[0])
            )
        console.print(table)
    print(f"{time.process_time() - start:.0f} s of processor time")
    if arguments.out:
        figures = {"distances": distances, "costs": costs, "thresholding": thresholds}
        write_json(
            arguments.out / "adm.json", {"effort": arguments.effort, "seeds": arguments.seeds} | figures
        )


if __name__ == "__main__":
    main()
