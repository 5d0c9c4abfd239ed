"""Autoregressive extension: clips longer than a model's window, each window continuing the one before."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.condition import Condition
from core.samplers import SamplerState
from core.sampling import Constraint, StepCallback
from video.nn.windows import condition_of_frames, window_starts
from video.sampling.prompt_schedule import PromptSchedule, chain
from video.sampling.reconstruction import keep_frames, start_from

OVERLAP = 4  # frames that a window takes from the one before; chosen by benchmarks/extension.py
SCALE = 3.0  # of `ReconstructionGuidance` for given frames

SampleWindow = Callable[[Tensor, Condition, Constraint | None, StepCallback | None], Tensor]
"""(noise (B,C,F,h,w), condition, constraint, callback) -> clean latents like the noise."""


@dataclass(frozen=True, eq=False)
class GivenFrames:
    """Frames that clips keep or start from, clean, as the network denoises them.

    known: (B or 1,C,K,h,w), kept; None for none. frames: their K indices, all in the first window.
    start: (B or 1,C,F,h,w), the clip whose noised version sampling starts from; None for pure noise.
    scale: of `ReconstructionGuidance` toward known frames; 0 is replacement alone.
    """

    known: Tensor | None = None
    frames: tuple[int, ...] = ()
    start: Tensor | None = None
    scale: float = SCALE


def sample_windows(
    sample: SampleWindow,
    noise: Tensor,
    condition: Condition,
    *,
    size: int,
    overlap: int = OVERLAP,
    scale: float = SCALE,
    given: GivenFrames,
    prompts: PromptSchedule | None = None,
    on_step: StepCallback | None = None,
) -> Tensor:
    """Clean latents (B,C,F,h,w) of clips of any length, from windows of `size` frames.

    The first window is sampled as it is. Every later one contains at least the last `overlap` frames of the
    clip so far, which it continues: Ho et al. 2022, "Video Diffusion Models", section 3.1.

    noise: (B,C,F,h,w). A frame has the same noise in each window that it lies in.
    condition: attributes (B,V), or (B,F,V) for all frames of the clip.
    scale: of the reconstruction guidance between windows, w_r there; 0 is the replacement method.
    given: kept or noised frames. prompts: a text for each frame, in place of the condition's.
    on_step: its states hold the whole clip so far, and count the steps of all windows.

    Raises ValueError where several windows are needed, unless 0 < overlap < size.
    """
    frames = noise.shape[2]
    if frames > size and not 0 < overlap < size:
        raise ValueError(f"windows need 0 < overlap < size, not overlap {overlap}, size {size}")
    starts = window_starts(frames, size, overlap) if frames > size else [0]
    clip = noise[:, :, :0]
    for index, first in enumerate(starts):
        window = slice(first, min(first + size, frames))
        known = clip[:, :, first:]
        start = None if given.start is None else given.start[:, :, window]
        if index > 0:
            constrain = keep_frames(known, scale, start=start)
        elif given.known is not None:
            constrain = keep_frames(given.known, given.scale, given.frames, start)
        else:
            constrain = None if start is None else start_from(start)
        if prompts:
            constrain = chain(prompts.of_frames(window), constrain)
        report = _whole_clip(on_step, clip[:, :, :first], index, len(starts)) if on_step else None
        x = sample(noise[:, :, window], condition_of_frames(condition, window), constrain, report)
        clip = torch.cat([clip, x[:, :, known.shape[2] :]], dim=2)
    return clip


def _whole_clip(on_step: StepCallback, before: Tensor, window: int, windows: int) -> StepCallback:
    """A window's callback that reports its states as those of the whole clip; `before`: the frames before."""
    if windows == 1:
        return on_step

    def report(state: SamplerState) -> None:
        x, x0 = (torch.cat([before, part], dim=2) for part in (state.x, state.x0))
        step = window * state.steps + state.step
        on_step(SamplerState(x, x0, step, windows * state.steps, state.t))

    return report


def partial_timesteps(timesteps: int, steps: int, strength: float) -> list[int]:
    """Timesteps of a sampler that starts from a clip noised to a share of the schedule, descending.

    timesteps: T of the schedule. steps: that a whole sampling takes; a part takes its share of them.
    strength: in (0, 1], the share t / T to which the clip is noised (SDEdit's t_0). 1 is all of trailing
        spacing (`core.diffusion.timestep_spacing`).
    """
    top = max(1.0, strength * timesteps)
    count = min(max(1, round(strength * steps)), int(top))
    return [round(top - i * top / count) - 1 for i in range(count)]
