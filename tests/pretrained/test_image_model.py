"""Pretrained checkpoints in this engine against diffusers' pipelines of the same folders."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PNDMScheduler,
    TCDScheduler,
)
from safetensors.torch import load_file

from core.bundled import BUNDLED
from core.errors import UserError
from core.models.image_model import ImageModel
from core.pretrained import first_stage, weights
from core.pretrained.first_stage import KLFirstStage
from core.pretrained.image_model import load_image_model
from core.pretrained.sampling import CheckpointSampler
from core.pretrained.trainable import TrainableImageModel
from dream3d.options import ImageModelReference
from dream3d.text_to_3d import load_model
from dreamlift import TextToImage
from tests.pretrained import checkpoints
from video.animatediff.motion_model import load_motion_model

PROMPTS = ["a fox on a swing", "two pandas, 1 guitar"]
SEEDS = [3, 4]
STEPS, GUIDANCE = 10, 7.5
BACKBONES = ["sd_eps", "sd_v", "sdxl", "deepfloyd"]


def relative(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def diffusers_pipeline(folder: Path) -> DiffusionPipeline:
    """The published pipeline; latent models use DDIM on the published schedule."""
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    if hasattr(pipeline, "vae"):
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    return pipeline


def theirs_and_ours(folder: Path, steps=STEPS, guidance=GUIDANCE, negative=None):
    """Final x of both engines from the same noise, and the decoded images in [-1, 1]."""
    pipeline = diffusers_pipeline(folder)
    latent = hasattr(pipeline, "vae")
    theirs = pipeline(
        PROMPTS,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        num_inference_steps=steps,
        guidance_scale=guidance,
        negative_prompt=negative and [negative] * len(PROMPTS),
        output_type="latent" if latent else "pt",
    ).images
    pictures = theirs
    if latent:
        with torch.no_grad():
            pictures = pipeline.vae.decode(theirs / pipeline.vae.config.scaling_factor).sample
    states = []
    images = load_image_model(folder).sample(
        PROMPTS, steps=steps, guidance=guidance, negative=negative or "", seeds=SEEDS, on_step=states.append
    )
    return (theirs, states[-1].x), (pictures.clamp(-1, 1), images)


@pytest.mark.parametrize("name", BACKBONES)
def test_samples_equal_diffusers(name, request):
    denoised, pictures = theirs_and_ours(request.getfixturevalue(name))
    for theirs, ours in (denoised, pictures):
        assert ours.shape == theirs.shape and ours.dtype == torch.float32
        assert theirs.std() > 0.01
        assert relative(ours, theirs) < 1e-4


@pytest.mark.parametrize("name", ["sdxl", "deepfloyd"])
def test_negative_prompts_equal_diffusers(name, request):
    (theirs, ours), _ = theirs_and_ours(request.getfixturevalue(name), steps=4, negative="a dull picture")
    assert relative(ours, theirs) < 1e-4


def test_turbo_model_in_one_step_without_guidance(tmp_path):
    folder = checkpoints.stable_diffusion(tmp_path, timestep_spacing="trailing")
    (theirs, ours), _ = theirs_and_ours(folder, steps=1, guidance=1.0)
    assert relative(ours, theirs) < 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        {"set_alpha_to_one": True},
        {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
        {"beta_schedule": "linear", "steps_offset": 0, "prediction_type": "sample"},
    ],
)
def test_samples_use_the_schedule_of_the_checkpoint(settings, tmp_path):
    folder = checkpoints.stable_diffusion(tmp_path, **settings)
    (theirs, ours), _ = theirs_and_ours(folder, steps=5, guidance=2.0)
    assert relative(ours, theirs) < 1e-4


def distilled_checkpoint(folder: Path, scheduler: type, **network) -> tuple[Path, DiffusionPipeline]:
    """A checkpoint whose own scheduler is one of distilled models, and diffusers' pipeline of it."""
    path = checkpoints.stable_diffusion(folder, network=network)
    pipeline = DiffusionPipeline.from_pretrained(path)
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    pipeline.save_pretrained(path)
    pipeline.set_progress_bar_config(disable=True)
    return path, pipeline


@pytest.mark.parametrize(
    ("scheduler", "network", "guidance"),
    [
        (LCMScheduler, {"time_cond_proj_dim": 32}, 8.0),  # the network reads the scale
        (LCMScheduler, {}, 1.0),
        (LCMScheduler, {}, 1.8),  # as LoRA weights of LCM take it
        (TCDScheduler, {}, 1.0),
    ],
)
def test_distilled_checkpoints_equal_diffusers(scheduler, network, guidance, tmp_path):
    folder, pipeline = distilled_checkpoint(tmp_path, scheduler, **network)
    theirs = pipeline(
        PROMPTS,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        num_inference_steps=4,
        guidance_scale=guidance,
        output_type="latent",
    ).images
    model, states = load_image_model(folder), []
    model.sample(PROMPTS, steps=4, guidance=guidance, seeds=SEEDS, on_step=states.append)
    assert relative(states[-1].x, theirs) < 1e-4
    assert model.default_steps == 4 and model.default_guidance == (7.5 if network else 1.0)


def test_latent_consistency_pipelines_equal_diffusers(tmp_path):
    """The class of the published latent consistency models, and the front door's defaults for it."""
    _, parts = distilled_checkpoint(tmp_path / "parts", LCMScheduler, time_cond_proj_dim=32)
    pipeline = LatentConsistencyModelPipeline(**parts.components, requires_safety_checker=False)
    pipeline.save_pretrained(tmp_path / "lcm")
    generator = torch.Generator().manual_seed(3)
    theirs = pipeline(PROMPTS[0], generator=generator, guidance_scale=7.5, output_type="np").images[0]
    ours = TextToImage.from_pretrained(tmp_path / "lcm")(PROMPTS[0], seed=3)
    assert ours.record["steps"] == 4 and ours.record["guidance"] == 7.5
    assert np.abs(np.asarray(ours.image) - 255 * theirs).max() <= 0.51


def test_what_a_network_that_reads_its_guidance_refuses(tmp_path):
    folder, _ = distilled_checkpoint(tmp_path, LCMScheduler, time_cond_proj_dim=32)
    model = load_image_model(folder)
    with pytest.raises(UserError, match="leave out the negative prompt"):
        model.sample(["a fox"], steps=1, negative="a cat")
    with pytest.raises(UserError, match="a network that reads the scale"):
        model.sample(["a fox"], steps=1, guidance_rescale=0.5)
    with pytest.raises(UserError, match="can only draw images"):
        load_model(ImageModelReference(str(folder), False), torch.device("cpu"))
    with pytest.raises(UserError, match="can only draw images"):
        load_motion_model(folder, "none")
    with pytest.raises(UserError, match="can only draw images"):
        TrainableImageModel(folder)


def test_lightning_equals_diffusers(sd_eps):
    """Few-step weights of SDXL-Lightning and the like name no scheduler: Euler with trailing timesteps."""
    pipeline = diffusers_pipeline(sd_eps)
    pipeline.scheduler = EulerDiscreteScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing"
    )
    theirs = pipeline(
        PROMPTS,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        num_inference_steps=4,
        guidance_scale=1.0,
        output_type="latent",
    ).images
    states = []
    load_image_model(sd_eps).sample(
        PROMPTS, steps=4, guidance=1.0, seeds=SEEDS, sampler="euler", on_step=states.append
    )
    assert relative(states[-1].x, theirs) < 1e-4


def test_linspace_timesteps_equal_diffusers():
    """Only the timesteps are compared, because diffusers' DDIM steps to levels between them (t - T // steps).

    The last one is left out: there the end, 0, is reached already.
    """
    config = {**checkpoints.STABLE_DIFFUSION_SCHEDULE, "timestep_spacing": "linspace"}
    scheduler = DDIMScheduler(**config)
    scheduler.set_timesteps(7)
    assert CheckpointSampler.from_config(config).timesteps(7) == scheduler.timesteps.tolist()[:-1]


def test_network_depends_on_text_and_timestep(sd_eps, sdxl, deepfloyd):
    """The comparisons above would also pass if the condition had no effect."""
    for folder in (sd_eps, sdxl, deepfloyd):
        model = load_image_model(folder)
        x = torch.randn(1, *model.shape, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
        condition = model.encode(["a fox on a swing", "the sea"])
        with torch.no_grad():
            first, second = model.denoiser(x, torch.tensor([500, 500]), condition).eps
            later = model.denoiser(x[:1], torch.tensor([20]), condition[0]).eps[0]
        assert relative(second, first) > 1e-3 and relative(later, first) > 1e-3


def test_sdxl_is_conditioned_on_the_image_size(sdxl):
    model = load_image_model(sdxl)
    network = model.denoiser.network
    assert network._sizes(torch.zeros(2, 4, 8, 16)).tolist() == [[64, 128, 0, 0, 64, 128]] * 2


def test_latents_equal_diffusers_and_have_a_gradient(sd_eps, sdxl):
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for folder in (sd_eps, sdxl):
        model = load_image_model(folder)
        vae = DiffusionPipeline.from_pretrained(folder).vae
        with torch.no_grad():
            theirs = vae.encode(images).latent_dist.mode() * vae.config.scaling_factor
        given = images.clone().requires_grad_()
        ours = model.first_stage.to_latents(given)
        assert relative(ours.detach(), theirs) < 1e-5
        ours.sum().backward()
        assert given.grad.abs().min(dim=0).values.sum() > 0
        with pytest.raises(ValueError, match="multiples of 8"):
            model.first_stage.to_latents(images[..., :60])
        with pytest.raises(ValueError, match=r"\(B,4,h,w\)"):
            model.first_stage.decode(torch.zeros(1, 3, 8, 8))


def test_means_and_deviations_of_latents_are_normalized(tmp_path):
    torch.manual_seed(0)
    vae = checkpoints.vae()
    vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.4], latents_std=[2.0, 3.0, 4.0, 5.0])
    stage = KLFirstStage(vae, torch.device("cpu"))
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        raw, latents = vae.encode(images).latent_dist.mean, stage.to_latents(images)
        expected = (raw - torch.tensor([0.1, -0.2, 0.3, 0.4]).view(1, 4, 1, 1)) * 0.18215
        torch.testing.assert_close(latents, expected / torch.tensor([2.0, 3.0, 4.0, 5.0]).view(1, 4, 1, 1))
        torch.testing.assert_close(stage.decode(latents), vae.decode(raw).sample, atol=1e-4, rtol=1e-4)


def test_autoencoder_splits_large_batches(sd_eps, monkeypatch):
    model = load_image_model(sd_eps)
    latents = torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    whole, batch_sizes = model.decode(latents), []
    monkeypatch.setattr(first_stage, "PIXELS_AT_ONCE", 2 * 64 * 64)
    decode = model.first_stage.vae.decode
    monkeypatch.setattr(model.first_stage.vae, "decode", lambda z: batch_sizes.append(len(z)) or decode(z))
    parts = model.decode(latents)
    assert batch_sizes == [2, 2, 1] and parts.shape == (5, 3, 64, 64)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)
    monkeypatch.setattr(first_stage, "PIXELS_AT_ONCE", 100)  # never fewer than one
    torch.testing.assert_close(model.decode(latents), whole, atol=1e-5, rtol=0)


def test_half_precision_error_is_small(sd_eps):
    full = load_image_model(sd_eps)
    half = load_image_model(sd_eps, dtype=torch.bfloat16)
    assert {p.dtype for p in half.denoiser.parameters()} == {torch.bfloat16}
    x = torch.randn(2, *full.shape, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([300, 700])
    with torch.no_grad():
        exact, rounded = (m.denoiser(x, t, m.encode(PROMPTS)).eps for m in (full, half))
        latents = half.first_stage.to_latents(torch.zeros(1, 3, 64, 64))
    assert rounded.dtype == latents.dtype == torch.float32
    assert 0 < relative(rounded, exact) < 0.05


def test_an_autoencoder_that_overflows_in_float16_stays_float32(sdxl):
    model = load_image_model(sdxl, dtype=torch.float16)
    assert model.pipeline.unet.dtype == torch.float16 and model.pipeline.vae.dtype == torch.float32


@pytest.mark.parametrize("name", ["sdxl", "deepfloyd"])
def test_offload_and_slicing_do_not_change_images(name, request):
    """On the CPU offloading moves nothing, so the order of the offload hooks is checked instead."""
    folder = request.getfixturevalue(name)
    model = load_image_model(folder, offload=True, slicing=True)
    ours = model.sample(PROMPTS, steps=2, seeds=SEEDS)
    assert relative(ours, load_image_model(folder).sample(PROMPTS, steps=2, seeds=SEEDS)) < 1e-4
    parts = ["text_encoder", "text_encoder_2", "unet"] if name == "sdxl" else ["text_encoder", "unet"]
    modules = [getattr(model.pipeline, part) for part in parts]
    for before, after in pairwise(modules):
        assert after._hf_hook.prev_module_hook.model is before


@pytest.mark.parametrize("name", BACKBONES)
def test_saved_weights_equal_loaded_weights(name, request, tmp_path):
    folder = request.getfixturevalue(name)
    load_image_model(folder).save_pretrained(tmp_path / "copy")
    files = {path.relative_to(folder) for path in folder.rglob("*.safetensors")}
    assert (
        files
        and {p.relative_to(tmp_path / "copy") for p in (tmp_path / "copy").rglob("*.safetensors")} == files
    )
    for file in files:
        before, after = load_file(folder / file), load_file(tmp_path / "copy" / file)
        assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


def test_native_format_loads_with_the_same_function(tmp_path):
    model = load_image_model(BUNDLED / "image")
    assert isinstance(model, ImageModel) and model.reads_attributes and model.size == 64
    model.save_pretrained(tmp_path / "ours")
    again = ImageModel.from_pretrained(tmp_path / "ours")
    assert again.config == model.config
    weights = again.denoiser.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in model.denoiser.state_dict().items())
    with pytest.raises(UserError, match="no LoRA weights"):
        load_image_model(tmp_path / "ours", dtype=torch.bfloat16)


def test_long_prompts_are_truncated_with_a_warning_as_in_diffusers(sd_eps):
    long = "abc " * 60
    model = load_image_model(sd_eps)
    with pytest.warns(UserWarning, match="takes 77 tokens"):
        ours = model.encode([long]).tokens
    pipeline = diffusers_pipeline(sd_eps)
    assert relative(ours, pipeline.encode_prompt(long, "cpu", 1, False)[0]) < 1e-5


def rewritten(folder: Path, copy: Path, file: str, **changes) -> Path:
    """A copy of a checkpoint with changes to one of its configurations."""
    shutil.copytree(folder, copy)
    path = copy / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return copy


SCHEDULER, UNET = "scheduler/scheduler_config.json", "unet/config.json"


@pytest.mark.parametrize(
    ("file", "changes", "sentence"),
    [
        (SCHEDULER, {"beta_schedule": "sigmoid"}, "beta schedule 'sigmoid' of DDIMScheduler is not supp"),
        (SCHEDULER, {"prediction_type": "flow"}, "prediction type 'flow' of DDIMScheduler is not supp"),
        (SCHEDULER, {"trained_betas": [0.1, 0.2]}, "another process"),
        (
            "model_index.json",
            {"_class_name": "FluxPipeline"},
            "has the class FluxPipeline, which is not supported",
        ),
        (
            "vae/config.json",
            {"latent_channels": 16},
            "decoder.conv_in.weight in .* does not fit its config",
        ),
    ],
)
def test_unsupported_checkpoints_raise(file, changes, sentence, sd_eps, tmp_path):
    with pytest.raises(UserError, match=sentence) as caught:
        load_image_model(rewritten(sd_eps, tmp_path / "copy", file, **changes))
    assert "\n" not in str(caught.value)


def test_networks_of_other_tasks_raise(tmp_path):
    inpainting = checkpoints.stable_diffusion(tmp_path / "inpainting", network={"in_channels": 9})
    with pytest.raises(UserError, match="takes 9 channels, not 4"):
        load_image_model(inpainting)
    classes = checkpoints.stable_diffusion(tmp_path / "classes", network={"class_embed_type": "timestep"})
    with pytest.raises(UserError, match="conditioned on more than text"):
        load_image_model(classes)


def test_a_scheduler_of_another_network_raises(deepfloyd, tmp_path):
    torch.manual_seed(0)
    folder = checkpoints.deepfloyd(tmp_path / "fixed", network={"out_channels": 3})
    with pytest.raises(UserError, match="does not match its network"):
        load_image_model(folder)


@pytest.mark.parametrize(("dtype", "advice"), [(torch.float32, "--dtype bfloat16, or"), (torch.float16, "a")])
def test_weights_that_do_not_fit_are_refused_before_they_are_read(sd_eps, monkeypatch, dtype, advice):
    tensors = [tensor for file in sd_eps.glob("*/*.safetensors") for tensor in load_file(file).values()]
    size = dtype.itemsize * sum(tensor.numel() for tensor in tensors)
    monkeypatch.setattr(weights, "free_memory", lambda: size)
    load_image_model(sd_eps, dtype=dtype)
    monkeypatch.setattr(weights, "free_memory", lambda: size - 1)
    monkeypatch.setattr("core.pretrained.image_model.read_pipeline", None)
    with pytest.raises(UserError, match=f"The weights of .* [MK]iB are free: give {advice}"):
        load_image_model(sd_eps, dtype=dtype)


def test_unsupported_samplers_raise():
    for scheduler in (FlowMatchEulerDiscreteScheduler(), EDMEulerScheduler()):
        with pytest.raises(UserError, match="another process"):
            CheckpointSampler.from_config(scheduler.config)
    assert (
        CheckpointSampler.from_config(PNDMScheduler(beta_schedule="scaled_linear").config).schedule.name
        == "scaled_linear"
    )


def test_too_many_steps_for_the_offset_raise():
    sampling = CheckpointSampler.from_config(checkpoints.STABLE_DIFFUSION_SCHEDULE)
    assert sampling.timesteps(999)[0] == 999
    with pytest.raises(UserError, match="1000 steps are too many"):
        sampling.timesteps(1000)
