"""Motion layers trained on an inflated checkpoint, and their clips in diffusers."""

from pathlib import Path

import pytest
import torch
from diffusers import AnimateDiffPipeline, DDIMScheduler, MotionAdapter
from torch import nn

from core.training.config import Budget, TrainingConfig
from tests.pretrained import checkpoints
from tests.pretrained.motion_checkpoints import random_weights
from video.animatediff.motion_model import load_motion_model
from video.animatediff.motion_training import MotionTask, train_motion

CONFIG = TrainingConfig(batch_size=2, learning_rate=1e-2, warmup_steps=0, compile=False, bfloat16=False)
PROMPTS = ["a panda", "a fox", ""]


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.stable_diffusion(tmp_path_factory.mktemp("sd"))


def clips() -> torch.Tensor:
    return torch.rand(3, 3, 4, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_trained_layers_give_the_same_clip_in_diffusers(sd: Path, tmp_path: Path) -> None:
    model = load_motion_model(sd, "none")
    before = {name: value.clone() for name, value in model.image.denoiser.network.state_dict().items()}
    folder = train_motion(model, clips(), PROMPTS, tmp_path, Budget(steps=2), CONFIG)
    for name, value in model.image.denoiser.network.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} is an image weight and has changed"
    motion = MotionAdapter.from_pretrained(folder)
    assert motion.down_blocks[0].motion_modules[0].proj_out.weight.abs().max() > 1e-4

    noise = torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    reference = AnimateDiffPipeline.from_pretrained(
        sd,
        motion_adapter=motion,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="linear",
            steps_offset=1,
            clip_sample=False,
            set_alpha_to_one=False,
        ),
    )
    settings = {"guidance_scale": 1.0, "num_inference_steps": 3, "num_frames": 3}
    expected = reference("a fox", latents=noise, output_type="pt", **settings).frames.transpose(1, 2) * 2 - 1
    clip = load_motion_model(sd, folder).sample(["a fox"], frames=3, steps=3, guidance=1.0, seeds=[3])
    assert (clip - expected).abs().max() < 1e-4 * expected.abs().max()
    untrained = load_motion_model(sd, "none").sample(["a fox"], frames=3, steps=3, guidance=1.0, seeds=[3])
    assert (clip - untrained).abs().max() > 1e-3


def test_a_resumed_run_gives_the_same_weights(sd: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"decay": 0.0})

    def run(folder: Path, steps: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(5)
        model = load_motion_model(sd, "none")
        trained = train_motion(model, clips(), PROMPTS, folder, Budget(steps=steps), config)
        return MotionAdapter.from_pretrained(trained).state_dict()

    expected = run(tmp_path / "a", 2)
    run(tmp_path / "b", 1)
    for name, value in run(tmp_path / "b", 2).items():
        assert torch.equal(value, expected[name]), name


def test_the_loss_is_the_squared_error_of_the_noise(sd: Path) -> None:
    """For a network whose output is zero it is the mean square of the noise; all layers get gradients."""
    model = load_motion_model(sd, "none")
    task = MotionTask(model, clips(), PROMPTS)
    torch.testing.assert_close(
        model.decode(task.latents)[1], model.decode(model.encode(clips()[1:2]))[0], rtol=0, atol=1e-5
    )
    random_weights(model.motion, seed=3)
    model.motion.requires_grad_(True)
    loss = task.loss(model.denoiser, torch.tensor([0, 2]))
    assert loss.shape == (2,)
    loss.mean().backward()
    for name, parameter in model.motion.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.any()), name
    assert all(parameter.grad is None for parameter in model.image.denoiser.network.parameters())

    class ZeroNetwork(nn.Module):
        def forward(self, x, t, condition):
            return torch.zeros_like(x)

    zero = model.denoiser.with_network(ZeroNetwork())
    torch.manual_seed(0)
    assert task.loss(zero, torch.tensor([0, 1, 2])).mean().item() == pytest.approx(1, abs=0.1)


def test_unequal_numbers_of_clips_and_prompts_raise(sd: Path) -> None:
    with pytest.raises(ValueError, match="and 2 prompts"):
        MotionTask(load_motion_model(sd, "none"), clips(), PROMPTS[:2])
