"""Data of the video benchmarks: clips and images of 16x16 pixels of a small part of the toybox, and a judge.

Eight subjects do five actions in front of eight plain backdrops, all unknown to a model but subject and
action, which are its text. A loop has eight frames. There are few clips and many images, as in life.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.digits import train
from core.attributes import WIDTH as ATTRIBUTE_WIDTH
from core.condition import Condition
from core.io.atomic import atomic_write
from core.toybox.backdrops import BACKDROPS, PROP_COLORS
from core.toybox.camera import Camera
from core.toybox.dataset import PLAIN
from core.toybox.scenes import Scene, named_scene, render_scenes
from core.training.data import Captions, ConditionDropout, ImageData, Shards, read_shard, to_float_images
from core.training.tasks.super_resolution import ImagePairs, inputs_path
from video.training.clips import ClipData

SUBJECTS = ("panda", "fox", "robot", "penguin", "frog", "lobster", "corgi", "astronaut")
ACTIONS = ("jumping", "dancing", "waving", "running", "on a swing")
PLACES = [BACKDROPS[index].name for index in PLAIN]
PAIRS = len(SUBJECTS) * len(ACTIONS)
SIZE, FRAMES, FACTOR = 16, 8, 2
TEXT_WIDTH = 32
AZIMUTH, ELEVATION = 20.0, 12.0
LABEL = "means"  # of the inputs of super-resolution
COUNTS = {"few": 16, "many": 1200, "images": 3000, "large": 1500}
DROPOUT = ConditionDropout(text=0.1, camera=1.0, phase=1.0, shadow=1.0)
AT_ONCE = 64  # scenes
FAULTS = 4
JUDGED, JUDGE_STEPS, FEATURES = 800, 1500, 32


def scenes(count: int, rng: np.random.Generator) -> tuple[list[Scene], Tensor]:
    """Random scenes, each pair of subject and action equally often, and the index of each one's pair."""
    pairs = rng.permutation(np.arange(count) % PAIRS)
    chosen = [
        named_scene(SUBJECTS[pair // len(ACTIONS)], ACTIONS[pair % len(ACTIONS)], color, backdrop)
        for pair, color, backdrop in zip(
            pairs, rng.choice(list(PROP_COLORS), count), rng.choice(PLACES, count), strict=True
        )
    ]
    return chosen, torch.from_numpy(pairs)


def render(chosen: list[Scene], phase: Tensor, frames: int, size: int) -> Tensor:
    """Loops of the scenes from the moments phase (N,), uint8 (N,frames,3,size,size)."""
    moments = ((phase[:, None] + torch.arange(frames) / frames) % 1).float()
    parts: list[Tensor] = []
    for first in range(0, len(chosen), AT_ONCE):
        part, t = chosen[first : first + AT_ONCE], moments[first : first + AT_ONCE].flatten()
        camera = Camera(torch.full_like(t, AZIMUTH), torch.full_like(t, ELEVATION))
        color, _ = render_scenes(part, t, camera, torch.zeros(len(t), dtype=torch.bool), size, 64 // size)
        parts.append((color * 255).round().byte().unflatten(0, (len(part), frames)))
    return torch.cat(parts)


def prepare(folder: Path) -> None:
    """Renders what is missing of the world: clips in `few` and `many`, `images`, and `large` images."""
    for number, (name, count) in enumerate(COUNTS.items()):
        kind = "clips" if name in ("few", "many") else name
        path = folder / name / f"{kind}-00000.safetensors"
        if path.exists():
            continue
        rng = np.random.default_rng(number)
        chosen, pairs = scenes(count, rng)
        phase = torch.from_numpy(rng.random(count))
        pixels = render(
            chosen, phase, FRAMES if kind == "clips" else 1, SIZE * (FACTOR if name == "large" else 1)
        )
        tensors = {"pixels": pixels if kind == "clips" else pixels[:, 0], "caption": pairs, "phase": phase}
        zeros = {name: torch.zeros(count) for name in ("azimuth", "elevation", "shadow")}
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "large":
            means = F.avg_pool2d(pixels[:, 0].float(), FACTOR)
            save_file({"inputs": means[:, None].round().byte()}, inputs_path(path, LABEL))
        with atomic_write(path) as draft:
            save_file({**tensors, **zeros}, draft)


class Judge(nn.Module):
    """Reads subject, action and fault of clips; its last hidden layer (B,32) is the space of the metrics.

    The faults are those of `Spoil`. Without them the features would be those of a few still frames, and a
    Frechet distance in them blind to motion.
    """

    def __init__(self, size: int) -> None:
        """size: of the frames, pixels."""
        super().__init__()
        widths = [3, 16, 32, 32][: size.bit_length() - 2]
        layers = [(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU()) for a, b in pairwise(widths)]
        self.frame = nn.Sequential(*chain(*layers), nn.Flatten(), nn.Linear(widths[-1] * 16, 64), nn.ReLU())
        self.motion = nn.Conv1d(64, 64, 3, padding=1, padding_mode="circular")
        self.hidden = nn.Linear(128, FEATURES)
        self.out = nn.Linear(FEATURES, len(SUBJECTS) + len(ACTIONS) + FAULTS + 1)

    def features(self, clips: Tensor) -> Tensor:
        """(B,32) of clips (B,3,F,H,W) in [-1, 1]."""
        frames = self.frame(clips.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(clips), -1))
        h = F.relu(self.motion(frames.transpose(1, 2)))
        return self.hidden(torch.cat([h.mean(2), h.amax(2)], dim=1))

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the subject, of the action, and of the fault, 0 for none."""
        logits = self.out(F.relu(self.features(clips)))
        subject, action, fault = logits.split([len(SUBJECTS), len(ACTIONS), FAULTS + 1], dim=1)
        return subject, action, fault

    @classmethod
    def trained(cls, clips: Tensor, pairs: Tensor, spoil: Spoil) -> Judge:
        """A judge trained on clips with a fixed seed."""
        torch.manual_seed(0)
        judge = cls(clips.shape[-1])

        def loss(index: Tensor) -> Tensor:
            half, labels = len(index), pairs[index]
            faults = torch.randint(FAULTS, (half,))
            batch = torch.cat([clips[index], spoil(clips, pairs, index, faults)])
            subject, action, fault = judge(batch + 0.02 * torch.randn_like(batch))
            return (
                F.cross_entropy(subject[:half], labels // len(ACTIONS))
                + F.cross_entropy(action[:half], labels % len(ACTIONS))
                + F.cross_entropy(fault, torch.cat([torch.zeros_like(faults), faults + 1]))
            )

        train(judge, loss, len(clips), JUDGE_STEPS, batch=64)
        return judge.eval().requires_grad_(False)

    def accuracy(self, clips: Tensor, pairs: Tensor) -> float:
        """Share of clips in which both subject and action are read right."""
        subject, action, _ = self(clips)
        return ((subject.argmax(1) * len(ACTIONS) + action.argmax(1)) == pairs).double().mean().item()


Spoil = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(all clips (N,3,F,H,W), their pairs (N,), index (B,), faults (B,) in [0, FAULTS)) -> clips with faults."""


def disorder(clips: Tensor, pairs: Tensor, index: Tensor, faults: Tensor) -> Tensor:
    """Faults of motion: frames shuffled, frozen, with a jump, or each of another clip of the same caption."""
    count, frames = len(index), clips.shape[2]
    fault, order = faults[:, None], torch.arange(frames).expand(count, -1)
    shuffled, still = torch.rand(count, frames).argsort(1), torch.zeros_like(order)
    jump = torch.randint(2, frames - 1, (count, 1))
    jumped = torch.where(order > 3, (order + jump) % frames, order)
    for number, changed in enumerate((shuffled, still, jumped)):
        order = torch.where(fault == number, changed, order)
    alike = pairs[index][:, None, None] == pairs  # (count,1,N)
    others = (torch.rand(count, frames, len(clips)) * alike).argmax(2)
    rows = torch.where(fault == 3, others, index[:, None])
    return clips.transpose(1, 2)[rows, order].transpose(1, 2)


def degrade(clips: Tensor, pairs: Tensor, index: Tensor, faults: Tensor) -> Tensor:
    """Faults of images, clips of one frame: half or a third of the resolution, and noise of two levels."""
    images = clips[index][:, :, 0]
    size = images.shape[2:]
    blurred = [F.interpolate(F.avg_pool2d(images, 2), size, mode="bicubic")]
    blurred += [F.interpolate(F.interpolate(images, scale_factor=1 / 3, mode="area"), size, mode="bicubic")]
    faulty = torch.stack([*blurred, *(images + level * torch.randn_like(images) for level in (0.1, 0.2))])
    return faulty[faults, torch.arange(len(index))][:, :, None]


class World:
    """The data of a prepared folder.

    few, many: clips. images, large: single images, the latter with means of FACTOR x FACTOR pixels.
    """

    def __init__(self, folder: Path) -> None:
        prepare(folder)
        words = torch.randn(
            len(SUBJECTS) + len(ACTIONS) + 1, TEXT_WIDTH, generator=torch.Generator().manual_seed(0)
        )
        actions = words[len(SUBJECTS) :]
        texts = [torch.stack([who, how]) for who in words[: len(SUBJECTS)] for how in actions[:-1]]
        self.captions = Captions.from_states([*texts, words[-1:]])
        self.few, self.many = (Shards(folder / name, "clips") for name in ("few", "many"))
        self.images = ImageData([Shards(folder / "images", "images")], self.captions, DROPOUT)
        self.large = ImagePairs(folder / "large", LABEL)
        large = read_shard(folder / "large" / "large-00000.safetensors", ("pixels", "caption"))
        self.large_images, self.large_pairs = to_float_images(large["pixels"]), large["caption"]

    def clips(self, labeled: bool = True) -> ClipData:
        """The few clips as training data, with or without their captions."""
        dropout = DROPOUT if labeled else DROPOUT.model_copy(update={"text": 1.0})
        return ClipData(self.few, self.captions, dropout, FRAMES, (1,))

    def condition(self, pairs: Tensor) -> Condition:
        """The captions of pairs of subject and action (B,); of the empty prompt for -1."""
        text = self.captions(torch.where(pairs < 0, PAIRS, pairs))
        return Condition(*text, torch.zeros(len(pairs), ATTRIBUTE_WIDTH))

    @cached_property
    def real(self) -> tuple[Tensor, Tensor]:
        """All of the many clips, (N,3,F,SIZE,SIZE) in [-1, 1], and their pairs."""
        index = torch.arange(len(self.many))
        frames = torch.arange(FRAMES).expand(len(index), -1)
        return self.many.pixels(index, frames), self.many.columns["caption"]

    @cached_property
    def judge(self) -> Judge:
        """Judge of clips, trained on two thirds of the many."""
        clips, pairs = self.real
        return Judge.trained(clips[:JUDGED], pairs[:JUDGED], disorder)

    @cached_property
    def large_judge(self) -> Judge:
        """Judge of large images, trained on two thirds of them."""
        count = len(self.large_images) * 2 // 3
        return Judge.trained(self.large_images[:count, :, None], self.large_pairs[:count], degrade)
