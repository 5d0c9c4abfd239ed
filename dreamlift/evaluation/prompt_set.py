"""What a generator is asked to draw, the renders of the very same, and what the judge sees in either."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.toybox.actions import ACTIONS
from core.toybox.captions import articles, caption
from core.toybox.dataset import FRAMES
from core.toybox.render import Camera
from core.toybox.scenes import COLOR_NAMES, Scene, held_out, index_of, random_scene, render_scenes
from core.toybox.subjects import SUBJECTS
from dreamlift.evaluation.judge import Judge, view_labels

FRONT = 60.0  # degrees: azimuths are drawn within so much of the front
ASIDE = (40.0, 70.0)  # the same for swings, left or right: from the front a swing does not move sideways
ELEVATION = 13.0  # degrees
RENDERED = 4  # scenes at once
SWING = "on a swing"


@dataclass(frozen=True)
class PromptSet:
    """Prompts with all that is said beside them: N scenes of one figure each, on a ground with its shadow."""

    scenes: list[Scene]
    prompts: list[str]
    seeds: list[int]
    azimuth: Tensor  # degrees (N,); the elevation is ELEVATION
    phase: Tensor  # (N,), of a clip's first frame

    @classmethod
    def draw(cls, count: int, held: bool, seed: int, swings: bool = False) -> PromptSet:
        """`count` random scenes of trained pairs or, with `held`, of held-out ones; of swings where asked."""
        rng = np.random.default_rng([seed, held, swings, 77])  # 77: not a training set's stream
        scenes = [_single(rng, held, swings) for _ in range(count)]
        prompts = [full_caption(scene, rng) for scene in scenes]
        azimuth = rng.uniform(-FRONT, FRONT, count)
        if swings:
            azimuth = rng.choice([-1, 1], count) * rng.uniform(*ASIDE, count)
        phase = rng.random(count)
        seeds = [int(number) for number in rng.integers(2**31, size=count)]
        return cls(scenes, prompts, seeds, torch.tensor(azimuth).float(), torch.tensor(phase).float())

    def __len__(self) -> int:
        return len(self.scenes)

    def batches(self, size: int) -> list[slice]:
        return [slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def true_labels(self) -> dict[str, Tensor]:
        """The right labels of every head, (N,), -1 where there is none."""
        columns = {
            "subject": [scene.subject for scene in self.scenes],
            "action": [scene.action for scene in self.scenes],
            "color": [scene.color if scene.act.colored else -1 for scene in self.scenes],
            "background": [scene.backdrop for scene in self.scenes],
        }
        labels = {name: torch.tensor(values) for name, values in columns.items()}
        return labels | {"view": view_labels(self.azimuth, labels["action"])}

    def renders(self, rows: slice, size: int, clips: bool = False) -> Tensor:
        """The true pictures (B,3,size,size), or one loop of clips (B,3,F,size,size), in [-1, 1]."""
        scenes, each = self.scenes[rows], FRAMES if clips else 1
        moments = (self.phase[rows, None] + torch.arange(each) / FRAMES).flatten() % 1.0
        azimuth = self.azimuth[rows].repeat_interleave(each)
        pictures = []
        for start in range(0, len(scenes), RENDERED):
            few = slice(start * each, (start + RENDERED) * each)
            camera = Camera(azimuth[few], torch.full_like(azimuth[few], ELEVATION))
            shadow = torch.ones(len(azimuth[few]), dtype=torch.bool)
            pictures.append(
                render_scenes(scenes[start : start + RENDERED], moments[few], camera, shadow, size)[0]
            )
        frames = torch.cat(pictures) * 2 - 1
        return quantize_8bit(frames.unflatten(0, (-1, each)).transpose(1, 2) if clips else frames)


def full_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption of a single figure that names its color, where the action has one, and its backdrop."""
    color = COLOR_NAMES[scene.color]
    doings = [articles(phrase.replace("{c}", color)) for phrase in scene.act.phrases]
    places = tuple(articles(phrase) for phrase in scene.place.phrases)
    while True:
        text = caption(scene, rng)
        if text.endswith(places) and any(doing in text for doing in doings):
            return text


def _single(rng: np.random.Generator, held: bool, swing: bool) -> Scene:
    scene = random_scene(rng, held)
    # Swings stand before plain backdrops: falling rain would be taken for a part of the figure.
    while scene.group or (swing and not scene.place.plain):
        scene = random_scene(rng, held)
    if not swing:
        return scene
    subjects = [i for i, who in enumerate(SUBJECTS) if held_out(who.name, SWING) == held]
    return Scene(int(rng.choice(subjects)), index_of(ACTIONS, SWING), scene.color, scene.backdrop)


def quantize_8bit(pixels: Tensor) -> Tensor:
    """[-1, 1] in the 256 levels of a file, so that samples and renders are equally fine."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


@torch.no_grad()
def judge_images(judge: Judge, images: Tensor) -> dict[str, Tensor]:
    """Images (B,3,H,W) in [-1, 1] -> the label (B,) each head chooses."""
    return {name: logits.argmax(dim=1).cpu() for name, logits in judge(images.to(_device(judge))).items()}


@torch.no_grad()
def judge_clips(judge: Judge, clips: Tensor) -> dict[str, Tensor]:
    """Clips (B,3,F,H,W) in [-1, 1] -> the label (B,) each head chooses, by all frames' mean log-probability.

    "motion" is the action by motion alone, `judge.none` where it sees that of no action.
    """
    clips = clips.to(_device(judge))
    logits = judge(clips.transpose(1, 2).flatten(0, 1))
    frames = clips.shape[2]
    chosen = {
        name: values.log_softmax(dim=1).unflatten(0, (-1, frames)).mean(dim=1).argmax(dim=1).cpu()
        for name, values in logits.items()
    }
    return chosen | {"motion": judge.clip_action(clips).argmax(dim=1).cpu()}


def _device(judge: Judge) -> torch.device:
    return next(judge.parameters()).device
