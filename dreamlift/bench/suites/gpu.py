"""`dreamlift bench gpu`: checkpoints at full size in bfloat16 on a CUDA GPU, eager and compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch

from dreamlift.bench.peers import animatediff, checkpoints, stable_diffusion
from dreamlift.bench.peers.full_size import QUICK_SIZE, SIZE, Side, compare_at_full_size
from dreamlift.bench.peers.stable_diffusion import Place
from dreamlift.bench.plan import Row, Settings
from dreamlift.bench.results import Comparison
from dreamlift.bench.worker import Step

STEPS, DISTILLATION_STEPS, FRAMES = 25, 200, 16
QUICK_STEPS = 2


def rows() -> list[Row]:
    """The rows of the suite."""
    return [
        Row("Stable Diffusion 1.5, 25 steps", partial(_measure, "image", stable_diffusion.SAMPLING, 1)),
        Row("AnimateDiff, 16 frames, 25 steps", partial(_measure, "clip", animatediff.CLIPS, FRAMES)),
        Row("score distillation, 200 steps", _distillation),
    ]


def _measure(
    kind: str, prepared: Mapping[str, Callable[..., Step]], frames: int, settings: Settings
) -> Comparison:
    steps = QUICK_STEPS if settings.quick else STEPS
    place = _place(settings)._replace(steps=steps, frames=frames)
    name = f"{kind}, {frames} x {place.size}x{place.size}, {steps} steps, bfloat16"
    return compare_at_full_size(name, _eager_and_compiled(place, prepared), settings, per=kind)


def _distillation(settings: Settings) -> Comparison:
    steps = QUICK_STEPS if settings.quick else DISTILLATION_STEPS
    place = _place(settings)
    prepared = {
        library: partial(repeated, prepare, steps)
        for library, prepare in stable_diffusion.DISTILLATION.items()
    }
    name = f"SDS of an image of {place.size}x{place.size}, {steps} steps, bfloat16"
    return compare_at_full_size(name, _eager_and_compiled(place, prepared), settings, per="run")


def repeated(prepare: Callable[..., Step], times: int, place: Place) -> Step:
    """Prepares a step that does the prepared one several times and returns the last scalar."""
    step = prepare(place)

    def steps() -> float:
        return [step() for _ in range(times)][-1]

    return steps


def _eager_and_compiled(place: Place, prepared: Mapping[str, Callable[..., Step]]) -> dict[str, Side]:
    eager = {library: Side(prepare, place) for library, prepare in prepared.items()}
    compiled = {
        f"{library} compiled": Side(prepare, place._replace(compiled=True))
        for library, prepare in prepared.items()
    }
    return eager | compiled


def _place(settings: Settings) -> Place:
    """The checkpoint with its motion adapter, written at first use."""
    folder, motion = settings.folder / "sd", settings.folder / "motion"
    checkpoints.stable_diffusion(folder, tiny=settings.quick)
    checkpoints.motion_adapter(motion, tiny=settings.quick)
    size = QUICK_SIZE if settings.quick else SIZE
    return Place(folder, settings.device, torch.bfloat16, size, motion=motion)
