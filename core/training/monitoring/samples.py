"""Sheets of samples during a run: the same prompts and seeds under the averaged weights of every step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from core.io.atomic import writable_folder
from core.io.clips.write import write_clip
from core.io.pictures import to_frames
from core.io.sheet import write_sheet

FOLDER = "samples"  # in the run folder
PROMPTS = 4  # of those that are held back
SEEDS = (0, 1)  # of each prompt
STEPS = 20  # of the sampler
SHOWN = 4  # frames of a clip on a sheet
FPS = 8  # frames per second


class Draw(Protocol):
    """Samples images (B,3,H,W), or clips (B,3,F,H,W), in [-1, 1] with the weights of a network."""

    def __call__(self, network: nn.Module, prompts: Sequence[str], seeds: Sequence[int], /) -> Tensor:
        """The samples of B prompts, each with its seed."""
        ...


class SampleSheets:
    """Writes `samples/step-000500.png` in the run folder: a row for each prompt, a column for each seed.

    Of clips the sheet shows a few frames each, and a .webp beside it plays all of them.
    """

    def __init__(
        self,
        folder: Path,
        draw: Draw,
        prompts: Sequence[str],
        steps: int,
        enabled: bool = True,
    ) -> None:
        """folder: of the run. prompts: not empty. steps: a sheet is drawn after each so many, and the last.

        enabled: whether this process draws; the others do not wait for it here.
        """
        self.folder, self.draw, self.steps, self.enabled = folder, draw, steps, enabled
        self.prompts = [prompt for prompt in prompts for _ in SEEDS]
        self.seeds = list(SEEDS) * len(prompts)

    def __call__(self, step: int, network: nn.Module, last: bool) -> dict[str, float]:
        """Writes the sheet where it is due, see `core.training.contracts.Monitor`; no values for the log."""
        if self.enabled and (last or step % self.steps == 0):
            self.write(step, network)
        return {}

    @torch.no_grad()
    def write(self, step: int, network: nn.Module) -> None:
        """Writes the sheet of a step."""
        samples = self.draw(network, self.prompts, self.seeds).float().cpu()
        clips = samples if samples.ndim == 5 else samples[:, :, None]  # (B,3,F,H,W)
        count = clips.shape[2]
        shown = torch.linspace(0, count - 1, min(count, SHOWN)).round().long()
        frames = to_frames(clips[:, :, shown].transpose(1, 2).flatten(0, 1).transpose(0, 1).numpy())
        path = writable_folder(self.folder / FOLDER) / f"step-{step:06d}.png"
        title = f"step {step}: " + " / ".join(self.prompts[:: len(SEEDS)])
        write_sheet(path, frames, title, columns=len(SEEDS) * len(shown))
        if count > 1:
            grid = clips.unflatten(0, (-1, len(SEEDS))).permute(2, 3, 0, 4, 1, 5)  # (3,F,prompts,H,seeds,W)
            playing = to_frames(grid.flatten(4, 5).flatten(2, 3).numpy())
            write_clip(path.with_suffix(".webp"), playing, FPS)


def held_prompts(captions: Sequence[str]) -> list[str]:
    """At most `PROMPTS` of captions, evenly, without repetitions and empty ones, which cannot be drawn."""
    usable = list(dict.fromkeys(caption for caption in captions if caption.strip()))
    count = min(PROMPTS, len(usable))
    return [usable[number * len(usable) // count] for number in range(count)]
