"""What given frames show: place, color, camera and phase, read by the denoiser itself.

The condition under which a denoiser predicts an image best is the one that describes it: Li et al. 2023,
"Your Diffusion Model is Secretly a Zero-Shot Classifier", algorithm 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.toybox.actions import ACTIONS
from core.toybox.backdrops import BACKDROPS
from core.toybox.captions import articles
from core.toybox.scenes import COLOR_NAMES

# Timesteps at which predictions are compared, as shares of the schedule: of the camera and the phase, and of
# what covers large areas.
LEVELS, COARSE_LEVELS = (0.3, 0.5, 0.7), (0.5, 0.7, 0.9)
AZIMUTHS = tuple(float(azimuth) for azimuth in range(-180, 180, 30))  # degrees
REFINEMENT = (-20.0, -10.0, 0.0, 10.0, 20.0)  # degrees, around the best azimuth
ELEVATION = 13.0  # degrees, the mean of the training views
ELEVATIONS = (0.0, ELEVATION, 26.0)
PHASES = 16


class Appearance(NamedTuple):
    """What given frames show."""

    color: str | None  # of the prop; None where the prompt names it, or has none
    place: str | None  # as in "on a red background"; None where the prompt names it
    azimuth: float  # degrees
    elevation: float
    phase: float  # of the clip's first frame, in [0, 1)


EncodeTexts = Callable[[Sequence[str], Tensor], Condition]
"""(N prompts, attributes (N,K,V)) -> condition of length N."""

EncodeView = Callable[[float | None, float | None, float | None], Tensor]
"""(azimuth, elevation, phase of the first frame, each None where unknown) -> attributes (1,K,V)."""


def recognize(
    denoiser: Denoiser,
    frames: Tensor,
    prompt: str,
    texts: EncodeTexts,
    view: EncodeView,
    camera: tuple[float, float] | None = None,
) -> Appearance:
    """What frames show that a prompt is about, one property after another, each by the smallest error.

    denoiser: of clips, with a network that can leave out its temporal layers.
    frames: (1,C,K,h,w), clean, as the network denoises them.
    camera: azimuth and elevation, where they are known.
    """
    alone = denoiser.with_network(_IndependentFrames(denoiser.network))

    def best(prompts: Sequence[str], views: Sequence[Tensor], levels: Sequence[float] = LEVELS) -> int:
        conditions = texts(prompts, torch.cat([*views]))
        return int(prediction_errors(alone, frames, conditions, levels).argmin())

    def best_view(text: str, views: Sequence[Tensor]) -> int:
        return best([text] * len(views), views)

    open_view = view(*(camera or (None, None)), None)
    places = [backdrop.name for backdrop in BACKDROPS]
    located = [describe(prompt, place=place) for place in places]
    place = None
    if located[0] != prompt:
        place = places[best(located, [open_view] * len(places), COARSE_LEVELS)]
    text = describe(prompt, place=place)

    azimuth, elevation = camera or (0.0, ELEVATION)
    if camera is None:
        azimuth = AZIMUTHS[best_view(text, [view(each, elevation, None) for each in AZIMUTHS])]
        elevation = ELEVATIONS[best_view(text, [view(azimuth, each, None) for each in ELEVATIONS])]
        nearby = [azimuth + offset for offset in REFINEMENT]
        azimuth = nearby[best_view(text, [view(each, elevation, None) for each in nearby])]
    phases = [i / PHASES for i in range(PHASES)]
    phase = phases[best_view(text, [view(azimuth, elevation, each) for each in phases])]

    color = None
    colored = [describe(text, color=each) for each in COLOR_NAMES]
    if colored[0] != text:
        color = COLOR_NAMES[best(colored, [view(azimuth, elevation, phase)] * len(colored))]
    return Appearance(color, place, azimuth, elevation, phase)


@torch.no_grad()
def prediction_errors(
    denoiser: Denoiser, frames: Tensor, conditions: Condition, levels: Sequence[float] = LEVELS
) -> Tensor:
    """Mean squared errors of the noise predicted in frames under N conditions, (N,); mean over the levels.

    frames: (1,C,K,h,w), clean. The noise is the same for all conditions.
    """
    count = len(conditions)
    generator = torch.Generator().manual_seed(0)
    errors = torch.zeros(count, device=frames.device)
    for level in levels:
        t = torch.full((count,), round(level * denoiser.schedule.timesteps) - 1, device=frames.device)
        eps = torch.randn(frames.shape, generator=generator).to(frames)
        noisy = denoiser.schedule.add_noise(frames, eps, t[:1]).expand(count, *frames.shape[1:])
        errors += (denoiser.predict(noisy, t, conditions).eps - eps).square().flatten(1).mean(1)
    return errors / len(levels)


def describe(prompt: str, color: str | None = None, place: str | None = None) -> str:
    """The prompt with the prop's color and the place, each where it is given and the prompt names none."""
    lowered, text = prompt.lower(), prompt
    if color and not any(re.search(rf"\b{name}\b", lowered) for name in COLOR_NAMES):
        phrases = [phrase for action in ACTIONS for phrase in action.phrases if "{c}" in phrase]
        for phrase in sorted(phrases, key=len, reverse=True):
            bare = articles(phrase.replace("{c} ", ""))
            if bare in lowered:
                start = lowered.index(bare)
                text = prompt[:start] + phrase.replace("{c}", color) + prompt[start + len(bare) :]
                break
    named = "background" in lowered or any(p in lowered for b in BACKDROPS for p in b.phrases)
    return articles(f"{text} {place}" if place and not named else text)


class _IndependentFrames(nn.Module):
    """A space-time network without its temporal layers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clip: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.network(clip, t, condition, independent_frames=True)
