"""Prompt sets for evaluation: random scenes with their prompts, reference renders and the judge's labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.toybox.actions import ACTIONS
from core.toybox.captions import articles, caption
from core.toybox.dataset import FRAMES
from core.toybox.eyes import Eyes, find_eyes
from core.toybox.render import Camera
from core.toybox.scenes import COLOR_NAMES, Scene, held_out, index_of, random_scene, render_scenes
from core.toybox.subjects import SUBJECTS
from dreamlift.evaluation.judge import Judge, view_labels

FRONT = 60.0  # degrees: azimuths are sampled from -FRONT to FRONT
ASIDE = (
    40.0,
    70.0,
)  # degrees to the left or right, for swings: from the front, no sideways motion is visible
ELEVATION = 13.0  # degrees
RENDERED = 4  # scenes rendered at once
SWING = "on a swing"


@dataclass(frozen=True)
class PromptSet:
    """N scenes of one figure each, with a shadow, and the prompts and attributes that describe them."""

    scenes: list[Scene]
    prompts: list[str]
    seeds: list[int]
    azimuth: Tensor  # degrees (N,); the elevation is ELEVATION
    phase: Tensor  # (N,), phase of the first frame, in [0, 1)

    @classmethod
    def draw(cls, count: int, held: bool, seed: int, swings: bool = False) -> PromptSet:
        """Samples `count` scenes of trained pairs or, with `held`, of held-out pairs.

        swings: sample only swings, seen from the side (`ASIDE`).
        """
        rng = np.random.default_rng([seed, held, swings, 77])  # 77: a stream that no training set uses
        scenes = [_single(rng, held, swings) for _ in range(count)]
        prompts = [full_caption(scene, rng) for scene in scenes]
        azimuth = rng.uniform(-FRONT, FRONT, count)
        if swings:
            azimuth = rng.choice([-1, 1], count) * rng.uniform(*ASIDE, count)
        phase = rng.random(count)
        seeds = [int(number) for number in rng.integers(2**31, size=count)]
        return cls(scenes, prompts, seeds, torch.tensor(azimuth).float(), torch.tensor(phase).float())

    def __len__(self) -> int:
        """Number of prompts, N."""
        return len(self.scenes)

    def batches(self, size: int) -> list[slice]:
        """Consecutive slices of at most `size` rows that cover the set."""
        return [slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def true_labels(self) -> dict[str, Tensor]:
        """True labels (N,) of every head, -1 where there is none."""
        columns = {
            "subject": [scene.subject for scene in self.scenes],
            "action": [scene.action for scene in self.scenes],
            "color": [scene.color if scene.act.colored else -1 for scene in self.scenes],
            "background": [scene.backdrop for scene in self.scenes],
        }
        labels = {name: torch.tensor(values) for name, values in columns.items()}
        return labels | {"view": view_labels(self.azimuth, labels["action"])}

    def renders(self, rows: slice, size: int, clips: bool = False) -> Tensor:
        """Reference renders (B,3,size,size), or loops of F frames (B,3,F,size,size), in [-1, 1]."""
        return self.render(rows, size, clips)[0]

    def render(self, rows: slice, size: int, clips: bool = False) -> tuple[Tensor, Eyes]:
        """The reference renders, and the eyes in each image or, in their order, in each frame."""
        scenes, frame_count = self.scenes[rows], FRAMES if clips else 1
        phases = (self.phase[rows, None] + torch.arange(frame_count) / FRAMES).flatten() % 1.0
        azimuth = self.azimuth[rows].repeat_interleave(frame_count)
        parts: list[Tensor] = []
        faces: list[Eyes] = []
        for start in range(0, len(scenes), RENDERED):
            part = slice(start * frame_count, (start + RENDERED) * frame_count)
            camera = Camera(azimuth[part], torch.full_like(azimuth[part], ELEVATION))
            shadow = torch.ones(len(azimuth[part]), dtype=torch.bool)
            some = scenes[start : start + RENDERED]
            color, picture = render_scenes(some, phases[part], camera, shadow, size)
            parts.append(color)
            faces.append(find_eyes(some, phases[part], camera, picture.depth))
        frames = quantize_8bit(torch.cat(parts) * 2 - 1)
        eyes = Eyes.cat(faces)
        return (frames.unflatten(0, (-1, frame_count)).transpose(1, 2) if clips else frames), eyes


def full_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Random caption of a single figure that names its backdrop and, where the action has one, its color."""
    color = COLOR_NAMES[scene.color]
    actions = [articles(phrase.replace("{c}", color)) for phrase in scene.act.phrases]
    places = tuple(articles(phrase) for phrase in scene.place.phrases)
    while True:
        text = caption(scene, rng)
        if text.endswith(places) and any(action in text for action in actions):
            return text


def _single(rng: np.random.Generator, held: bool, swing: bool) -> Scene:
    """Random scene of a single figure; with `swing`, on a swing before a plain backdrop."""
    scene = random_scene(rng, held)
    # A plain backdrop, because falling rain would be segmented as a part of the figure.
    while scene.group or (swing and not scene.place.plain):
        scene = random_scene(rng, held)
    if not swing:
        return scene
    subjects = [i for i, who in enumerate(SUBJECTS) if held_out(who.name, SWING) == held]
    return Scene(int(rng.choice(subjects)), index_of(ACTIONS, SWING), scene.color, scene.backdrop)


def quantize_8bit(pixels: Tensor) -> Tensor:
    """Rounds [-1, 1] to the 256 levels of a file, so that samples and renders have the same precision."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


@torch.no_grad()
def judge_images(judge: Judge, images: Tensor) -> dict[str, Tensor]:
    """Predicted labels (B,) of each head for images (B,3,H,W) in [-1, 1]."""
    return {name: logits.argmax(dim=1).cpu() for name, logits in judge(images.to(_device(judge))).items()}


@torch.no_grad()
def judge_clips(judge: Judge, clips: Tensor) -> dict[str, Tensor]:
    """Predicted labels (B,) of each head for clips (B,3,F,H,W) in [-1, 1], and of "motion".

    The image heads choose the label of the highest log-probability, averaged over the frames. "motion" is
    the action predicted from motion alone; `judge.none` stands for no known action.
    """
    clips = clips.to(_device(judge))
    logits = judge(clips.transpose(1, 2).flatten(0, 1))
    frames = clips.shape[2]
    labels = {
        name: values.log_softmax(dim=1).unflatten(0, (-1, frames)).mean(dim=1).argmax(dim=1).cpu()
        for name, values in logits.items()
    }
    return labels | {"motion": judge.clip_action(clips).argmax(dim=1).cpu()}


def _device(judge: Judge) -> torch.device:
    """Device of the judge's weights."""
    return next(judge.parameters()).device
