"""Claims of papers on video diffusion, tested on tiny models that are trained here; exit code 1 if one fails.

    python -m benchmarks.video_orderings [--seeds 0 1 2] [--only images ...] [--effort 1] [--out folder]

Every model is trained on clips of 8 frames of 16x16 pixels of a part of the toybox (`benchmarks.video_world`)
on one thread. Frechet distances are those of clips, or images, in the features of a judge that was trained on
renders. Each claim must hold for every seed by its margin:

    images          joint training with 4 and with 8 independent images after every clip, masked to themselves
                    in the temporal layers, gives a smaller distance than clips alone (Ho et al. 2022, "Video
                    Diffusion Models", section 4.3.1: 202, 68 and 58)
    guidance        a larger guidance scale increases the judged accuracy and decreases the recall (same
                    paper, section 4.3.2)
    extension       clips of four windows are closer to real ones by reconstruction guidance than by
                    replacement (same paper, section 4.3.3: 136 against 451)
    frozen          temporal layers trained on clips without captions turn a frozen image model into a video
                    model (Singer et al. 2022, "Make-A-Video"), which joint training surpasses
    augmentation    noise-conditioning augmentation improves super-resolution of a base model's samples and
                    costs little on true inputs (Ho et al. 2021, "Cascaded Diffusion Models", section 4.2)

effort: multiplies all training steps; the margins are meant for 1 and more.
out: folder of video_orderings.json and of the rendered world, which later runs use again.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from functools import cache, cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import claims
from benchmarks.claims import Claim, options
from benchmarks.digits import train
from benchmarks.video_world import FACTOR, FRAMES, PAIRS, SIZE, TEXT_WIDTH, World
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.models.super_resolution import SuperResolution, SuperResolutionConfig
from core.nn.unet import UNet, UNetConfig
from core.samplers import noise_like
from core.sampling import Constraint, StepCallback, sample_latents
from core.sampling_options import SamplingOptions
from core.training.tasks.super_resolution import InputShares, SuperResolutionPreset, SuperResolutionTask
from dreamlift.evaluation.distribution_metrics import frechet_distance, precision_recall
from dreamlift.evaluation.video_metrics import seam
from video.nn.space_time_unet import SpaceTimeUNet, inflate
from video.nn.temporal import TemporalConfig
from video.sampling.extension import SCALE, GivenFrames, sample_windows
from video.training.clips import VideoPreset, VideoTask

NETWORK = UNetConfig(
    patch=4,
    widths=(48,),
    blocks=(1,),
    attention=(True,),
    head_width=16,
    feed_forward=0,
    context_width=TEXT_WIDTH,
)
SCHEDULE = NoiseSchedule.cosine()
TEMPORAL = TemporalConfig(head_width=16)
LARGE = SuperResolutionConfig(size=SIZE * FACTOR, factor=FACTOR, widths=(32, 48), blocks=(1, 1))
STEPS = {"clips": 800, "images": 800, "temporal": 800, "large": 400}  # of training
BATCH = 8  # clips
SAMPLES = 320  # clips or images of a Frechet distance
LONG_SAMPLES = 80
AT_ONCE = 16  # clips in a network call
SAMPLING_STEPS = 12
SCALES = (1.0, 2.0, 4.0)
OVERLAP, WINDOWS = FRAMES // 2, 4
CHOSEN = f"scale {SCALE:g}"  # of reconstruction guidance, the default of `gen-video`
LEVELS = (0.1, 0.2, 0.3)  # of the augmentation; its best one counts, as in the paper


class Lab:
    """The models of one seed, each trained at its first use."""

    def __init__(self, seed: int, effort: float, world: World) -> None:
        """effort: multiplies the training steps."""
        self.seed, self.effort, self.world = seed, effort, world
        self.joint = cache(self._joint)

    def _train(
        self, kind: str, network: nn.Module, loss: Callable[[Tensor], Tensor], size: int, batch: int
    ) -> None:
        torch.manual_seed(self.seed)
        train(network.train(), loss, size, max(1, round(self.effort * STEPS[kind])), batch)
        network.eval().requires_grad_(False)

    def _denoiser(self) -> Denoiser:
        torch.manual_seed(self.seed)
        network = inflate(UNet(NETWORK), TEMPORAL)
        return Denoiser(network, SCHEDULE, Parameterization.X0, 1.0)

    def _task(self, labeled: bool = True, image_steps: float = 0.0, appended_images: int = 0) -> VideoTask:
        preset = VideoPreset(
            frames=FRAMES,
            strides=(1,),
            noise_share=0.0,
            snr_gamma=5.0,
            image_steps=image_steps,
            appended_images=appended_images,
        )
        return VideoTask(self.world.clips(labeled), self.world.images, preset, SCHEDULE.timesteps)

    def _joint(self, images: int) -> Denoiser:
        """A model of clips, trained with so many images after every clip."""
        denoiser, task = self._denoiser(), self._task(appended_images=images)
        self._train(
            "clips", denoiser.network, lambda index: task.loss(denoiser, index).mean(), len(task), BATCH
        )
        return denoiser

    @cached_property
    def image(self) -> Denoiser:
        """A model of images. Its temporal layers are new: it draws clips frame by frame."""
        denoiser, task = self._denoiser(), self._task(image_steps=1.0)
        self._train(
            "images", denoiser.network, lambda index: task.loss(denoiser, index).mean(), len(task), BATCH
        )
        return denoiser

    @cached_property
    def frozen(self) -> Denoiser:
        """The model of images with temporal layers that alone were trained, on clips without captions."""
        denoiser, task = copy.deepcopy(self.image), self._task(labeled=False)
        network: SpaceTimeUNet = denoiser.network  # pyright: ignore[reportAssignmentType]
        temporal = network.temporal.requires_grad_(True)
        self._train("temporal", temporal, lambda index: task.loss(denoiser, index).mean(), len(task), BATCH)
        return denoiser

    def sample(
        self, denoiser: Denoiser, count: int, scale: float = 1.0, frames: int = FRAMES
    ) -> tuple[Tensor, Tensor]:
        """Clips (count,3,frames,SIZE,SIZE) in [-1, 1] of all pairs in turn, and the pairs (count,)."""
        pairs = torch.arange(count) % PAIRS
        draw = partial(self._draw, denoiser, scale)
        clips = [
            draw(self._noise(rows, frames), self.world.condition(pairs[rows]))
            for rows in torch.arange(count).split(AT_ONCE)
        ]
        return torch.cat(clips), pairs

    def extend(self, denoiser: Denoiser, count: int, scale: float) -> Tensor:
        """Clips of several windows (count,3,F,SIZE,SIZE); scale 0 is replacement."""
        frames = FRAMES + (WINDOWS - 1) * (FRAMES - OVERLAP)
        clips = [
            sample_windows(
                partial(self._draw, denoiser, 1.0),
                self._noise(rows, frames),
                self.world.condition(rows % PAIRS),
                size=FRAMES,
                overlap=OVERLAP,
                scale=scale,
                given=GivenFrames(),
            )
            for rows in torch.arange(count).split(AT_ONCE)
        ]
        return torch.cat(clips).clamp(-1, 1)

    def _noise(self, rows: Tensor, frames: int) -> Tensor:
        generators = [torch.Generator().manual_seed(1000 * self.seed + row) for row in rows.tolist()]
        return noise_like((len(rows), 3, frames, SIZE, SIZE), generators)

    def _draw(
        self,
        denoiser: Denoiser,
        scale: float,
        noise: Tensor,
        condition: Condition,
        constrain: Constraint | None = None,
        on_step: StepCallback | None = None,
    ) -> Tensor:
        nothing = self.world.condition(torch.tensor([-1]))
        settings = SamplingOptions(SAMPLING_STEPS, scale, "dpm-solver++")
        drawn = sample_latents(denoiser, noise, condition, nothing, settings, [], constrain=constrain)
        return drawn if constrain else drawn.clamp(-1, 1)

    def distance(self, clips: Tensor) -> float:
        """Frechet distance of clips from the real ones."""
        judge = self.world.judge
        return frechet_distance(judge.features(clips), judge.features(self.world.real[0]))

    def super_resolution(self, greatest_level: float) -> SuperResolution:
        """A model trained on true low-resolution images with augmentation up to a level."""
        preset = SuperResolutionPreset(
            model=LARGE,
            crop=SIZE,
            whole_steps=0.0,
            inputs=InputShares(rendered=1.0, reconstructed=0.0, resampled=0.0),
            greatest_level=greatest_level,
            one_step_share=0.0,
            held_back=1,
        )
        torch.manual_seed(self.seed)
        denoiser, task = LARGE.denoiser(), SuperResolutionTask(self.world.large, preset)
        self._train("large", denoiser.network, lambda index: task.loss(denoiser, index).mean(), len(task), 32)
        return SuperResolution(LARGE, denoiser)


def images(lab: Lab) -> tuple[dict[str, Any], list[Claim]]:
    """Distances of joint training with 0, 4 and 8 images."""
    distances = {count: lab.distance(lab.sample(lab.joint(count), SAMPLES)[0]) for count in (0, 4, 8)}
    return {"distance": distances}, [
        Claim("images: distance with 0 over 4", distances[0] / distances[4], 1.2),
        Claim("images: distance with 4 over 8", distances[4] / distances[8], 1.0),
    ]


def guidance(lab: Lab) -> tuple[dict[str, Any], list[Claim]]:
    """Accuracy and recall at growing scales."""
    rows: list[dict[str, float]] = []
    judge, real = lab.world.judge, lab.world.real[0]
    for scale in SCALES:
        clips, pairs = lab.sample(lab.joint(8), SAMPLES, scale)
        features = judge.features(clips)
        trade = precision_recall(judge.features(real), features)
        row = {"scale": scale, "accuracy": judge.accuracy(clips, pairs), "distance": lab.distance(clips)}
        rows.append({**row, **trade._asdict(), "spread": spread(features, pairs)})
    gains = [after["accuracy"] - before["accuracy"] for before, after in pairwise(rows)]
    losses = [before["recall"] - after["recall"] for before, after in pairwise(rows)]
    return {"scales": rows}, [
        Claim("guidance: accuracy, least rise", min(gains), -0.01),
        Claim("guidance: accuracy, rise in all", sum(gains), 0.05),
        Claim("guidance: recall, least fall", min(losses), -0.01),
        Claim("guidance: recall, fall in all", sum(losses), 0.1),
    ]


def spread(features: Tensor, pairs: Tensor) -> float:
    """Mean variance of the features of clips with the same caption."""
    of_each = [features[pairs == pair].var(0).sum() for pair in pairs.unique()]
    return torch.stack(of_each).mean().item()


def extension(lab: Lab) -> tuple[dict[str, Any], list[Claim]]:
    """Distances of the windows of long clips after the first, half of which continue given frames; seams."""
    distances: dict[str, float] = {}
    seams: dict[str, float] = {}
    for name, scale in (("replacement", 0.0), ("scale 1", 1.0), (CHOSEN, SCALE)):
        clips = lab.extend(lab.joint(8), LONG_SAMPLES, scale)
        starts = range(FRAMES - OVERLAP, clips.shape[2] - FRAMES + 1, FRAMES - OVERLAP)
        distances[name] = lab.distance(torch.cat([clips[:, :, first : first + FRAMES] for first in starts]))
        seams[name] = seam(clips, [first + OVERLAP for first in starts]).mean().item()
    margin = distances["replacement"] / distances[CHOSEN]
    return {"distance": distances, "seam": seams}, [
        Claim("extension: distance by replacement over guidance", margin, 1.1)
    ]


def frozen(lab: Lab) -> tuple[dict[str, Any], list[Claim]]:
    """Distances of clips drawn frame by frame, of stills, by temporal layers alone, and by joint training."""
    single = lab.sample(lab.image, SAMPLES, frames=1)[0]
    clips = {
        "frame by frame": lab.sample(lab.image, SAMPLES)[0],
        "stills": single.expand(-1, -1, FRAMES, -1, -1),
        "temporal layers alone": lab.sample(lab.frozen, SAMPLES)[0],
        "joint training": lab.sample(lab.joint(8), SAMPLES)[0],
    }
    figures = {name: lab.distance(part) for name, part in clips.items()}
    pairs = torch.arange(SAMPLES) % PAIRS
    accuracy = {name: lab.world.judge.accuracy(part, pairs) for name, part in clips.items()}
    motion = {name: change(part) / change(lab.world.real[0]) for name, part in clips.items()}
    alone = figures["temporal layers alone"]
    return {"distance": figures, "accuracy": accuracy, "motion": motion}, [
        Claim(
            "frozen: distance frame by frame over that of temporal layers",
            figures["frame by frame"] / alone,
            1.5,
        ),
        Claim("frozen: distance of stills over that of temporal layers", figures["stills"] / alone, 1.1),
        Claim(
            "frozen: distance of temporal layers over joint training", alone / figures["joint training"], 1.0
        ),
    ]


def change(clips: Tensor) -> float:
    """Mean difference of a frame from the one before."""
    return (clips[:, :, 1:] - clips[:, :, :-1]).abs().mean().item()


def augmentation(lab: Lab) -> tuple[dict[str, Any], list[Claim]]:
    """Distances of large images from samples and from true low-resolution images."""
    world, judge = lab.world, lab.world.large_judge
    real = judge.features(world.large_images[:, :, None])
    rows = torch.arange(SAMPLES)
    inputs = {
        "samples": lab.sample(lab.image, SAMPLES, frames=1)[0][:, :, 0],
        "true": torch.stack([world.large.crop(row, 0, 0, 0, SIZE)[0] for row in rows.tolist()]),
    }
    figures: dict[str, dict[str, float]] = {}
    for name, greatest, levels in (("without", 0.0, ()), ("with", 0.5, LEVELS)):
        model = lab.super_resolution(greatest)
        for source, low in inputs.items():
            figures[f"{name}, {source}"] = {}
            for level in (0.0, *(levels if source == "samples" else ())):
                large = model.sample(low, rows.tolist(), steps=4, level=level)
                features = judge.features(large[:, :, None])
                figures[f"{name}, {source}"][f"level {level:g}"] = frechet_distance(features, real)
    least = {name: min(distances.values()) for name, distances in figures.items()}
    return {"distance": figures}, [
        Claim(
            "augmentation: distance of samples without over with",
            least["without, samples"] / least["with, samples"],
            1.05,
        ),
        Claim(
            "augmentation: distance of true inputs without over with",
            least["without, true"] / least["with, true"],
            0.8,
        ),
    ]


ORDERINGS: Mapping[str, Callable[[Lab], tuple[dict[str, Any], list[Claim]]]] = {
    "images": images,
    "guidance": guidance,
    "extension": extension,
    "frozen": frozen,
    "augmentation": augmentation,
}


def main() -> None:
    """Tests the claims and prints their margins; exits with code 1 if one does not hold."""
    arguments = options(__doc__, list(ORDERINGS))
    with tempfile.TemporaryDirectory() as temporary:
        world = World((arguments.out or Path(temporary)) / "world")
        claims.run(
            arguments, lambda seed: Lab(seed, arguments.effort, world), ORDERINGS, "video_orderings.json"
        )


if __name__ == "__main__":
    main()
