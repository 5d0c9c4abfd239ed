"""Measures of samples and of renders of the same scenes, side by side and at the same size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.models.text_encoder import TextEncoder
from core.models.unclip.contrastive import ContrastiveModel
from core.toybox.eyes import Eyes
from dreamlift.evaluation.faces.detector import EyeDetector, pair_found
from dreamlift.evaluation.image_metrics import edge_width, noise_level
from dreamlift.evaluation.judge import Judge
from dreamlift.evaluation.prompt_set import PromptSet, judge_clips, judge_images, quantize_8bit
from dreamlift.evaluation.video_metrics import (
    compensated_flicker,
    flicker,
    horizontal_position,
    motion,
    sine_fit,
    unsteadiness,
)

SHOWN_IMAGES, SHOWN_CLIPS = 32, 8  # number of samples on the contact sheets
EMBEDDING = "joint embedding"  # of images and texts, among the features
EYES = "two eyes"  # share of the frames that show both eyes of a face in which both are found
IMAGE_MEASURES = {"edge width": (edge_width, "px"), "noise": (noise_level, "of 255")}
FLICKER = "flicker outside the figure"
CLIP_MEASURES = {
    FLICKER: (flicker, "of 255"),
    "unsteadiness": (unsteadiness, "of 255"),
    "flicker after motion compensation": (compensated_flicker, "of 255"),
    "motion inside": (motion, "of 255"),
}

Sample = Callable[[PromptSet, slice], Tensor]  # samples of these rows of a prompt set, in [-1, 1]


@dataclass
class EvaluationResult:
    """Labels, measures and features of N samples or renders, by name, and the first few pictures.

    labels and measures are (N,), features (N,V), or (N F,V) for frames. A measure is NaN where it does not
    apply.
    """

    labels: dict[str, Tensor]
    measures: dict[str, Tensor]
    features: dict[str, Tensor]
    shown: Tensor

    @classmethod
    def cat(cls, parts: list[EvaluationResult], shown: int) -> EvaluationResult:
        """Concatenates the results of consecutive batches; at most `shown` pictures remain."""
        first = parts[0]
        labels = {name: torch.cat([part.labels[name] for part in parts]) for name in first.labels}
        measures = {name: torch.cat([part.measures[name] for part in parts]) for name in first.measures}
        features = {name: torch.cat([part.features[name] for part in parts]) for name in first.features}
        return cls(labels, measures, features, torch.cat([part.shown for part in parts])[:shown])


@dataclass(frozen=True)
class Instruments:
    """The networks that measure pictures. Without a detector, eyes are not looked for.

    contrastive: adds the joint embedding of images and texts to the features of images.
    """

    judge: Judge
    detector: EyeDetector | None = None
    contrastive: ContrastiveModel | None = None

    def measure(self, pictures: Tensor, eyes: Eyes) -> EvaluationResult:
        """Result of images (B,3,H,W) or clips (B,3,F,H,W) in [-1, 1].

        eyes: those of renders of the same scenes, for each image or, in their order, for each frame.
        """
        clips = pictures.ndim == 5
        frames = pictures.transpose(1, 2).flatten(0, 1) if clips else pictures
        measures = {
            name: _mean_over_frames(measure(frames), len(pictures))
            for name, (measure, _) in IMAGE_MEASURES.items()
        }
        if self.detector:
            found = pair_found(self.detector, frames, eyes).float()
            found = torch.where(eyes.pair, found, torch.nan)
            measures[EYES] = _mean_over_frames(found, len(pictures))
        if not clips:
            labels = judge_images(self.judge, pictures)
            return EvaluationResult(labels, measures, self.features(pictures), pictures)
        measures |= {name: measure(pictures) for name, (measure, _) in CLIP_MEASURES.items()}
        fit = sine_fit(horizontal_position(pictures))
        measures |= {"r2": fit.r2, "amplitude": fit.amplitude}
        return EvaluationResult(
            judge_clips(self.judge, pictures), measures, self.features(pictures), pictures
        )

    @torch.no_grad()
    def embed_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Unit embeddings (N,D) of prompts in the joint space, on the CPU, each encoded alone.

        Raises ValueError without a contrastive model.
        """
        model = self.contrastive
        if not model:
            raise ValueError("these instruments have no contrastive model")
        encoder = TextEncoder(model.log_scale.device)
        distinct = {prompt: model.embed_texts(*encoder([prompt]))[0].cpu() for prompt in set(prompts)}
        return torch.stack([distinct[prompt] for prompt in prompts])

    @torch.no_grad()
    def features(self, pictures: Tensor) -> dict[str, Tensor]:
        """Features of content and detail of images (B,3,H,W) or frames, and of the motion of clips."""
        pictures = pictures.to(next(self.judge.parameters()).device)
        frames = pictures.transpose(1, 2).flatten(0, 1) if pictures.ndim == 5 else pictures
        features = {"content": self.judge.features(frames), "detail": self.judge.detail_features(frames)}
        if pictures.ndim == 5:
            features["motion"] = self.judge.clip_features(pictures)
        if self.contrastive and pictures.ndim == 4:
            reduced = at_size(pictures, self.contrastive.config.size)
            features[EMBEDDING] = self.contrastive.embed_images(reduced)
        return {name: values.cpu() for name, values in features.items()}


def compare(
    prompt_set: PromptSet,
    sample: Sample,
    instruments: Instruments,
    batch: int,
    size: int | None,
    clips: bool,
) -> tuple[EvaluationResult, EvaluationResult]:
    """Results of the samples and of the renders of a prompt set at the same size.

    size: side in pixels at which both are measured, see `at_size`; None for that of the samples.
    """
    shown = SHOWN_CLIPS if clips else SHOWN_IMAGES
    of_samples: list[EvaluationResult] = []
    of_renders: list[EvaluationResult] = []
    for number, rows in enumerate(prompt_set.batches(batch)):
        drawn = sample(prompt_set, rows)
        drawn = quantize_8bit(at_size(drawn, size or drawn.shape[-1]))
        renders, eyes = prompt_set.render(rows, drawn.shape[-1], clips)
        for results, pictures in ((of_samples, drawn), (of_renders, renders)):
            part = instruments.measure(pictures, eyes)
            part.shown = part.shown[: max(0, shown - number * batch)]
            results.append(part)
    return EvaluationResult.cat(of_samples, shown), EvaluationResult.cat(of_renders, shown)


def reference_features(
    prompt_set: PromptSet, instruments: Instruments, batch: int, size: int, clips: bool
) -> dict[str, Tensor]:
    """Features of the renders of a prompt set, as in `EvaluationResult`."""
    parts = [
        instruments.features(prompt_set.renders(rows, size, clips)) for rows in prompt_set.batches(batch)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def at_size(pictures: Tensor, size: int) -> Tensor:
    """Pictures (B,3,H,W) or (B,3,F,H,W) with sides of `size` pixels.

    Smaller ones are enlarged bicubically, larger ones are reduced with antialiasing.
    """
    if pictures.shape[-1] == size:
        return pictures
    frames = pictures.transpose(1, 2).flatten(0, 1) if pictures.ndim == 5 else pictures
    smaller = pictures.shape[-1] > size
    frames = F.interpolate(frames, size, mode="bilinear" if smaller else "bicubic", antialias=smaller)
    frames = frames.clamp(-1, 1)
    return frames.unflatten(0, (len(pictures), -1)).transpose(1, 2) if pictures.ndim == 5 else frames


def _mean_over_frames(values: Tensor, count: int) -> Tensor:
    """Means (B,) of the values (B F,) over the frames of each clip, without those that are NaN."""
    return values.unflatten(0, (count, -1)).nanmean(dim=1)
