"""Tensors of clips: attributes of their frames, noise that frames share, functions of single frames."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from core.attributes import encode_attributes


def frame_by_frame(function: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """A function of images (N,C,H,W) applied to all frames of clips (B,C,F,H,W)."""
    frames = function(clips.transpose(1, 2).flatten(0, 1))
    return frames.unflatten(0, (len(clips), -1)).transpose(1, 2)


def clip_attributes(
    count: int, frames: int, step: float | Tensor, phase: Tensor | float | None, **constant: Any
) -> Tensor:
    """Attributes (count,frames,V) of clips: frame i at phase + i step; the rest is constant over frames.

    phase, step: scalars or (count,); constant: as in `core.attributes.encode_attributes`.
    """
    rows = {name: _each_frame(value, count, frames) for name, value in constant.items()}
    if phase is not None:
        start, later = _each_frame(phase, count, frames), _each_frame(step, count, frames)
        rows["phase"] = start + later * torch.arange(frames, device=start.device).repeat(count)
    return encode_attributes(count * frames, **rows).unflatten(0, (count, frames))


def phase_step_to(last: float, first: Tensor | float, steps: int, loop: int) -> Tensor | float:
    """The step that leads from one phase to another in so many steps, and comes closest to 1/loop."""
    way = (last - first) % 1
    whole = (steps / loop - way).round() if isinstance(way, Tensor) else round(steps / loop - way)
    return (way + whole) / steps


def _each_frame(value: Any, count: int, frames: int) -> Any:
    if value is None:
        return None
    return torch.as_tensor(value, dtype=torch.float32).expand(count).repeat_interleave(frames)


def mixed_noise(common: Tensor, own: Tensor, share: float) -> Tensor:
    """Noise of clips whose frames have `share` of their variance in common, standard normal in each frame.

    common: (B,C,1,H,W), own: (B,C,F,H,W), both standard normal. The mixed noise of Ge et al. 2023, "Preserve
    Your Own Correlation" (PYoCo), with share = alpha^2 / (1 + alpha^2).
    """
    return share**0.5 * common + (1 - share) ** 0.5 * own
