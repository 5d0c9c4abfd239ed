"""Training the judge on prepared shards: first the image heads, then, on frozen features, the motion head."""

import math
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import UserError
from core.training.data import Shards
from core.training.trainer import Budget, batch_indices
from dreamlift.evaluation.judge import LABELS, Judge, JudgeConfig, view_labels

BATCH, TEXTURELESS_BATCH, CLIP_BATCH = 64, 32, 64
RATE, CLIP_RATE = 2e-3, 1e-3
WARM = 0.03  # share of the run in which the rate grows
IMAGE_SHARE = 0.75  # of the time
WEIGHTS = {"subject": 1.0, "action": 3.0, "color": 1.5, "background": 0.5, "view": 1.0}  # by difficulty
MOTION = "motion."  # before the names of the motion head's weights
PASSES = 2  # differently disturbed copies of every clip's features
KEPT = 0.04  # last share of the data, never trained on: whole records, since shards are in their order
KEPT_AT_LEAST = 32

OnProgress = Callable[[str, float], None]  # what is done, which share of it


class JudgeShards(Shards):
    """Shards with what the judge is asked about."""

    COLUMNS = (*Shards.COLUMNS, "subject", "action", "color", "background")

    def labels(self, index: Tensor) -> dict[str, Tensor]:
        """index: (B,) on the CPU -> labels (B,) of every head, -1 where there is none."""
        rows = self.rows(index)
        return {**rows, "view": view_labels(rows["azimuth"], rows["action"])}

    @property
    def trained(self) -> int:
        """How many examples, from the first, may be trained on."""
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
    """The judge, in evaluation mode, and its `accuracy` on the last `KEPT` of the data.

    Every step of the images has textureless ones among them, so that shapes are known by themselves.
    The budget's minutes go to images and clips by `IMAGE_SHARE`; its steps are the images', and half as many
    the clips'.
    known: a judge that keeps what it knows of images, and whose motion head alone learns anew.
    Raises UserError when there is too little data for a batch.
    """
    batches = ((images, BATCH), (textureless, TEXTURELESS_BATCH), (clips, CLIP_BATCH))
    if any(shards.trained < batch for shards, batch in batches):
        counts = "{} images, {} textureless ones and {} clips"
        have = counts.format(*(len(shards) for shards, _ in batches))
        need = counts.format(*(batch + KEPT_AT_LEAST for _, batch in batches))
        raise UserError(f"{have} are too few: the judge needs at least {need}.")
    torch.manual_seed(seed)
    judge = Judge(known.config if known else config or JudgeConfig()).to(images.device)
    began = time.monotonic()
    if known:
        said = {name: value for name, value in known.state_dict().items() if not name.startswith(MOTION)}
        judge.load_state_dict(judge.state_dict() | said)
    else:
        _learn_images(judge, images, textureless, budget, seed, on_progress)

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
    left = minutes and max(minutes - (time.monotonic() - began) / 60, 0.1 * minutes)
    judge.motion.train()
    parameters = list(judge.motion.parameters())
    part = Budget(budget.steps and -(-budget.steps // 2), left)
    _descend(parameters, clip_loss, CLIP_RATE, part, lambda done: on_progress("clips", done))
    judge.eval()
    return judge, accuracy(judge, images, textureless, clips)


def _learn_images(
    judge: Judge,
    images: JudgeShards,
    textureless: JudgeShards,
    budget: Budget,
    seed: int,
    on_progress: OnProgress,
) -> None:
    """Teaches everything but the motion head, in `IMAGE_SHARE` of the budget's minutes."""
    batches = ((images, BATCH), (textureless, TEXTURELESS_BATCH))

    def loss(step: int) -> Tensor:
        drawn = [(shards, batch_indices(shards.trained, batch, seed, step)) for shards, batch in batches]
        both = [shards.labels(index) for shards, index in drawn]
        labels = {name: torch.cat([rows[name] for rows in both]) for name in WEIGHTS}
        seen = augment(torch.cat([shards.pixels(index) for shards, index in drawn]))
        said = judge(seen.contiguous(memory_format=torch.channels_last))  # a third faster on a CPU
        return torch.stack(
            [weight * _loss(said[name], labels[name]) for name, weight in WEIGHTS.items()]
        ).sum()

    parameters = [value for name, value in judge.named_parameters() if not name.startswith(MOTION)]
    part = Budget(budget.steps, budget.minutes and budget.minutes * IMAGE_SHARE)
    judge.train()
    _descend(parameters, loss, RATE, part, lambda done: on_progress("images", done))


@torch.no_grad()
def accuracy(
    judge: Judge, images: JudgeShards, textureless: JudgeShards, clips: JudgeShards
) -> dict[str, float]:
    """Share of right answers on the data kept from training, by head.

    "subject, textureless" and "action, textureless" are those of gray images, "motion" the action of clips.
    """
    bare = {f"{name}, textureless": name for name in ("subject", "action")}
    right: dict[str, list[Tensor]] = {name: [] for name in (*LABELS, *bare, "motion")}
    for shards, heads in ((images, {name: name for name in LABELS}), (textureless, bare)):
        for index in torch.arange(shards.trained, len(shards)).split(256):
            labels, said = shards.labels(index), judge(shards.pixels(index))
            for key, name in heads.items():
                right[key].append((said[name].argmax(1) == labels[name])[labels[name] >= 0])
    for index in torch.arange(clips.trained, len(clips)).split(16):
        action = clips.columns["action"][index.to(clips.device)]
        right["motion"].append((judge.clip_action(_frames(clips, index)).argmax(1) == action)[action >= 0])
    return {name: torch.cat(parts).float().mean().item() for name, parts in right.items()}


def augment(images: Tensor) -> Tensor:
    """Images (B,3,H,W), or loops (B,3,F,H,W) alike in every frame, disturbed a little as samplers do.

    All are moved by up to two pixels and up to twice softened more or less, for what is drawn or distilled is
    softer than renders; each is brighter or darker and has more or less contrast, and every pixel of every
    frame has noise.
    """
    *_, height, width = images.shape
    frames = images if images.ndim == 4 else images.transpose(1, 2).flatten(0, 1)
    across, down = (int(shift) for shift in torch.randint(0, 5, (2,)))
    frames = F.pad(frames, (2, 2, 2, 2), mode="replicate")[..., down : down + height, across : across + width]
    for _ in range(int(torch.randint(0, 3, ()))):
        soft = F.avg_pool2d(F.pad(frames, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        frames = frames.lerp(soft, float(torch.rand(())))
    if images.ndim == 5:
        frames = frames.unflatten(0, (len(images), -1)).transpose(1, 2)
    rows = (len(images), *[1] * (images.ndim - 1))
    contrast, brightness, noise = torch.rand(3, *rows, device=images.device)
    noisy = torch.randn_like(frames).mul_(0.05 * noise).add_(0.12 * brightness - 0.06)
    return noisy.addcmul_(frames, 0.94 + 0.12 * contrast)


def motion_batch(features: Tensor, labels: Tensor, none: int) -> tuple[Tensor, Tensor]:
    """A batch for the motion head from features (P,B,F,V) of P disturbed copies of each loop.

    Every loop begins anywhere. In a quarter of the batch the frames stand still (one moment as the copies
    show it) or come in any order: their label is `none`.
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
    return clips.pixels(index, torch.arange(clips.frames).expand(len(index), -1))


@torch.no_grad()
def _features(judge: Judge, clips: JudgeShards) -> Tensor:
    """float16 (2N,F,V) of the clips to train on, then of their mirror images: actions have no handedness.

    Disturbed once more at every call.
    """
    plain, mirrored = [], []
    for index in torch.arange(clips.trained).split(16):
        frames = augment(_frames(clips, index)).transpose(1, 2)
        for parts, seen in ((plain, frames), (mirrored, frames.flip(-1))):
            folded = seen.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            parts.append(judge.frame_features(folded).unflatten(0, frames.shape[:2]).half())
    return torch.cat(plain + mirrored)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the rows that have a label; 0 when none has."""
    known = (labels >= 0).sum().clamp(min=1)
    return F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum", label_smoothing=0.05) / known


def _descend(
    parameters: list[nn.Parameter],
    loss: Callable[[int], Tensor],
    rate: float,
    budget: Budget,
    on_progress: Callable[[float], None],
) -> None:
    """AdamW on `loss(step)`; the rate grows for `WARM` of the budget, then falls to zero as a cosine."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05)
    began, step = time.monotonic(), 0
    while (done := budget.is_spent(step, time.monotonic() - began)) < 1:
        fall = 0.5 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = rate * fall * min(1.0, max(done, 1e-3) / WARM)
        optimizer.zero_grad()
        value = loss(step)
        value.backward()
        optimizer.step()
        step += 1
        on_progress(min(done, 1.0))
