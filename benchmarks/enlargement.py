"""Three ways from 64 to 256 pixels, after equal minutes of training: which is near to the truth, and sharp?

    python -m benchmarks.enlargement --data data/toybox [--model core/bundled/image] [--minutes 12]

x0: the super-resolution model with its preset, which predicts x0 as a correction of the enlarged picture.
v: the same network that predicts v, as in Imagen Video. straight: a decoder from the image model's latents to
256 pixels, without a picture of 64 pixels between; it has the one-step loss of the other two. None has an
adversary. They are compared on the images that the preset holds back, in the inputs that the image model has
sampled again. PSNR of the figure weighs the pixels that differ from the backdrop.

--data: a folder of `dreamlift toybox --large`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.report import write_json
from core.bundled import BUNDLED
from core.diffusion.parameterization import Parameterization
from core.io.presets import load_preset
from core.models.autoencoder import Autoencoder, ResidualConvolutions
from core.models.image_model import ImageModel
from core.models.super_resolution import SuperResolution, enlarge
from core.nn.blocks import Upsample
from core.training.config import Budget
from core.training.processes import make_accelerator
from core.training.tasks.autoencoders import figure_mask, weighted_l1
from core.training.tasks.super_resolution import (
    ImagePairs,
    SuperResolutionPreset,
    SuperResolutionTask,
    prepare_inputs,
)
from core.training.trainer import BareNetwork, Trainer
from dreamlift.evaluation.image_metrics import edge_width

WIDTHS, BLOCKS = (192, 128, 64), (4, 3, 3)  # of the straight decoder, at 16, 32 and 64 positions a side
RESAMPLED = 2  # kind of input
TESTED = 64  # images that are held back, at most
BATCH = 8

Enlarge = Callable[[Tensor], Tensor]


class StraightDecoder(nn.Module):
    """Latents (B,C,h,w) -> images (B,3,16h,16w); every position of the last level draws 4x4 pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, WIDTHS[0], 3, padding=1)]
        layers += [ResidualConvolutions(WIDTHS[0]) for _ in range(BLOCKS[0])]
        for (coarse, fine), count in zip(pairwise(WIDTHS), BLOCKS[1:], strict=True):
            layers += [Upsample(coarse, fine), *(ResidualConvolutions(fine) for _ in range(count))]
        self.layers = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(WIDTHS[-1], 48, 3, padding=1))

    def forward(self, latents: Tensor) -> Tensor:
        """The images, not clamped."""
        return F.pixel_shuffle(self.layers(latents), 4)


class StraightTask(SuperResolutionTask):
    """The one-step loss of super-resolution, on images decoded from the latents of the same inputs."""

    def __init__(self, pairs: ImagePairs, preset: SuperResolutionPreset, first_stage: Autoencoder) -> None:
        super().__init__(pairs, preset)
        self.first_stage = first_stage

    def loss(self, denoiser: BareNetwork, index: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Loss of each crop, (B,), or of fewer entire images. index: (B,) on the CPU."""
        low, high = self._batch(index, next(denoiser.network.parameters()).device)
        with torch.no_grad():
            latents = self.first_stage.to_latents(low)
        error = denoiser.network(latents) - high
        return weighted_l1(error, torch.ones_like(high[:, :1]), self.preset.edge_weight)


def train_ways(
    pairs: ImagePairs, first_stage: Autoencoder, minutes: float, folder: Path
) -> dict[str, Enlarge]:
    """The trained ways, each a function from images (B,3,64,64) to images (B,3,256,256)."""
    preset = load_preset("super-resolution", SuperResolutionPreset)
    ways: dict[str, Enlarge] = {"bicubic": lambda low: enlarge(low, 4)}
    for name, steps in ((Parameterization.X0, (1, 4)), (Parameterization.V, (4, 8))):
        torch.manual_seed(0)
        model = preset.model.model_copy(update={"parameterization": name})
        denoiser = model.denoiser()
        task = SuperResolutionTask(pairs, preset.model_copy(update={"model": model}))
        trainer = Trainer(denoiser, task, preset.training, folder / name.value, make_accelerator())
        trainer.run(Budget(minutes=minutes))
        trained = SuperResolution(model, denoiser.with_network(trainer.ema.network))
        for count in steps:
            ways[f"{name.value}, {count} steps"] = _sampled(trained, count)
    torch.manual_seed(0)
    decoder = StraightDecoder(first_stage.config.latent_channels)
    task = StraightTask(pairs, preset, first_stage)
    trainer = Trainer(BareNetwork(decoder), task, preset.training, folder / "straight", make_accelerator())
    trainer.run(Budget(minutes=minutes))
    averaged = trainer.ema.network
    ways["straight"] = lambda low: averaged(first_stage.to_latents(low))
    return ways


def _sampled(model: SuperResolution, steps: int) -> Enlarge:
    return lambda low: model.sample(low, range(len(low)), steps=steps)


@torch.no_grad()
def measure(way: Enlarge, pairs: ImagePairs, indices: list[int]) -> dict[str, float]:
    """PSNR, that of the figure, width of the edges and processor seconds, means over the images."""
    rows: list[tuple[float, ...]] = []
    for start in range(0, len(indices), BATCH):
        both = [pairs.crop(index, RESAMPLED, 0, 0, 64) for index in indices[start : start + BATCH]]
        low, high = (torch.stack(parts) for parts in zip(*both, strict=True))
        began = time.process_time()
        drawn = way(low).clamp(-1, 1)
        seconds = (time.process_time() - began) / len(low)
        squares = ((drawn - high) / 2).square().mean(1, keepdim=True)
        mask = figure_mask(high)
        for image, square, figure in zip(drawn, squares, mask, strict=True):
            width = edge_width(image[None]).item()
            rows.append((_decibels(square.mean()), _decibels(square[figure].mean()), width, seconds))
    names = ("PSNR, dB", "PSNR of the figure, dB", "edge width, px", "seconds")
    return dict(zip(names, torch.tensor(rows).mean(0).tolist(), strict=True))


def _decibels(error: Tensor) -> float:
    return -10 * error.log10().item()


def main() -> None:
    """Trains, prints the table and writes it as JSON."""
    parser = argparse.ArgumentParser(description="Three ways from 64 to 256 pixels.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=BUNDLED / "image")
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--runs", type=Path, default=Path("enlargement-runs"))
    parser.add_argument("--out", type=Path, default=Path("enlargement.json"))
    options = parser.parse_args()
    model = ImageModel.load(options.model)
    first_stage = model.first_stage
    assert first_stage is not None
    pairs = ImagePairs(options.data, prepare_inputs(options.data, model, 64))
    ways = train_ways(pairs, first_stage, options.minutes, options.runs)
    held_back = load_preset("super-resolution", SuperResolutionPreset).held_back
    indices = list(range(len(pairs) - held_back, len(pairs)))[:TESTED]
    rows = {name: measure(way, pairs, indices) for name, way in ways.items()}
    true = torch.stack([pairs.crop(index, RESAMPLED, 0, 0, 64)[1] for index in indices])
    table = Table(
        title=f"after {options.minutes:g} minutes each; edges of the truth {edge_width(true).mean():.2f} px"
    )
    for column in ("", *next(iter(rows.values()))):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.3f}" for value in row.values()))
    Console().print(table)
    write_json(
        options.out,
        {"minutes": options.minutes, "rows": rows, "true edge width": edge_width(true).mean().item()},
    )


if __name__ == "__main__":
    main()
