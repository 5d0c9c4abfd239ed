"""AnimateDiff as a clip model: equality with diffusers' pipelines, and features that they lack."""

from pathlib import Path

import pytest
import torch
from diffusers import (
    AnimateDiffPipeline,
    AnimateDiffSDXLPipeline,
    DDIMScheduler,
    MotionAdapter,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from safetensors.torch import save_file

from core.errors import UserError
from core.guidance import ClassifierFreeGuidance
from core.pretrained.image_model import load_image_model
from core.samplers import ddim, noise_like
from tests.pretrained import checkpoints
from tests.pretrained.motion_checkpoints import motion_adapter, motion_lora
from tests.video.animatediff.test_motion_format import as_original
from video.animatediff.motion_format import read_motion, write_motion
from video.animatediff.motion_model import load_motion_model

PROMPT, NEGATIVE = "a panda on a swing", "blurry"
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear", "steps_offset": 1}


@pytest.fixture(scope="session")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.stable_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="session")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.sdxl(tmp_path_factory.mktemp("xl"))


@pytest.fixture(scope="session")
def adapters(sd: Path, xl: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An adapter of each version, for the checkpoint that it belongs to."""
    unets = {
        version: (StableDiffusionXLPipeline if version == "sdxl" else StableDiffusionPipeline)
        .from_pretrained(xl if version == "sdxl" else sd)
        .unet
        for version in ("v1", "v2", "v3", "sdxl")
    }
    return {v: motion_adapter(tmp_path_factory.mktemp(v), v, unet) for v, unet in unets.items()}


def noise(frames: int, seed: int = 3) -> torch.Tensor:
    return noise_like((1, 4, frames, 8, 8), [torch.Generator().manual_seed(seed)])


def pipeline(folder: Path, motion: Path, **schedule):
    kind = AnimateDiffSDXLPipeline if (folder / "tokenizer_2").exists() else AnimateDiffPipeline
    settings = {**SCHEDULE, "clip_sample": False, "set_alpha_to_one": False, **schedule}
    made = kind.from_pretrained(
        folder, motion_adapter=MotionAdapter.from_pretrained(motion), scheduler=DDIMScheduler(**settings)
    )
    made.set_progress_bar_config(disable=True)
    return made


def theirs(made, frames: int, steps: int, guidance: float, seed: int = 3) -> torch.Tensor:
    clip = made(
        PROMPT,
        negative_prompt=NEGATIVE,
        num_frames=frames,
        num_inference_steps=steps,
        guidance_scale=guidance,
        latents=noise(frames, seed),
        output_type="pt",
    ).frames
    return 2 * clip.transpose(1, 2) - 1


def ours(model, frames: int, steps: int, guidance: float, seed: int = 3, **more) -> torch.Tensor:
    return model.sample(
        [PROMPT], negative=NEGATIVE, frames=frames, steps=steps, guidance=guidance, seeds=[seed], **more
    )


def agree(clip: torch.Tensor, expected: torch.Tensor) -> None:
    """Asserts equality up to 1e-4 of the largest value."""
    assert expected.std() > 0.01
    assert (clip - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_stable_diffusion_with_an_adapter_equals_diffusers(sd, adapters, version: str) -> None:
    model = load_motion_model(sd, adapters[version])
    reference = pipeline(sd, adapters[version])
    agree(ours(model, 5, 4, 7.5), theirs(reference, 5, 4, 7.5))
    agree(ours(model, 16, 2, 1.0), theirs(reference, 16, 2, 1.0))


def test_sdxl_with_an_adapter_equals_diffusers(xl, adapters) -> None:
    reference = pipeline(xl, adapters["sdxl"], beta_schedule="scaled_linear", beta_end=0.02)
    # UNetMotionModel.from_unet2d does not copy this layer, which leaves random weights in it.
    image = StableDiffusionXLPipeline.from_pretrained(xl)
    reference.unet.add_embedding.load_state_dict(image.unet.add_embedding.state_dict())
    agree(ours(load_motion_model(xl, adapters["sdxl"]), 5, 4, 5.0), theirs(reference, 5, 4, 5.0))


def test_an_original_file_gives_the_same_clip_as_its_folder(sd, adapters, tmp_path: Path) -> None:
    file = tmp_path / "mm_sd_v15_v2.safetensors"
    save_file(as_original(MotionAdapter.from_pretrained(adapters["v2"]).state_dict()), file)
    clip, expected = (ours(load_motion_model(sd, source), 3, 2, 3.0) for source in (file, adapters["v2"]))
    assert torch.equal(clip, expected)


def test_the_default_schedule_of_diffusers_gives_another_clip(sd, adapters) -> None:
    """DDIMScheduler() is linear from 0.0001 to 0.02, which is not the schedule of AnimateDiff's training."""
    reference = pipeline(sd, adapters["v2"], beta_start=1e-4, beta_end=0.02)
    clip, expected = ours(load_motion_model(sd, adapters["v2"]), 3, 4, 1.0), theirs(reference, 3, 4, 1.0)
    assert (clip - expected).abs().max() > 1e-2 * expected.abs().max()


@pytest.mark.parametrize("folder", ["sd", "xl"])
def test_without_an_adapter_frames_equal_images_of_the_image_model(folder: str, request) -> None:
    checkpoint = request.getfixturevalue(folder)
    clip = ours(load_motion_model(checkpoint, "none"), 4, 3, 5.0)
    image = load_image_model(checkpoint)
    guided = ClassifierFreeGuidance(image.denoiser, 5.0, image.encode([NEGATIVE]))
    for f in range(4):
        latents = noise(4)[:, :, f]
        path = image.sampling.timesteps(3)
        *_, last = ddim(guided, latents, image.encode([PROMPT]), timesteps=path, end=image.sampling.end)
        torch.testing.assert_close(clip[:, :, f], image.decode(last.x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("version", "frames"), [("v1", 25), ("v2", 33), ("v3", 48)])
def test_long_clips_use_independent_noise_for_each_frame(sd, adapters, version: str, frames: int) -> None:
    model = load_motion_model(sd, adapters[version])
    network_inputs = []
    model.denoiser.network.register_forward_pre_hook(lambda module, inputs: network_inputs.append(inputs[0]))
    clip = ours(model, frames, 2, 1.0)
    assert clip.shape == (1, 3, frames, 64, 64) and bool(clip.isfinite().all())
    assert torch.equal(network_inputs[0], noise(frames))
    correlation = torch.corrcoef(network_inputs[0][0].transpose(0, 1).flatten(1)).fill_diagonal_(0)
    assert correlation.abs().max() < 0.4, "the initial noise of two frames is correlated"
    with pytest.raises(RuntimeError):
        theirs(pipeline(sd, adapters[version]), frames, 1, 1.0)


def test_a_lora_for_the_image_layers_equals_diffusers(sd, adapters, tmp_path: Path) -> None:
    """Case of v3's domain adapter."""
    file = motion_lora(
        tmp_path / "domain.safetensors", "attentions", StableDiffusionPipeline.from_pretrained(sd).unet
    )
    reference = pipeline(sd, adapters["v3"])
    reference.load_lora_weights(tmp_path, weight_name=file.name)
    plain = ours(load_motion_model(sd, adapters["v3"]), 3, 2, 3.0)
    clip = ours(load_motion_model(sd, adapters["v3"], lora=[str(file)]), 3, 2, 3.0)
    agree(clip, theirs(reference, 3, 2, 3.0))
    assert (clip - plain).abs().max() > 1e-3


def test_a_lora_for_the_motion_modules_equals_diffusers(sd, adapters, tmp_path: Path) -> None:
    reference = pipeline(sd, adapters["v2"])
    file = motion_lora(tmp_path / "zoom.safetensors", "motion_modules", reference.unet)
    reference.load_lora_weights(tmp_path, weight_name=file.name)
    reference.fuse_lora(lora_scale=0.5)
    plain = ours(load_motion_model(sd, adapters["v2"]), 3, 2, 3.0)
    clip = ours(load_motion_model(sd, adapters["v2"], lora=[f"{file}@0.5"]), 3, 2, 3.0)
    agree(clip, theirs(reference, 3, 2, 3.0))
    assert (clip - plain).abs().max() > 1e-3


def test_a_clip_depends_on_its_own_seed_only(sd, adapters) -> None:
    model = load_motion_model(sd, adapters["v2"])
    both = model.sample([PROMPT] * 2, frames=3, steps=2, seeds=[7, 8])
    alone = model.sample([PROMPT], frames=3, steps=2, seeds=[8])
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-4)


def test_a_given_image_is_the_first_frame(sd, adapters) -> None:
    model = load_motion_model(sd, adapters["v2"])
    image = torch.rand(1, 3, 48, 80, generator=torch.Generator().manual_seed(0)) * 2 - 1
    states = []
    settings = {"size": (48, 80), "image": image, "on_step": states.append}
    clip = ours(model, 4, 3, 3.0, **settings)
    assert clip.shape == (1, 3, 4, 48, 80)
    latents = model.image.first_stage.to_latents(image)
    torch.testing.assert_close(states[-1].x[:, :, 0], latents, rtol=0, atol=1e-4)
    torch.testing.assert_close(clip[:, :, 0], model.image.decode(latents), rtol=0, atol=1e-4)
    free = ours(model, 4, 3, 3.0, image_scale=0.0, **settings)
    assert (free - clip)[:, :, 1:].abs().max() > 1e-4


def test_saved_motion_layers_load_in_diffusers(sd, adapters, tmp_path: Path) -> None:
    model = load_motion_model(sd, adapters["v1"])
    model.save_motion(tmp_path)
    again = MotionAdapter.from_pretrained(tmp_path).state_dict()
    for name, value in MotionAdapter.from_pretrained(adapters["v1"]).state_dict().items():
        assert torch.equal(again[name], value), name


def test_mismatched_models_and_options_raise(sd, xl, adapters, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not fit SDXL"):
        load_motion_model(checkpoints.stable_diffusion(tmp_path / "other"), wider(tmp_path / "wider"))
    broken = read_motion(adapters["v1"])
    broken.tensors.pop("up_blocks.0.motion_modules.1.proj_in.bias")
    write_motion(tmp_path / "broken", broken)
    with pytest.raises(
        UserError, match="do not fit its config: see up_blocks.0.motion_modules.1.proj_in.bias"
    ):
        load_motion_model(sd, tmp_path / "broken")
    with pytest.raises(UserError, match="are for Stable Diffusion 1.x and SDXL"):
        load_motion_model(checkpoints.deepfloyd(tmp_path / "if"), "none")
    model = load_motion_model(sd, "none")
    for settings, sentence in [
        ({"frames": 0}, "at least one frame"),
        ({"size": (60, 64)}, "multiples of 8"),
        ({"image": torch.zeros(1, 3, 32, 32)}, r"must be \(1,3,64,64\)"),
        ({"guidance": 101.0}, "guidance scale"),
        ({"prompts": [" "]}, "prompt is empty"),
    ]:
        with pytest.raises(UserError, match=sentence):
            model.sample(settings.pop("prompts", [PROMPT]), steps=1, **settings)


def wider(folder: Path) -> Path:
    unet = checkpoints.unet(block_out_channels=(8, 24))
    return motion_adapter(folder, "v1", unet)
