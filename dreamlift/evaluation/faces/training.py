"""Training of the eye detector on renders: data, removed eyes, loss, and accuracy on other renders."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.toybox.camera import Camera
from core.toybox.dataset import draw_cameras
from core.toybox.eyes import Eyes, find_eyes
from core.toybox.scenes import random_scene, render_scenes
from core.training.batch import batch_indices
from core.training.config import Budget
from dreamlift.evaluation.faces.detector import (
    STRIDE,
    EyeDetector,
    EyeDetectorConfig,
    match_eyes,
    pair_found,
)
from dreamlift.evaluation.judge_training import minimize

BATCH, RATE = 64, 2e-3
VIEWS = 4  # images of a scene
REMOVED = 0.5  # share of the images of a batch in which eyes are taken away
SPREAD = 1.2  # cells, deviation of the Gaussian about an eye in the heatmap
HELD_BACK, HELD_BACK_SEED = 256, 999  # renders on which the detector is measured

OnProgress = Callable[[str, float], None]  # name of the training part, share completed


def render_faces(
    count: int, seed: int, size: int, on_done: Callable[[float], None] = lambda done: None
) -> tuple[Tensor, Eyes]:
    """Renders of random scenes, uint8 (N,3,size,size), N = `count` rounded up to a multiple of `VIEWS`.

    They show all pairs of subject and action from all sides.
    """
    rng = np.random.default_rng([seed, 35])  # 35: a stream that no training set uses
    images: list[Tensor] = []
    parts: list[Eyes] = []
    scenes = -(-count // VIEWS)
    for number in range(scenes):
        scene = random_scene(rng, None)
        angles = (torch.from_numpy(angle) for angle in draw_cameras(rng, VIEWS))
        camera, phase = Camera(*angles), torch.from_numpy(rng.random(VIEWS).astype(np.float32))
        shadow = torch.from_numpy(rng.random(VIEWS) < 0.6)
        color, picture = render_scenes([scene], phase, camera, shadow, size)
        images.append((color * 255).round().clamp(0, 255).byte())
        parts.append(find_eyes([scene], phase, camera, picture.depth))
        on_done((number + 1) / scenes)
    return torch.cat(images), Eyes.cat(parts)


def train_detector(
    images: Tensor,
    eyes: Eyes,
    budget: Budget,
    config: EyeDetectorConfig | None = None,
    seed: int = 0,
    on_progress: Callable[[float], None] = lambda done: None,
) -> EyeDetector:
    """A detector trained on renders (N,3,H,W) uint8 with their eyes, in evaluation mode."""
    torch.manual_seed(seed)
    detector = EyeDetector(config or EyeDetectorConfig())
    batch = min(BATCH, len(images))

    def loss(step: int) -> Tensor:
        index = batch_indices(len(images), batch, seed, step)
        pixels, rows = images[index].float() / 127.5 - 1, eyes.rows(index)
        pixels, rows = remove_eyes(pixels, rows, REMOVED)
        pixels, rows = _augment(pixels, rows)
        return heatmap_loss(detector(pixels.contiguous(memory_format=torch.channels_last)), rows)

    detector.train()
    minimize(list(detector.parameters()), loss, RATE, budget, on_progress)
    return detector.eval()


def remove_eyes(images: Tensor, eyes: Eyes, share: float) -> tuple[Tensor, Eyes]:
    """Images (B,3,H,W) in [-1, 1] in which visible eyes are gone, and the eyes that remain.

    share: of the images, in which every visible eye is removed with probability 0.7: painted over in the mean
        color of the ring around it, or smeared as far as its own width.
    """
    count = eyes.visible.shape[1]
    gone = eyes.visible & (torch.rand(len(images), count) < 0.7) & (torch.rand(len(images), 1) < share)
    smeared = torch.rand(len(images), count) < 0.5
    soft = images
    for _ in range(3):
        soft = F.avg_pool2d(F.pad(soft, (4, 4, 4, 4), mode="replicate"), 9, stride=1)
    out = images.clone()
    for eye in range(count):
        rows = gone[:, eye].nonzero()[:, 0]
        if len(rows):
            painted = paint_over(out[rows], eyes.position[rows, eye], eyes.radius[rows, eye])
            mixed = _disc(out[rows], eyes.position[rows, eye], 1.8 * eyes.radius[rows, eye])
            smear = out[rows].lerp(soft[rows], mixed)
            out[rows] = torch.where(smeared[rows, eye, None, None, None], smear, painted)
    return out, eyes._replace(visible=eyes.visible & ~gone)


def paint_over(images: Tensor, position: Tensor, radius: Tensor) -> Tensor:
    """Images (B,3,H,W) whose disc at `position` (B,2) has the mean color of the ring around it.

    position, radius (B,): of an eye, in image widths.
    """
    inner, outer = _disc(images, position, 1.5 * radius), _disc(images, position, 2.0 * radius)
    ring = outer - inner
    color = (images * ring).sum((2, 3), keepdim=True) / ring.sum((2, 3), keepdim=True).clamp(min=1e-6)
    return images.lerp(color.expand_as(images), inner)


def heatmap_loss(logits: Tensor, eyes: Eyes) -> Tensor:
    """Penalty-reduced focal loss per eye (Law and Deng 2018, CornerNet, equation 1, alpha 2 and beta 4).

    logits: (B,h,w). Places at eyes in doubt do not count.
    """
    heat = logits.float().sigmoid().clamp(1e-4, 1 - 1e-4)
    side = logits.shape[-1]
    centers = (torch.arange(side, device=logits.device) + 0.5) / side
    apart = (centers - eyes.position[..., 0, None]).square()[:, :, None]
    apart = apart + (centers - eyes.position[..., 1, None]).square()[..., None]  # (B,E,h,w)
    bumps = torch.exp(-apart * side**2 / (2 * SPREAD**2)) * eyes.visible[..., None, None]
    target = bumps.amax(1)
    cell = (eyes.position * side).long().clamp(0, side - 1)
    image, eye = eyes.visible.nonzero(as_tuple=True)
    peak = torch.zeros_like(target, dtype=torch.bool)
    peak[image, cell[image, eye, 1], cell[image, eye, 0]] = True
    ignored = ((apart < (2 * eyes.radius[..., None, None]).square()) & eyes.doubtful[..., None, None]).any(1)
    positive = torch.where(peak, (1 - heat).square() * heat.log(), 0.0)
    negative = torch.where(peak | ignored, 0.0, (1 - target) ** 4 * heat.square() * (1 - heat).log())
    return -(positive + negative).sum() / eyes.visible.sum().clamp(min=1)


@torch.no_grad()
def detector_accuracy(detector: EyeDetector, images: Tensor, eyes: Eyes) -> dict[str, float]:
    """What a detector finds on renders (N,3,H,W) uint8, in [0, 1].

    recall: visible eyes that are found; precision: detections that are eyes; pairs: renders with two visible
    eyes in which both are found; "removed": pairs of which one eye was painted over, and which count as found
    nevertheless.
    """
    hits: dict[str, list[Tensor]] = {"recall": [], "precision": [], "pairs": [], "removed": []}
    for index in torch.arange(len(images)).split(64):
        pixels, rows = images[index].float() / 127.5 - 1, eyes.rows(index)
        detections = detector.detect(pixels)
        found, matched = match_eyes(detections, rows)
        hits["recall"].append(found[rows.visible])
        hits["precision"].append(matched[detections.found])
        hits["pairs"].append(found[:, :2].all(1)[rows.pair])
        painted = paint_over(pixels, rows.position[:, 0], rows.radius[:, 0])
        hits["removed"].append(pair_found(detector, painted, rows)[rows.pair])
    return {name: torch.cat(parts).float().mean().item() for name, parts in hits.items()}


def _augment(images: Tensor, eyes: Eyes) -> tuple[Tensor, Eyes]:
    """Mirrored, softer, darker, noisier images; half of the batches as they look at half of the size."""
    if torch.rand(()) < 0.5:
        images = F.interpolate(F.avg_pool2d(images, STRIDE), images.shape[-1], mode="bilinear")
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    images = images.lerp(soft, float(torch.rand(())))
    contrast, brightness, noise = torch.rand(3, len(images), 1, 1, 1)
    images = images * (0.9 + 0.2 * contrast) + 0.16 * brightness - 0.08
    images = images + 0.06 * noise * torch.randn_like(images)
    if torch.rand(()) < 0.5:
        position = torch.stack([1 - eyes.position[..., 0], eyes.position[..., 1]], -1)
        images, eyes = images.flip(-1), eyes._replace(position=position)
    return images, eyes


def _disc(images: Tensor, position: Tensor, radius: Tensor) -> Tensor:
    """Discs (B,1,H,W) in [0,1] with soft edges; position (B,2) and radius (B,) in image widths."""
    side = images.shape[-1]
    centers = (torch.arange(side) + 0.5) / side
    across, down = (centers - position[:, axis, None] for axis in (0, 1))
    apart = (across.square()[:, None] + down.square()[..., None]).sqrt()
    return (1 + (radius[:, None, None] - apart) * side / 2).clamp(0, 1)[:, None]
