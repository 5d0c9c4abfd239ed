"""Tests of the judge: size, invariances of the motion head, training on synthetic shards, and its files."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.errors import UserError
from core.nn.flops import FlopCounter
from core.training.config import Budget
from dreamlift.evaluation.judge import CONFIGS, LABELS, SPINNING, Judge, JudgeConfig, view_labels
from dreamlift.evaluation.judge_training import JudgeShards, augment, motion_batch, train_judge

Command = Callable[..., "subprocess.CompletedProcess[str]"]
TINY = JudgeConfig(size=16, widths=(8, 16), motion_width=16, dropout=0.0)
FRAMES, SIDE = 16, 16
KNOWN = {*LABELS, "subject, textureless", "action, textureless", "motion"}


def tiny_judge() -> Judge:
    torch.manual_seed(0)
    return Judge(TINY).eval()


def disc(x: Tensor, size: int = SIDE) -> Tensor:
    """White discs at half height, centered at columns x (N,) in [0, size): (N,3,size,size) in [0, 255]."""
    at = torch.arange(size).float()
    apart = (at[None, None] - x[:, None, None]) ** 2 + (at[None, :, None] - size / 2) ** 2
    return (255 * torch.exp(-apart / 8))[:, None].expand(-1, 3, -1, -1).clone()


def write_shards(folder: Path) -> None:
    """Shards in which simple pixel patterns encode the labels.

    In images the brightness of red, green and blue encodes subject, action and color; in loops the speed
    encodes the action. Textureless images are gray: the brightness of their quadrants encodes subject,
    action, background and azimuth.
    """
    generator = torch.Generator().manual_seed(0)

    def rows(count: int) -> dict[str, Tensor]:
        two = torch.randint(2, (4, count), generator=generator)
        named = dict(zip(("subject", "action", "color", "background"), two, strict=True))
        named["color"] = torch.where(torch.rand(count, generator=generator) < 0.3, -1, named["color"])
        azimuth = 90.0 * torch.randint(2, (count,), generator=generator)
        zeros = torch.zeros(count)
        unused = {"caption": zeros.long(), "elevation": zeros, "phase": zeros.clone(), "shadow": zeros.byte()}
        return {**named, **unused, "azimuth": azimuth}

    images = rows(400)
    pixels = torch.randint(0, 40, (400, 3, SIDE, SIDE), generator=generator)
    for channel, name in enumerate(("subject", "action", "color")):
        pixels[:, channel, : SIDE // 2] += 180 * (images[name] > 0)[:, None, None]
    pixels[:, 0, SIDE // 2 :] += 180 * images["background"][:, None, None]
    pixels[:, 2, SIDE // 2 :] += 180 * (images["azimuth"] > 0)[:, None, None]
    save_file({**images, "pixels": pixels.byte()}, folder / "images-00000.safetensors")

    clips = rows(128)
    start = torch.rand(128, 1, generator=generator)
    moment = start + (1 + clips["action"][:, None]) * torch.arange(FRAMES) / FRAMES
    loops = disc(SIDE / 2 + 5 * torch.sin(2 * torch.pi * moment).flatten()).unflatten(0, (128, FRAMES))
    save_file({**clips, "pixels": loops.byte()}, folder / "clips-00000.safetensors")

    gray = rows(200)
    pixels = torch.randint(0, 40, (200, 1, SIDE, SIDE), generator=generator).repeat(1, 3, 1, 1)
    for quarter, name in enumerate(("subject", "action", "background", "azimuth")):
        down, across = (slice(SIDE // 2 * i, SIDE // 2 * (i + 1)) for i in divmod(quarter, 2))
        pixels[:, :, down, across] += 180 * (gray[name] > 0)[:, None, None, None]
    gray["color"] = torch.full((200,), -1)
    save_file({**gray, "pixels": pixels.byte()}, folder / "textureless-00000.safetensors")


def read_shards(folder: Path) -> tuple[JudgeShards, JudgeShards, JudgeShards]:
    images, textureless, clips = (JudgeShards(folder, k) for k in ("images", "textureless", "clips"))
    return images, textureless, clips


def test_judge_is_below_2_mb_and_40_mflop(tmp_path: Path) -> None:
    judge = Judge(JudgeConfig()).eval()
    judge.save(tmp_path, {})
    assert (tmp_path / "model.safetensors").stat().st_size <= 2e6
    with FlopCounter() as counter, torch.no_grad():
        judge(torch.zeros(1, 3, 64, 64))
    assert counter.total <= 40e6


def test_judge_of_large_pictures_is_below_3_mb_and_has_the_weights_of_its_size(tmp_path: Path) -> None:
    judge = Judge(CONFIGS[256]).eval()
    judge.save(tmp_path, {})
    assert (tmp_path / "model.safetensors").stat().st_size <= 3e6
    with FlopCounter() as counter, torch.no_grad():
        logits = Judge.load(tmp_path)(torch.zeros(1, 3, 256, 256))
    assert counter.total <= 400e6
    assert {name: values.shape[1] for name, values in logits.items()} == {
        k: len(v) for k, v in LABELS.items()
    }


def test_features_are_what_the_heads_read() -> None:
    judge = tiny_judge()
    images, clips = torch.rand(3, 3, SIDE, SIDE) * 2 - 1, torch.rand(3, 3, FRAMES, SIDE, SIDE) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(judge.heads["view"](judge.features(images)), judge(images)["view"])
        outlet = judge.motion.outlet(judge.clip_features(clips))
        torch.testing.assert_close(outlet, judge.clip_action(clips))


def test_view_labels_are_sectors_around_the_front() -> None:
    azimuth = torch.tensor([0.0, 22.0, 23.0, -22.0, 338.0, -23.0, 180.0, 350.0, 0.0, 0.0])
    action = torch.zeros(10).long()
    action[-2], action[-1] = SPINNING, -1
    assert view_labels(azimuth, action).tolist() == [0, 0, 1, 0, 0, 7, 4, 0, -1, -1]


def test_motion_head_gives_equal_logits_for_all_still_clips() -> None:
    judge = tiny_judge()
    pictures = torch.rand(5, 3, 1, SIDE, SIDE) * 2 - 1
    with torch.no_grad():
        still = judge.clip_action(pictures.expand(-1, -1, FRAMES, -1, -1))
        moving = judge.clip_action(torch.rand(5, 3, FRAMES, SIDE, SIDE) * 2 - 1)
    torch.testing.assert_close(still, still[:1].expand_as(still), rtol=0, atol=1e-5)
    assert (moving - moving[:1]).abs().max() > 1e-3


def test_clip_action_is_invariant_to_the_start_of_the_loop() -> None:
    judge, clip = tiny_judge(), torch.rand(2, 3, FRAMES, SIDE, SIDE) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(judge.clip_action(clip.roll(5, dims=2)), judge.clip_action(clip))


def test_training_reaches_high_accuracy_on_synthetic_shards(tmp_path: Path) -> None:
    write_shards(tmp_path)
    judge, right = train_judge(*read_shards(tmp_path), Budget(steps=800), TINY)
    assert right.keys() == KNOWN
    assert min(right[name] for name in KNOWN - {"motion"}) > 0.9, right
    assert right["motion"] > 0.85, right
    stills = disc(torch.linspace(3, 12, 8)).div(127.5).sub(1)[:, :, None].expand(-1, -1, FRAMES, -1, -1)
    with torch.no_grad():
        assert (judge.clip_action(stills).argmax(dim=1) == judge.none).all()


def test_training_from_a_known_judge_changes_only_the_motion_head(tmp_path: Path) -> None:
    write_shards(tmp_path)
    known = tiny_judge()
    judge, right = train_judge(*read_shards(tmp_path), Budget(steps=200), known=known)
    images = torch.rand(4, 3, SIDE, SIDE) * 2 - 1
    with torch.no_grad():
        for name, logits in judge(images).items():
            assert torch.equal(logits, known(images)[name])
    assert right["motion"] > 2 / len(LABELS["action"])
    assert not torch.equal(judge.motion.inlet.weight, known.motion.inlet.weight)


def test_augmented_still_clips_stay_still_except_for_noise() -> None:
    torch.manual_seed(0)
    clip = (torch.rand(3, 3, 1, SIDE, SIDE) * 2 - 1).expand(-1, -1, FRAMES, -1, -1)
    out = augment(clip)
    assert out.shape == clip.shape and not torch.equal(out, clip)
    assert (out.std(dim=2) < 0.12).all()  # noise of at most 0.06, over 16 frames
    assert augment(clip[:, :, 0]).shape == (3, 3, SIDE, SIDE)


def test_some_batches_of_large_pictures_look_as_at_64_pixels() -> None:
    """Stripes of four pixels survive every blur of `augment`, but not 64 pixels if they lie between those."""
    torch.manual_seed(0)
    image = (torch.arange(256) % 8 < 4).float().expand(1, 3, 256, -1)
    contrast = torch.stack([augment(image)[0, 0, 64:192, 64:192].std() for _ in range(60)])
    assert (contrast < 0.2).any() and (contrast > 0.35).float().mean() > 0.5


def test_motion_batches_hold_loops_stills_and_shuffled_frames() -> None:
    torch.manual_seed(0)
    copies, count = 2, 32
    moment = torch.arange(FRAMES).float()
    features = torch.stack([moment.expand(count, -1) + 100 * copy for copy in range(copies)])[..., None]
    out, labels = motion_batch(features, torch.full((count,), 3), none=9)
    moments = (out[..., 0] % 100).long()
    assert labels.tolist() == [9] * 8 + [3] * 24
    assert (moments[:4] == moments[:4, :1]).all()
    assert all(row.sort().values.tolist() == list(range(FRAMES)) for row in moments[4:])
    step = moments.diff(dim=1) % FRAMES
    assert (step[8:] == 1).all() and not (step[4:8] == 1).all(dim=1).any()
    assert ((out[4:, :, 0] >= 100).float().std(dim=1) == 0).all()  # all frames of a loop come from one copy


def test_saved_judge_gives_the_same_logits_to_half_precision(tmp_path: Path) -> None:
    judge = tiny_judge()
    judge.save(tmp_path, {"minutes": 1})
    images = torch.rand(4, 3, 24, 24) * 2 - 1  # another size: resized
    with torch.no_grad():
        before, after = judge(images), Judge.load(tmp_path)(images)
    for name in LABELS:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-2)


def test_judge_with_other_labels_raises_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_judge().save(tmp_path, {})
    monkeypatch.setitem(LABELS, "subject", ("unicorn", *LABELS["subject"][1:]))
    with pytest.raises(UserError, match="another toybox"):
        Judge.load(tmp_path)


def test_too_little_data_and_missing_labels_raise_user_errors(tmp_path: Path) -> None:
    write_shards(tmp_path)
    for few, message in (
        (1, "400 images, 40 textureless ones and 128 clips are too few"),
        (2, "400 images, 200 textureless ones and 40 clips are too few"),
    ):
        shards = read_shards(tmp_path)
        shards[few].tables, shards[few].starts = [shards[few].tables[0][:40]], torch.tensor([0, 40])
        with pytest.raises(UserError, match=message):
            train_judge(*shards, Budget(steps=1), TINY)
    with pytest.raises(UserError, match="pictures of 16 pixels, too few for a judge of 256"):
        train_judge(*read_shards(tmp_path), Budget(steps=1), CONFIGS[256])
    save_file({"pixels": torch.zeros(1, 3, SIDE, SIDE).byte()}, tmp_path / "images-00000.safetensors")
    with pytest.raises(UserError, match="has no 'caption'"):
        JudgeShards(tmp_path, "images")


def test_train_judge_command_writes_a_judge_with_its_accuracy(command: Command, tmp_path: Path) -> None:
    write_shards(tmp_path)
    result = command("dreamlift", "train", "judge", "--data", ".", "--out", "judge", "--minutes", 0.03)
    assert result.returncode == 0, result.stderr
    Judge.load(tmp_path / "judge")
    notes = json.loads((tmp_path / "judge/config.json").read_text())["training"]
    assert notes["minutes"] == 0.03 and notes["accuracy"].keys() == KNOWN
    assert (notes["images"], notes["textureless"], notes["clips"]) == (368, 168, 96)
    assert f"motion {notes['accuracy']['motion']:.1%}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data", "nowhere", "--out", "judge"], "nowhere holds no images"),
        (["--data", ".", "--out", "judge", "--minutes", 0], "Training needs a number of steps or of minutes"),
        (["--data", ".", "--out", "judge", "--size", 100], "--size cannot be 100: give 64 or 256"),
        (["--data", ".", "--out", "/dev/null/judge"], "Cannot write into the folder /dev/null/judge"),
    ],
)
def test_invalid_input_prints_one_line_and_exits_with_code_2(
    command: Command, arguments: list, sentence: str
) -> None:
    result = command("dreamlift", "train", "judge", *arguments)
    assert result.returncode == 2
    assert sentence in result.stderr and result.stderr.count("\n") == 1
