"""Training of the judge on prepared shards: the image heads, then the motion head on frozen features."""

import math
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import UserError
from core.io.machine import fast_bfloat16
from core.training.batch import batch_indices
from core.training.config import Budget
from core.training.data import Shards
from dreamlift.evaluation.judge import LABELS, Judge, JudgeConfig, view_labels

BATCH, TEXTURELESS_BATCH, CLIP_BATCH = 64, 32, 64
RATE, CLIP_RATE = 2e-3, 1e-3
WARM = 0.03  # share of the budget for the warm-up of the learning rate
IMAGE_SHARE = 0.75  # share of the time for the image heads
WEIGHTS = {"subject": 1.0, "action": 3.0, "color": 1.5, "background": 0.5, "view": 1.0}  # by difficulty
MOTION = "motion."  # prefix of the names of the motion head's weights
PASSES = 2  # differently augmented copies of every clip's features
KEPT = 0.04  # last share of the data, held back: complete records, because shards are in record order
KEPT_AT_LEAST = 32

OnProgress = Callable[[str, float], None]  # name of the training part, share completed


class JudgeShards(Shards):
    """Shards with the labels of the judge's heads."""

    COLUMNS = (*Shards.COLUMNS, "subject", "action", "color", "background")

    def labels(self, index: Tensor) -> dict[str, Tensor]:
        """Labels (B,) of every head, -1 where there is none, for the rows `index` (B,) on the CPU."""
        rows = self.rows(index)
        return {**rows, "view": view_labels(rows["azimuth"], rows["action"])}

    @property
    def trained(self) -> int:
        """Number of samples to train on, from the first; the rest is held back."""
        return len(self) - max(KEPT_AT_LEAST, round(KEPT * len(self)))


def train_judge(
    images: JudgeShards,
    textureless: JudgeShards,
    clips: JudgeShards,
    budget: Budget,
    config: JudgeConfig | None = None,
    seed: int = 0,
    on_progress: OnProgress = lambda what, done: None,
    known: Judge | None = None,
) -> tuple[Judge, dict[str, float]]:
    """Trains a judge; returns it in evaluation mode with its `accuracy` on the held-back data (`KEPT`).

    Every batch of images includes textureless ones, so that subjects are also recognized by shape alone.
    `IMAGE_SHARE` of the budget's minutes goes to the images, the rest to the clips. The budget's steps are
    those on images; half as many follow on clips.

    known: a judge whose weights are reused, except for the motion head, which alone is trained.
    Raises UserError when there is too little data for a batch.
    """
    batches = ((images, BATCH), (textureless, TEXTURELESS_BATCH), (clips, CLIP_BATCH))
    if any(shards.trained < batch for shards, batch in batches):
        counts = "{} images, {} textureless ones and {} clips"
        available = counts.format(*(len(shards) for shards, _ in batches))
        required = counts.format(*(batch + KEPT_AT_LEAST for _, batch in batches))
        raise UserError(f"{available} are too few: the judge needs at least {required}.")
    torch.manual_seed(seed)
    judge = Judge(known.config if known else config or JudgeConfig()).to(images.device)
    for shards in (images, textureless, clips):
        if judge.config.size > 64 and shards.tables[0].shape[-1] < judge.config.size // 2:
            raise UserError(
                f"The shards hold pictures of {shards.tables[0].shape[-1]} pixels, too few for a judge of "
                f"{judge.config.size}: prepare them with dreamlift toybox --size {judge.config.size}."
            )
    started = time.monotonic()
    if known:
        reused = {name: value for name, value in known.state_dict().items() if not name.startswith(MOTION)}
        judge.load_state_dict(judge.state_dict() | reused)
    else:
        _train_images(judge, images, textureless, budget, seed, on_progress)

    judge.eval()
    copies = []
    for number in range(PASSES):
        on_progress("features of clips", number / PASSES)
        copies.append(_features(judge, clips))
    on_progress("features of clips", 1.0)
    features = torch.stack(copies)
    actions = clips.columns["action"][: clips.trained].repeat(2)

    def clip_loss(step: int) -> Tensor:
        index = batch_indices(len(actions), CLIP_BATCH, seed + 1, step).to(actions.device)
        loops, labels = motion_batch(features[:, index].float(), actions[index], judge.none)
        return _loss(judge.motion(loops), labels)

    minutes = budget.minutes
    remaining = minutes and max(minutes - (time.monotonic() - started) / 60, 0.1 * minutes)
    judge.motion.train()
    parameters = list(judge.motion.parameters())
    part = Budget(budget.steps and -(-budget.steps // 2), remaining)
    minimize(parameters, clip_loss, CLIP_RATE, part, lambda done: on_progress("clips", done))
    judge.eval()
    return judge, accuracy(judge, images, textureless, clips)


def _train_images(
    judge: Judge,
    images: JudgeShards,
    textureless: JudgeShards,
    budget: Budget,
    seed: int,
    on_progress: OnProgress,
) -> None:
    """Trains all weights except the motion head's, in `IMAGE_SHARE` of the budget's minutes."""
    batches = ((images, BATCH), (textureless, TEXTURELESS_BATCH))

    def loss(step: int) -> Tensor:
        parts = [(shards, batch_indices(shards.trained, batch, seed, step)) for shards, batch in batches]
        both = [shards.labels(index) for shards, index in parts]
        labels = {name: torch.cat([rows[name] for rows in both]) for name in WEIGHTS}
        pixels = augment(torch.cat([shards.pixels(index) for shards, index in parts]))
        logits = judge(pixels.contiguous(memory_format=torch.channels_last))  # a third faster on a CPU
        return torch.stack(
            [weight * _loss(logits[name], labels[name]) for name, weight in WEIGHTS.items()]
        ).sum()

    parameters = [value for name, value in judge.named_parameters() if not name.startswith(MOTION)]
    part = Budget(budget.steps, budget.minutes and budget.minutes * IMAGE_SHARE)
    judge.train()
    minimize(parameters, loss, RATE, part, lambda done: on_progress("images", done))


@torch.no_grad()
def accuracy(
    judge: Judge, images: JudgeShards, textureless: JudgeShards, clips: JudgeShards
) -> dict[str, float]:
    """Accuracy of each head on the held-back data, in [0, 1].

    "subject, textureless" and "action, textureless" are those of gray images, "motion" the action of clips.
    """
    gray = {f"{name}, textureless": name for name in ("subject", "action")}
    correct: dict[str, list[Tensor]] = {name: [] for name in (*LABELS, *gray, "motion")}
    for shards, heads in ((images, {name: name for name in LABELS}), (textureless, gray)):
        for index in torch.arange(shards.trained, len(shards)).split(64):
            labels, logits = shards.labels(index), judge(shards.pixels(index))
            for key, name in heads.items():
                correct[key].append((logits[name].argmax(1) == labels[name])[labels[name] >= 0])
    for index in torch.arange(clips.trained, len(clips)).split(_clips_at_once(clips)):
        action = clips.columns["action"][index.to(clips.device)]
        correct["motion"].append((judge.clip_action(_frames(clips, index)).argmax(1) == action)[action >= 0])
    return {name: torch.cat(parts).float().mean().item() for name, parts in correct.items()}


def augment(images: Tensor) -> Tensor:
    """Random augmentation of images (B,3,H,W) or loops (B,3,F,H,W) that imitates the errors of samplers.

    One shift by up to two pixels of 64 and up to two random blurs are shared by the batch: samples and
    distilled objects are softer than renders. Half of the batches of larger images look as at 64 or 128
    pixels. Brightness, contrast and noise level are random per image or loop and
    constant over its frames; the noise itself is independent per pixel and frame.
    """
    *_, height, width = images.shape
    frames = images if images.ndim == 4 else images.transpose(1, 2).flatten(0, 1)
    scale = max(1, height // 64)
    most = 2 * scale
    left, top = (int(shift) for shift in torch.randint(0, 2 * most + 1, (2,)))
    frames = F.pad(frames, (most, most, most, most), mode="replicate")
    frames = frames[..., top : top + height, left : left + width]
    if scale > 1 and torch.rand(()) < 0.5:
        coarse = F.avg_pool2d(frames, scale if torch.rand(()) < 0.5 else scale // 2)
        frames = F.interpolate(coarse, (height, width), mode="bicubic")
    for _ in range(int(torch.randint(0, 3, ()))):
        blurred = F.avg_pool2d(F.pad(frames, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        frames = frames.lerp(blurred, float(torch.rand(())))
    if images.ndim == 5:
        frames = frames.unflatten(0, (len(images), -1)).transpose(1, 2)
    rows = (len(images), *[1] * (images.ndim - 1))
    contrast, brightness, noise = torch.rand(3, *rows, device=images.device)
    noisy = torch.randn_like(frames).mul_(0.05 * noise).add_(0.12 * brightness - 0.06)
    return noisy.addcmul_(frames, 0.94 + 0.12 * contrast)


def motion_batch(features: Tensor, labels: Tensor, none: int) -> tuple[Tensor, Tensor]:
    """Training batch (B,F,V) of the motion head, and its labels (B,), from features of augmented loops.

    Every loop starts at a random frame of a random copy. A quarter of the batch is labeled `none`: in one
    eighth a single frame is repeated, from random copies; in the other the frames are in random order.

    features: (P,B,F,V) of P augmented copies of each loop. labels: actions (B,).
    """
    copies, count, frames, _ = features.shape
    row = torch.arange(count, device=features.device)[:, None]
    start = torch.randint(frames, (count, 1), device=features.device)
    order = (start + torch.arange(frames, device=features.device)) % frames
    copy = torch.randint(copies, (count, 1), device=features.device).expand(-1, frames).clone()

    eighth = max(1, count // 8)
    order[:eighth] = start[:eighth]
    copy[:eighth] = torch.randint(copies, (eighth, frames), device=features.device)
    order[eighth : 2 * eighth] = torch.rand(eighth, frames, device=features.device).argsort(dim=1)
    labels = labels.clone()
    labels[: 2 * eighth] = none
    return features[copy, row, order], labels


def _frames(clips: Shards, index: Tensor) -> Tensor:
    """All frames of the clips `index` (B,): (B,3,F,H,W) in [-1, 1]."""
    return clips.pixels(index, torch.arange(clips.frames).expand(len(index), -1))


def _clips_at_once(clips: Shards) -> int:
    """Number of clips whose frames fit into memory together: 16 of 64 pixels, one of 256."""
    return max(1, 16 * 64**2 // clips.tables[0].shape[-1] ** 2)


@torch.no_grad()
def _features(judge: Judge, clips: JudgeShards) -> Tensor:
    """Frame features, float16 (2N,F,V), of the N training clips and then of their mirror images.

    Mirroring is valid because actions have no handedness. Every call draws a new augmentation.
    """
    plain, mirrored = [], []
    for index in torch.arange(clips.trained).split(_clips_at_once(clips)):
        frames = augment(_frames(clips, index)).transpose(1, 2)
        for parts, view in ((plain, frames), (mirrored, frames.flip(-1))):
            folded = view.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            parts.append(judge.frame_features(folded).unflatten(0, frames.shape[:2]).half())
    return torch.cat(plain + mirrored)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy, with label smoothing 0.05, of the labeled rows; 0 when no row is labeled."""
    count = (labels >= 0).sum().clamp(min=1)
    return F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum", label_smoothing=0.05) / count


def minimize(
    parameters: list[nn.Parameter],
    loss: Callable[[int], Tensor],
    rate: float,
    budget: Budget,
    on_progress: Callable[[float], None],
) -> None:
    """Minimizes `loss(step)` with AdamW; the rate warms up over `WARM` and decays to zero as a cosine.

    The loss is computed in bfloat16 where that is fast.
    """
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05)
    device = parameters[0].device
    started, step = time.monotonic(), 0
    while (done := budget.is_spent(step, time.monotonic() - started)) < 1:
        decay = 0.5 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = rate * decay * min(1.0, max(done, 1e-3) / WARM)
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=fast_bfloat16(device)):
            value = loss(step)
        value.backward()
        optimizer.step()
        step += 1
        on_progress(min(done, 1.0))
