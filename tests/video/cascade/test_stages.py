"""The stages of the cascade together: folders beside a video model, and what a command makes of them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from core.errors import UserError
from core.io import machine
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.models.image_model import ImageModelConfig
from core.models.super_resolution import SuperResolution, SuperResolutionConfig
from core.nn.unet import UNetConfig
from video.cascade.distilled import DistilledConfig, save_student
from video.cascade.interpolation import FrameInterpolation, InterpolationConfig
from video.clip_model import NativeClipModel, frame_doublings
from video.model_reference import NativeModelReference
from video.options import ClipOptions, ClipRequest
from video.record import read_model_record
from video.video_folder import VideoModelConfig
from video.video_model import VideoModel

STAGE = AutoencoderConfig(size=16, latent_channels=4, widths=(8, 16), decoder_blocks=(1, 1))
NETWORK = UNetConfig(in_channels=4, patch=1, widths=(32,), blocks=(1,), attention=(True,))
CONFIG = VideoModelConfig(image=ImageModelConfig(size=16, network=NETWORK, clip=None, first_stage=STAGE))
OPTIONS = ClipOptions(steps=2, guidance=1.0, frames=3, fps=8, scale=1, sampler="ddim")


def randomized(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video model and the three later stages beside it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    stage = Autoencoder(STAGE)
    denoiser = CONFIG.denoiser()
    randomized(stage)
    randomized(denoiser)
    VideoModel(CONFIG, denoiser, first_stage=stage.requires_grad_(False)).save(folder / "video")
    fingerprint = VideoModel.load(folder / "video").first_stage.fingerprint  # pyright: ignore
    large = SuperResolutionConfig(size=64, widths=(8, 8), blocks=(1, 1))
    enlarging = large.denoiser()
    randomized(enlarging)
    SuperResolution(large, enlarging).save(folder / "super_resolution")
    between = InterpolationConfig(channels=4, first_stage=fingerprint, widths=(8, 8), blocks=(1, 1))
    FrameInterpolation(between, between.denoiser()).save(folder / "interpolation")
    sha256 = read_model_record(folder / "video").sha256
    few = DistilledConfig(steps=2, rank=2, teacher=sha256)
    save_student(folder / "distilled", few, few.student(denoiser).network.state_dict(), {})
    return folder


def sampled(models: Path, **changes: object) -> torch.Tensor:
    reference = NativeModelReference(models / "video")
    options = OPTIONS.with_changes(**changes)
    reference.check(options)
    model = reference.open(options, torch.device("cpu"), False)
    return model.sample([ClipRequest("a fox", 3, options)], lambda state: None)


def test_stages_beside_a_model_enlarge_it_and_draw_frames_in_between(models: Path) -> None:
    small = sampled(models, super_resolution=0)
    assert small.shape == (1, 3, 3, 16, 16)
    large = sampled(models)
    assert large.shape == (1, 3, 3, 64, 64)
    model = SuperResolution.load(models / "super_resolution")
    frames = small[0].transpose(0, 1)
    torch.testing.assert_close(large[0].transpose(0, 1), model.sample(frames, [3, 3, 3]))  # one noise for all
    assert not torch.allclose(sampled(models, super_resolution=3), large, atol=1e-3)
    smooth = sampled(models, super_resolution=0, fps=16)
    assert smooth.shape == (1, 3, 5, 16, 16)
    torch.testing.assert_close(smooth[:, :, ::2], small)


@pytest.mark.parametrize(("fps", "doublings"), [(4, 0), (8, 0), (15.9, 0), (16, 1), (30, 1), (32, 2)])
def test_frame_rates_are_reached_by_doubling(fps: float, doublings: int) -> None:
    assert frame_doublings(fps) == doublings


def test_the_draft_tier_draws_with_the_student_in_its_own_steps(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "fast_bfloat16", lambda device: False)
    full = sampled(models, super_resolution=0)
    # A new student changes nothing yet.
    torch.testing.assert_close(sampled(models, super_resolution=0, tier="draft"), full, atol=1e-5, rtol=1e-5)
    with pytest.raises(UserError, match="takes 2 steps of ddim and guidance 1"):
        sampled(models, tier="draft", steps=4)


@pytest.mark.parametrize("fast", [True, False])
def test_the_fast_tier_samples_in_bfloat16_where_the_machine_is_fast_at_it(
    models: Path, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    monkeypatch.setattr(machine, "fast_bfloat16", lambda device: fast)
    reference, cpu = NativeModelReference(models / "video"), torch.device("cpu")
    assert reference.with_tier(OPTIONS, cpu).tier == ("fast" if fast else "exact")
    assert reference.with_tier(OPTIONS.with_changes(tier="draft"), cpu).tier == "draft"
    model = reference.open(OPTIONS.with_changes(tier="fast"), cpu, False)
    assert model.record.compute_dtype == ("bfloat16" if fast else "float32")  # pyright: ignore
    clips, exact = sampled(models, tier="fast"), sampled(models, tier="exact")
    assert clips.dtype == torch.float32 and torch.equal(exact, sampled(models))
    error = (clips - exact).square().mean() / exact.var()
    assert (1e-9 < error < 1e-2) if fast else error == 0


def test_a_model_without_stages_says_so(models: Path, tiny_model: Path) -> None:
    reference = NativeModelReference(tiny_model)
    with pytest.raises(UserError, match="cannot apply --super-resolution: no such model lies beside"):
        reference.check(OPTIONS.with_changes(super_resolution=2))
    with pytest.raises(UserError, match="cannot apply --tier: no distilled model lies beside"):
        reference.check(OPTIONS.with_changes(tier="draft"))
    reference.check(OPTIONS.with_changes(tier="fast"))
    reference.check(OPTIONS.with_changes(super_resolution=0))
    with pytest.raises(UserError, match="of other latents than the video model"):
        NativeClipModel(tiny_model, torch.device("cpu"), interpolation=models / "interpolation")
    with pytest.raises(UserError, match="takes images of another size"):
        other = SuperResolutionConfig(size=128, widths=(8,), blocks=(1,))
        folder = tiny_model.parent / "other"
        SuperResolution(other, other.denoiser()).save(folder)
        NativeClipModel(tiny_model, torch.device("cpu"), super_resolution=folder)
