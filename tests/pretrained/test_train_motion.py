"""Motion layers trained by `dreamlift train video` on a checkpoint, measured and sampled by diffusers."""

from pathlib import Path

import pytest
import torch
from diffusers import AnimateDiffPipeline, DDIMScheduler, MotionAdapter
from torch import Tensor

from core.condition import Condition
from core.errors import UserError
from dreamlift.commands.training import train
from dreamlift.commands.training.export import export_command
from tests.pretrained.motion_checkpoints import adapter, random_weights
from tests.pretrained.training_presets import (
    checkpoint_of,
    losses,
    noise_like,
    prepared_captions,
    prepared_clips,
    preset,
)
from video.animatediff import motion_training
from video.animatediff.motion_model import load_motion_model
from video.animatediff.motion_training import TrainableMotion

CPU = torch.device("cpu")
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear"}
SAMPLING = {"steps_offset": 1, "clip_sample": False, "set_alpha_to_one": False}


@pytest.fixture(scope="module")
def trained(sd_eps: Path, moving: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the prepared data, a run of 50 steps and its adapter."""
    folder = tmp_path_factory.mktemp("motion")
    settings = preset(folder / "motion.yaml", frames=8)
    train.video(moving, folder / "run", sd_eps, preset=settings, steps=50, cache=folder / "data")
    export_command(folder / "run", folder / "adapter")
    return folder


def pipeline_of(folder: Path, motion: MotionAdapter) -> AnimateDiffPipeline:
    pipeline = AnimateDiffPipeline.from_pretrained(
        folder, motion_adapter=motion, scheduler=DDIMScheduler(**SCHEDULE, **SAMPLING)
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def new_adapter(like: MotionAdapter) -> MotionAdapter:
    """An adapter with which every frame is the image model's."""
    made = MotionAdapter.from_config(like.config)
    for name, parameter in made.named_parameters():
        if ".proj_out." in name:
            torch.nn.init.zeros_(parameter)
    return made


@torch.no_grad()
def errors_by_diffusers(pipeline: AnimateDiffPipeline, clips: Tensor, captions: list[str]) -> Tensor:
    """Squared errors of the noise at fixed noise, of what all frames share and of what changes: (2,)."""
    sums = torch.zeros(2)
    for number in range(0, len(clips), 2):
        clip, caption = clips[number], captions[number]
        images = clip.transpose(0, 1)  # (F,3,H,W)
        latents = pipeline.vae.encode(images).latent_dist.mean * pipeline.vae.config.scaling_factor
        x0 = latents.transpose(0, 1)[None]  # (1,C,F,h,w)
        text = pipeline.encode_prompt(caption, "cpu", 1, False)[0]
        for t in (200, 500, 800):
            noise = noise_like(x0, 100 * number + t)
            x = pipeline.scheduler.add_noise(x0, noise, torch.tensor([t]))
            states = text.repeat_interleave(x.shape[2], 0)
            error = pipeline.unet(x, t, encoder_hidden_states=states).sample - noise
            common = error.mean(2, keepdim=True)
            sums += torch.stack([common.square().mean(), (error - common).square().mean()])
    return sums


def test_the_loss_falls_at_fixed_noise_on_what_moves(sd_eps: Path, trained: Path) -> None:
    clips, captions = prepared_clips(trained / "data"), prepared_captions(trained / "data")
    assert clips.shape == (8, 3, 8, 64, 64)  # two windows of each clip of 9 frames
    motion = MotionAdapter.from_pretrained(trained / "adapter")
    before = errors_by_diffusers(pipeline_of(sd_eps, new_adapter(motion)), clips, captions)
    after = errors_by_diffusers(pipeline_of(sd_eps, motion), clips, captions)
    assert (after < 0.95 * before).all(), (before, after)


def test_a_clip_of_the_trained_layers_equals_diffusers(sd_eps: Path, trained: Path) -> None:
    motion = MotionAdapter.from_pretrained(trained / "adapter")
    noise = noise_like(torch.empty(1, 4, 3, 8, 8), 3)
    settings = {"guidance_scale": 1.0, "num_inference_steps": 3, "num_frames": 3, "output_type": "pt"}
    theirs = pipeline_of(sd_eps, motion)("a fox", latents=noise, **settings).frames.transpose(1, 2) * 2 - 1
    ours = {"frames": 3, "steps": 3, "guidance": 1.0, "seeds": [3]}
    clip = load_motion_model(sd_eps, trained / "adapter").sample(["a fox"], **ours)
    assert (clip - theirs).abs().max() < 1e-4 * theirs.abs().max()
    untrained = load_motion_model(sd_eps, "none").sample(["a fox"], **ours)
    assert (clip - untrained).abs().max() > 1e-3


def test_only_the_layers_are_stored_and_a_resumed_run_has_the_same_weights(
    sd_eps: Path, moving: Path, trained: Path, tmp_path: Path
) -> None:
    settings = preset(tmp_path / "motion.yaml", frames=8)
    data = {"cache": trained / "data"}
    train.video(moving, tmp_path / "whole", sd_eps, preset=settings, steps=4, **data)
    train.video(moving, tmp_path / "parts", sd_eps, preset=settings, steps=2, **data)
    train.video(moving, tmp_path / "parts", steps=4, resume=True, **data)
    expected, resumed = checkpoint_of(tmp_path / "whole"), checkpoint_of(tmp_path / "parts")
    assert expected.keys() == resumed.keys()
    assert all("motion" in name for name in expected)
    for name, value in expected.items():
        assert torch.equal(value, resumed[name]), name
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts") == losses(trained / "run")[:4]


def test_parts_of_a_batch_train_what_the_whole_does(
    sd_eps: Path, moving: Path, trained: Path, tmp_path: Path
) -> None:
    for parts in (1, 2):
        settings = preset(tmp_path / f"{parts}.yaml", training={"accumulation": parts}, frames=8)
        run = tmp_path / f"run-{parts}"
        train.video(moving, run, sd_eps, preset=settings, steps=3, cache=trained / "data")
    assert losses(tmp_path / "run-2") == pytest.approx(losses(tmp_path / "run-1"), rel=1e-4)


def test_training_starts_from_an_adapter(sd_eps: Path, moving: Path, trained: Path, tmp_path: Path) -> None:
    still = {"learning_rate": 1e-12, "weight_decay": 0.0}
    settings = preset(tmp_path / "still.yaml", training=still, frames=8)
    start = {"motion": str(trained / "adapter"), "cache": trained / "data"}
    train.video(moving, tmp_path / "run", sd_eps, preset=settings, steps=1, **start)
    export_command(tmp_path / "run", tmp_path / "again")
    before, after = (
        MotionAdapter.from_pretrained(folder) for folder in (trained / "adapter", tmp_path / "again")
    )
    for name, value in after.state_dict().items():
        torch.testing.assert_close(value, before.state_dict()[name], rtol=0, atol=1e-7)


def test_all_layers_learn_in_float32_beside_image_layers_of_half_precision(sd_eps: Path) -> None:
    """As on a GPU: the image layers are bfloat16, the others float32, and products run in bfloat16."""
    exact, half = (
        TrainableMotion(sd_eps, None).load_denoiser(CPU, dtype, (4, 3, 8, 8))
        for dtype in (torch.float32, torch.bfloat16)
    )
    for denoiser in (exact, half):
        random_weights(denoiser.network.motion, seed=3)
    x, t = noise_like(torch.empty(2, 4, 3, 8, 8)), torch.tensor([100, 700])
    tokens = noise_like(torch.empty(2, 77, 32))
    condition = Condition(tokens, torch.ones(2, 77, dtype=torch.bool), torch.zeros(2, 1))
    outputs = []
    for denoiser in (exact, half):
        with torch.autocast("cpu", torch.bfloat16, enabled=denoiser is half):
            output, _ = denoiser.raw_output(x, t, condition)
            output.square().mean().backward()
        outputs.append(output)
        for name, parameter in denoiser.network.named_parameters():
            if name.startswith("motion."):
                assert parameter.dtype == torch.float32
                assert parameter.grad is not None and bool(parameter.grad.any()), name
            else:
                assert parameter.dtype == (torch.bfloat16 if denoiser is half else torch.float32)
                assert parameter.grad is None, name
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0.1, atol=0.1)


def test_without_recomputation_the_gradients_are_the_same(sd_eps: Path) -> None:
    x, t = noise_like(torch.empty(1, 4, 3, 8, 8)), torch.tensor([400])
    condition = Condition(
        noise_like(torch.empty(1, 77, 32)), torch.ones(1, 77, dtype=torch.bool), torch.zeros(1, 1)
    )
    gradients = []
    for recompute in (True, False):
        denoiser = TrainableMotion(sd_eps, None, recompute).load_denoiser(CPU, torch.float32, (4, 3, 8, 8))
        random_weights(denoiser.network.motion, seed=3)
        denoiser.raw_output(x, t, condition)[0].square().mean().backward()
        gradients.append({name: w.grad for name, w in denoiser.network.motion.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-6)


def test_what_motion_layers_cannot_be_trained_with(
    sd_eps: Path, deepfloyd: Path, moving: Path, trained: Path, tmp_path: Path, monkeypatch
) -> None:
    def start(match: str, checkpoint: Path = sd_eps, **values: object) -> None:
        options = {name: values.pop(name) for name in ("rank", "motion", "fps") if name in values}
        settings = preset(tmp_path / "other.yaml", **values)
        with pytest.raises(UserError, match=match):
            train.video(moving, tmp_path / "run", checkpoint, preset=settings, steps=1, **options)
        assert not (tmp_path / "run").exists()  # nothing hinders the next start in that folder

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        motion_training, "load_parts", None
    )  # nothing is loaded before the options are checked
    start("without a rank: leave out --rank", rank=4)
    start("IFPipeline.* takes text-to-video checkpoints", deepfloyd)
    start("at most 32 frames, not 33", frames=33)
    v1 = adapter("v1", load_motion_model(sd_eps, "none").image.pipeline.unet)
    v1.save_pretrained(tmp_path / "v1")
    start("at most 24 frames, not 25", frames=25, motion=str(tmp_path / "v1"))
    start("width of the preset must be a multiple of 8, not 60", width=60)
    with pytest.raises(UserError, match="--rank and --motion are for checkpoints"):
        train.video(moving, tmp_path / "run", Path("bundled"), steps=1, motion="none")
    with pytest.raises(UserError, match="was started from .*, not from"):
        train.video(moving, trained / "run", deepfloyd, steps=60, resume=True)
    with pytest.raises(UserError, match="another --motion"):
        train.video(moving, trained / "run", steps=60, resume=True, motion=str(tmp_path / "v1"))
    with pytest.raises(UserError, match="give --run and --out alone"):
        export_command(trained / "run", tmp_path / "out", image_layers=True)
