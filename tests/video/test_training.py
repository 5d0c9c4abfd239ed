"""Training the video model: stretches of looping clips with their phases, and steps on images."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from core.attributes import PHASE, encode_attributes
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.io.presets import load_preset
from core.losses import clipped_snr_weight
from core.models.image_model import ImageModelConfig
from core.nn.unet import UNetConfig
from core.training.data import Captions, ConditionDropout, ImageData, Shards
from video.training.clips import (
    ClipBatch,
    ClipData,
    FrameByFrame,
    VideoPreset,
    VideoTask,
    clip_loss,
    condition_of_each,
)
from video.video_folder import VideoModelConfig

WHOLE = ConditionDropout(text=0, camera=0, phase=0, shadow=0)
IMAGE = ImageModelConfig(size=8, network=UNetConfig(widths=(32,), blocks=(1,), attention=(True,), patch=2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Clips 0 to 4: frame f of 16 has value 16 clip + f and phase clip/8 + f/16; images: first frames."""
    number = torch.arange(5)
    columns = {
        "caption": number % 2,
        "azimuth": number.float(),
        "elevation": number.float(),
        "phase": number / 8,
        "shadow": number.to(torch.uint8) % 2,
    }
    frames = (16 * number[:, None] + torch.arange(16)).view(5, 16, 1, 1, 1).expand(-1, -1, 3, 8, 8)
    save_file(
        {"pixels": frames.to(torch.uint8).contiguous(), **columns}, tmp_path / "clips-00000.safetensors"
    )
    images = {"pixels": frames[:, 0].to(torch.uint8).contiguous(), **columns}
    save_file(images, tmp_path / "images-00000.safetensors")
    return tmp_path


@pytest.fixture
def captions() -> Captions:
    torch.manual_seed(0)
    return Captions.from_states([torch.randn(length, 384) for length in (3, 5, 2)])


def test_stretches_go_round_the_loop_with_the_phase_of_each_frame(folder: Path, captions: Captions) -> None:
    data = ClipData(Shards(folder, "clips"), captions, WHOLE, frames=8, strides=(1, 2))
    torch.manual_seed(0)
    index = torch.arange(5).repeat(60)
    clips, condition = data.batch(index)
    assert clips.shape == (300, 3, 8, 8, 8) and condition.attributes.shape == (300, 8, 10)

    byte = ((clips[:, 0, :, 0, 0] + 1) * 127.5).round().long()
    assert torch.equal(byte // 16, index[:, None].expand(-1, 8))
    frame = byte % 16
    stride = (frame[:, 1:] - frame[:, :-1]) % 16
    assert torch.equal(stride, stride[:, :1].expand(-1, 7))
    assert stride.unique().tolist() == [1, 2]
    assert frame[:, 0].unique().tolist() == list(range(16))
    phase = (index[:, None] / 8 + frame / 16).flatten()
    expected = encode_attributes(300 * 8, phase=phase).unflatten(0, (300, 8))
    torch.testing.assert_close(condition.attributes[..., PHASE], expected[..., PHASE], rtol=0, atol=1e-5)
    assert condition.mask.sum(1).tolist() == [5 if i % 2 else 3 for i in index.tolist()]


def make(folder: Path, captions: Captions, image_steps: float, **preset: float) -> tuple[VideoTask, Denoiser]:
    clips = ClipData(Shards(folder, "clips"), captions, WHOLE, frames=4, strides=(1,))
    images = ImageData([Shards(folder, "images")], captions, WHOLE)
    torch.manual_seed(0)
    denoiser = VideoModelConfig(image=IMAGE).denoiser()
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.1)
    settings = VideoPreset(image_steps=image_steps, snr_gamma=5.0, **preset)
    return VideoTask(clips, images, settings, denoiser.schedule.timesteps), denoiser


@pytest.mark.parametrize(("image_steps", "losses", "temporal"), [(0.0, 2, True), (1.0, 8, False)])
def test_images_train_the_image_layers_alone(
    folder: Path, captions: Captions, image_steps: float, losses: int, temporal: bool
) -> None:
    task, denoiser = make(folder, captions, image_steps)
    loss = task.loss(denoiser, torch.tensor([0, 3]))
    assert loss.shape == (losses,) and loss.isfinite().all()
    loss.mean().backward()
    network = denoiser.network
    assert all(parameter.grad is not None for parameter in network.image.parameters())
    assert all((parameter.grad is not None) == temporal for parameter in network.temporal.parameters())


def test_steps_on_images_come_as_often_as_said(folder: Path, captions: Captions) -> None:
    task, denoiser = make(folder, captions, 0.3)
    with torch.no_grad():
        counts = [len(task.loss(denoiser, torch.tensor([0]))) for _ in range(120)]
    assert counts.count(4) / 120 == pytest.approx(0.3, abs=0.1)  # standard error 0.042
    assert counts.count(1) + counts.count(4) == 120


def test_appended_images_count_in_the_loss_as_frames_do(folder: Path, captions: Captions) -> None:
    """Against the losses of the same clips and images in calls of their own, each frame with one weight."""
    settings = {"appended_images": 2, "motion_weight": 3.0, "detail_weight": 2.0}
    task, denoiser = make(folder, captions, 0.0, **settings)
    batch = replace(task.draw(torch.tensor([0, 3])), t=torch.tensor([100, 700]))
    assert isinstance(batch, ClipBatch) and batch.images is not None and batch.of_images is not None
    images, eps = (part.transpose(1, 2).flatten(0, 1) for part in (batch.images, batch.image_noise))
    of_images = batch.of_images
    of_images = Condition(of_images.tokens, of_images.mask, of_images.attributes[:, None])
    with torch.no_grad():
        joint = task.loss(denoiser, batch) / clipped_snr_weight(denoiser, batch.t, 5.0)
        single = clip_loss(
            denoiser, images[:, :, None], batch.t.repeat_interleave(2), of_images, eps[:, :, None], 1.0, 2.0
        )
        alone = clip_loss(denoiser, batch.clips, batch.t, batch.condition, batch.noise, 3.0, 2.0)
    assert images.unique().numel() > 2 and single.std() > 0
    torch.testing.assert_close(joint, (4 * alone + single.view(2, 2).sum(1)) / 6)


@pytest.mark.parametrize(
    ("image_steps", "appended"), [(0.0, 0), (1.0, 0), (0.0, 2)], ids=["clips", "images", "both"]
)
def test_parts_of_a_batch_have_the_losses_of_the_whole(
    folder: Path, captions: Captions, image_steps: float, appended: int
) -> None:
    task, denoiser = make(folder, captions, image_steps, appended_images=appended)
    batch = task.draw(torch.tensor([0, 3, 1]))
    cuts = [round(len(batch) * cut / 3) for cut in (0, 1, 3)]
    with torch.no_grad():
        whole = task.loss(denoiser, batch)
        parts = [task.loss(denoiser, batch[slice(*ends)]) for ends in pairwise(cuts)]
    assert [len(part) for part in parts] == [len(batch) // 3, 2 * len(batch) // 3]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_appended_images_train_all_layers(folder: Path, captions: Captions) -> None:
    task, denoiser = make(folder, captions, 0.0, appended_images=1)
    loss = task.loss(denoiser, torch.tensor([0, 3]))
    assert loss.shape == (2,) and loss.isfinite().all()
    loss.mean().backward()
    assert all(parameter.grad is not None for parameter in denoiser.network.parameters())


def test_conditions_of_clips_and_images_take_turns() -> None:
    def numbered(first: int, count: int, length: int, frames: int | None = None) -> Condition:
        rows = first + torch.arange(count * (frames or 1)).float()
        attributes = rows.view(count, frames, 1) if frames else rows[:, None]
        tokens = (first + torch.arange(count).float()).view(-1, 1, 1).expand(-1, length, 1)
        return Condition(tokens, torch.ones(count, length, dtype=torch.bool), attributes)

    for clips in (numbered(0, 2, 3, frames=2), numbered(0, 2, 3)):
        joined = condition_of_each(clips, 2, numbered(10, 4, 1))
        assert joined.tokens[:, 0, 0].tolist() == [0, 0, 10, 11, 1, 1, 12, 13]
        assert joined.mask.sum(1).tolist() == [3, 3, 1, 1, 3, 3, 1, 1]
        frames = [0, 1, 2, 3] if clips.attributes.ndim == 3 else [0, 0, 1, 1]
        assert joined.attributes[:, 0].tolist() == [*frames[:2], 10, 11, *frames[2:], 12, 13]


def test_frame_by_frame_is_the_image_network(folder: Path, captions: Captions) -> None:
    task, denoiser = make(folder, captions, 0.0)
    images, condition = task.images.batch(torch.tensor([0, 1, 2]))
    t = torch.tensor([10, 500, 990])
    torch.testing.assert_close(
        FrameByFrame(denoiser.network)(images, t, condition), denoiser.network.image(images, t, condition)
    )


def test_image_layers_learn_at_a_rate_of_their_own() -> None:
    preset = VideoPreset(image_rate=0.25)
    names = [name for name, _ in VideoModelConfig(image=IMAGE).denoiser().network.named_parameters()]
    assert {preset.rate(name) for name in names if name.startswith("temporal.")} == {1.0}
    assert {preset.rate(name) for name in names if not name.startswith("temporal.")} == {0.25}


def test_presets() -> None:
    preset = load_preset("bundled-video", VideoPreset)
    assert preset.frames <= 16 and preset.training.batch_size >= 1
    with pytest.raises(ValidationError, match="strides must be at least 1"):
        VideoPreset(strides=(1, 0))
    assert load_preset("joint-video", VideoPreset).appended_images == 8
    frozen = load_preset("make-a-video", VideoPreset)
    assert frozen.rate("image.out.weight") == 0 and frozen.dropout.text == 1
    for trained_by_nothing in ({"image_steps": 0.2}, {"image_steps": 0.0, "appended_images": 1}):
        with pytest.raises(ValidationError, match="must be 0 too"):
            VideoPreset(image_rate=0.0, **trained_by_nothing)
