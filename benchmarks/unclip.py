"""What unCLIP's variations, interpolations and joint embedding are worth, by the judge and R-Precision.

    python -m benchmarks.unclip [--model unclip] [--count 100] [--pairs 50] [--meshes 8] [--out unclip.json]

Variations: renders of trained pairs, and one variation of each from its embedding alone. The judge compares
what it reads from both. Interpolations: seven images on the way from a render to one of another subject, all
from the same noise; q is the judge's probability of the second subject over that of both. R-Precision: images
of prompts that name subject, action and color; each chooses from 153 different ones, as many as in
DreamFusion's table. Meshes are distilled from the bundled image model with a preset of dream3d, and every
view counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.report import write_json
from core.bundled import BUNDLED, bundled_model
from core.io.presets import load_preset
from core.models.image_model import ImageModel
from core.models.unclip.unclip_model import UnclipModel, slerp
from core.sampling_options import SamplingOptions
from core.toybox.backdrops import BACKDROPS
from core.toybox.camera import Camera
from core.toybox.scenes import Scene, render_scenes
from dream3d.meshing.pipeline import mesh_field
from dream3d.options import ObjectOptions
from dream3d.text_to_3d import start_optimization
from dreamlift.evaluation.distribution_metrics import r_precision
from dreamlift.evaluation.evaluate_objects import prompts
from dreamlift.evaluation.judge import Judge
from dreamlift.evaluation.measuring import at_size
from dreamlift.evaluation.mesh_metrics import pictures_for_a_judge
from dreamlift.evaluation.prompt_set import ELEVATION, PromptSet, judge_images, quantize_8bit

OPTIONS = SamplingOptions(12, 2.5, "dpm-solver++")  # of the commands
WAY = 7  # images of an interpolation, its ends among them
FALL = 0.05  # by which q may fall from one image to the next and still count as monotone
POOL = 153  # prompts of which each image has to find its own
VIEWS = (0.0, 45.0, -45.0, 90.0, -90.0)  # azimuths, degrees
SIZE, BATCH, SEED = 64, 10, 0


@torch.no_grad()
def variations(model: UnclipModel, judge: Judge, count: int) -> dict[str, float]:
    """Shares of variations that keep each label that the judge reads from the picture, and that change any.

    Colors count where an action has a thing with one, and views where a figure has a front.
    PSNR: of a variation from its picture, dB.
    """
    scenes = PromptSet.draw(count, False, SEED)
    pictures = scenes.renders(slice(None), SIZE)
    drawn = _from_embeddings(model, model.embed_images(pictures), [*range(count)])
    before, after = judge_images(judge, pictures), judge_images(judge, drawn)
    known = {name: labels >= 0 for name, labels in scenes.true_labels().items()}
    same = {name: (before[name] == after[name]) | ~known[name] for name in before}
    kept = {f"keep {name}": _mean(values[known[name]]) for name, values in same.items()}
    others = torch.stack([values for name, values in same.items() if name != "subject"])
    error = ((drawn - pictures) / 2).square().mean((1, 2, 3))
    return kept | {"change something else": _mean(~others.all(0)), "PSNR": _mean(-10 * error.log10())}


@torch.no_grad()
def interpolations(model: UnclipModel, judge: Judge, pairs: int) -> dict[str, float]:
    """Shares of pairs whose q never falls, begins below 0.1, ends above 0.9; and the mean q of the way."""
    scenes = PromptSet.draw(4 * pairs, False, SEED + 1)
    subjects = scenes.true_labels()["subject"]
    half = 2 * pairs
    different = [row for row in range(half) if subjects[row] != subjects[row + half]][:pairs]
    embeddings = model.embed_images(scenes.renders(slice(None), SIZE))
    rows: list[Tensor] = []
    for row in different:
        shares = torch.linspace(0, 1, WAY)
        way = slerp(embeddings[row], embeddings[row + half], shares)
        drawn = _from_embeddings(model, way, [row] * WAY)
        likely = judge(drawn)["subject"].softmax(1)
        first, second = likely[:, subjects[row]], likely[:, subjects[row + half]]
        rows.append(second / (first + second))
    q = torch.stack(rows)
    found = {
        "pairs": float(len(q)),
        "monotone": _mean((q.diff(dim=1) > -FALL).all(1)),
        "begins at the first": _mean(q[:, 0] < 0.1),
        "ends at the second": _mean(q[:, -1] > 0.9),
    }
    return found | {f"q at {number}/{WAY - 1}": _mean(q[:, number]) for number in range(WAY)}


def precision(
    model: UnclipModel, meshes: int, preset: str, progress: Callable[[str], None]
) -> dict[str, float]:
    """R-Precision of renders, samples and meshes; textureless too, where there is something to show so."""
    pool = different_prompts(POOL)
    with torch.no_grad():
        texts = model.embed_texts([prompt for _, prompt in pool])
    painter = ImageModel.load(BUNDLED / "image", model.device)
    (ground,) = (number for number, place in enumerate(BACKDROPS) if place.short_name == "light blue")

    @torch.no_grad()
    def share(images: Iterable[Tensor]) -> float:
        """Of images (n,3,H,W) of each of the first prompts of the pool."""
        found: list[Tensor] = []
        for row, pictures in enumerate(images):
            order = [row, *(other for other in range(POOL) if other != row)]
            for embedding in model.embed_images(at_size(quantize_8bit(pictures), SIZE)):
                found.append(r_precision(embedding.expand(POOL, -1), texts[order])[:1])
        return _mean(torch.cat(found))

    def renders(textureless: bool) -> Iterator[Tensor]:
        for scene, _ in pool:
            yield _views(scene, ground, textureless)

    def samples() -> Iterator[Tensor]:
        for row, (_, prompt) in enumerate(pool):
            yield painter.sample(
                [prompt], seeds=[row], steps=12, sampler="dpm-solver++", azimuth=30.0, elevation=ELEVATION
            )

    found = {"renders": share(renders(False)), "renders, textureless": share(renders(True))}
    progress("renders")
    found["samples of the image model"] = share(samples())
    progress("samples")
    options = load_preset(preset, ObjectOptions, "dream3d")
    options = options.with_model_defaults(painter.reads_attributes, painter.first_stage is not None)
    made = []
    for row, (_, prompt) in enumerate(pool[:meshes]):
        optimization = start_optimization(painter, prompt, options, seed=row, bundled=True)
        for _ in optimization:
            pass
        made.append(mesh_field(optimization.field, options)[0])
        progress(prompt)
    for name, textureless in (("meshes", False), ("meshes, textureless", True)):
        if made:
            found[name] = share(pictures_for_a_judge(mesh, textureless) for mesh in made)
    return found


def different_prompts(count: int) -> list[tuple[Scene, str]]:
    """The first so many different ones of a random order of prompts, each with its scene."""
    scenes: dict[str, Scene] = {}
    for scene, prompt in prompts(8 * count, SEED):
        scenes.setdefault(prompt, scene)
    return [(scene, prompt) for prompt, scene in scenes.items()][:count]


def _views(scene: Scene, ground: int, textureless: bool) -> Tensor:
    """Renders (n,3,SIZE,SIZE) in [-1, 1] of the first moment of a scene before one backdrop."""
    azimuth = torch.tensor(VIEWS)
    camera = Camera(azimuth, torch.full_like(azimuth, ELEVATION))
    plain = Scene(scene.subject, scene.action, scene.color, ground)
    still, shadow = torch.zeros(len(azimuth)), torch.zeros(len(azimuth), dtype=torch.bool)
    return render_scenes([plain], still, camera, shadow, SIZE, textureless=textureless)[0] * 2 - 1


def _from_embeddings(model: UnclipModel, embeddings: Tensor, seeds: Sequence[int]) -> Tensor:
    """Images of embeddings (N,D), in batches, of 256 levels."""
    batches = zip(embeddings.split(BATCH), torch.tensor(seeds).split(BATCH), strict=True)
    drawn = [model.sample_embeddings(part, OPTIONS, numbers.tolist()) for part, numbers in batches]
    return quantize_8bit(torch.cat(drawn))


def _mean(values: Tensor) -> float:
    return values.float().mean().item()


def main() -> None:
    """Measures, prints the tables and writes them as JSON."""
    parser = argparse.ArgumentParser(description="Measures of an unCLIP model.")
    parser.add_argument("--model", type=Path, default=Path("unclip"))
    parser.add_argument("--count", type=int, default=100, help="variations")
    parser.add_argument("--pairs", type=int, default=50, help="interpolations")
    parser.add_argument("--meshes", type=int, default=8)
    parser.add_argument("--preset", default="draft", help="of dream3d, for the meshes")
    parser.add_argument("--out", type=Path, default=Path("unclip.json"))
    options = parser.parse_args()
    model = UnclipModel.load(bundled_model(options.model) or options.model)
    judge = Judge.load(BUNDLED / "judge")
    console = Console()
    figures = {
        "variations": variations(model, judge, options.count),
        "interpolations": interpolations(model, judge, options.pairs),
        "R-Precision": precision(model, options.meshes, options.preset, console.print),
    }
    for title, values in figures.items():
        table = Table(title=title)
        for column in ("", "value"):
            table.add_column(column)
        for name, value in values.items():
            table.add_row(name, f"{value:.3f}")
        console.print(table)
    write_json(options.out, {"model": str(options.model), **figures})


if __name__ == "__main__":
    main()
