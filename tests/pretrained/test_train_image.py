"""LoRA weights trained by `dreamlift train image` on a checkpoint, measured and sampled by diffusers."""

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file
from torch import Tensor

from core.errors import UserError
from core.pretrained import lora, trainable
from core.pretrained.image_model import load_image_model
from core.pretrained.trainable import TrainableImageModel
from core.training.adapters.encoded import EncodedData, read_text_states
from core.training.adapters.task import AdapterPreset, AdapterTask, LatentBatch
from core.training.data import Shards
from core.training.latents import store_latents
from dreamlift.commands.training import train
from dreamlift.commands.training.export import export_command
from tests.pretrained.training_presets import checkpoint_of, losses, noise_like, prepared_captions, preset

CPU = torch.device("cpu")
STEPS = 30
LORA_FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def trained(sd_eps: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the prepared data, a run and its LoRA."""
    folder = tmp_path_factory.mktemp("lora")
    settings = preset(folder / "lora.yaml", training={"log_steps": 10}, rank=2)
    train.image(pictures, folder / "run", sd_eps, preset=settings, steps=STEPS, cache=folder / "data", rank=4)
    export_command(folder / "run", folder / "lora")
    return folder


@torch.no_grad()
def loss_by_diffusers(pipeline: StableDiffusionPipeline, folder: Path) -> Tensor:
    """Mean squared error at fixed noise of the scheduler's own target, as in diffusers' training script."""
    pixels = load_file(folder / "images-00000.safetensors")["pixels"].float() / 127.5 - 1
    scheduler = pipeline.scheduler
    x0 = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor
    text = pipeline.encode_prompt(prepared_captions(folder), "cpu", 1, False)[0]
    errors = []
    for step in (200, 500, 800):
        t, noise = torch.full((len(x0),), step), noise_like(x0, step)
        output = pipeline.unet(scheduler.add_noise(x0, noise, t), t, encoder_hidden_states=text).sample
        target = noise
        if scheduler.config.prediction_type == "v_prediction":
            alpha = scheduler.alphas_cumprod[step] ** 0.5
            target = alpha * noise - (1 - alpha**2) ** 0.5 * x0
        errors.append((output - target).square().mean())
    return torch.stack(errors).mean()


def test_the_loss_falls_at_fixed_noise_with_the_lora_in_diffusers(sd_eps: Path, trained: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(sd_eps)
    before = loss_by_diffusers(pipeline, trained / "data")
    pipeline.load_lora_weights(trained / "lora")
    assert loss_by_diffusers(pipeline, trained / "data") < 0.95 * before


def test_a_picture_with_the_lora_equals_diffusers_and_other_weights_are_unchanged(
    sd_eps: Path, trained: Path
) -> None:
    stored = load_file(trained / "lora" / LORA_FILE)
    changed = {name.split(".lora_")[0].removeprefix("unet.") + ".weight" for name in stored}
    assert {len(weight) for name, weight in stored.items() if "lora_A" in name} == {4}
    model, plain = load_image_model(sd_eps, lora=[str(trained / "lora")]), load_image_model(sd_eps)
    before = plain.pipeline.unet.state_dict()
    for name, value in model.pipeline.unet.state_dict().items():
        same = torch.equal(value, before[name])
        assert same != (name in changed), name

    pipeline = StableDiffusionPipeline.from_pretrained(sd_eps)
    pipeline.load_lora_weights(trained / "lora")
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    settings = {"num_inference_steps": 3, "guidance_scale": 4.0, "output_type": "pt"}
    theirs = pipeline("red", latents=noise, **settings).images * 2 - 1
    ours = model.sample(["red"], steps=3, guidance=4.0, seeds=[5])
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
    assert (ours - plain.sample(["red"], steps=3, guidance=4.0, seeds=[5])).abs().max() > 1e-3


def test_a_resumed_run_has_the_same_weights_and_encodes_nothing_again(
    sd_eps: Path, pictures: Path, trained: Path, tmp_path: Path, monkeypatch
) -> None:
    loaded = []

    def load(folder: Path, parts: list[str], dtype: torch.dtype):
        loaded.append(parts)
        return load_parts(folder, parts, dtype)

    load_parts = trainable.load_parts
    monkeypatch.setattr(trainable, "load_parts", load)
    settings = preset(tmp_path / "lora.yaml", training={"log_steps": 10}, rank=4)
    cache = trained / "data"
    train.image(pictures, tmp_path / "run", sd_eps, preset=settings, steps=10, cache=cache)
    with pytest.raises(UserError, match="already holds a run"):
        train.image(pictures, tmp_path / "run", sd_eps, preset=settings, steps=STEPS, cache=cache)
    train.image(pictures, tmp_path / "run", resume=True, steps=STEPS, cache=cache)
    assert loaded == [["unet"], ["unet"]]
    expected, resumed = checkpoint_of(trained / "run"), checkpoint_of(tmp_path / "run")
    assert expected.keys() == resumed.keys()
    for name, value in expected.items():
        assert torch.equal(value, resumed[name]), name
    assert losses(tmp_path / "run") == losses(trained / "run")


@pytest.mark.parametrize("kind", ["sd_eps", "sd_v", "sdxl"])
def test_a_loss_of_the_task_is_that_of_the_checkpoints_scheduler(
    kind: str, pictures: Path, trained: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """eps and v, with text states, pooled states and sizes as diffusers makes them."""
    folder = request.getfixturevalue(kind)
    for path in (trained / "data").iterdir():
        if not path.name.startswith(("latents", "text")):
            (tmp_path / path.name).symlink_to(path)
    checkpoint = TrainableImageModel(folder)
    encode = checkpoint.load_first_stage(CPU)
    store_latents(tmp_path, "images", "x", lambda pixels: encode(pixels.float() / 127.5 - 1))
    texts = read_text_states(tmp_path, "x", checkpoint.load_text_encoder(CPU, torch.float32))
    data = EncodedData([Shards(tmp_path, "images", latents="x")], single_frames=True)
    denoiser = checkpoint.load_denoiser(CPU, torch.float32, data.shape)
    index = torch.arange(len(data))
    x0, line = data(index)
    t, noise = torch.tensor([10, 300, 999, 500, 700, 200]), noise_like(x0)
    task = AdapterTask(data, texts, AdapterPreset(snr_gamma=5.0), denoiser.schedule.timesteps)
    ours = task.loss(denoiser, LatentBatch(x0, texts(line), t, noise))

    kinds = {"sdxl": StableDiffusionXLPipeline}
    pipeline = kinds.get(kind, StableDiffusionPipeline).from_pretrained(folder)
    prompts = prepared_captions(tmp_path)
    encoded = pipeline.encode_prompt(
        prompts, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    extra = {}
    if kind == "sdxl":
        sizes = torch.tensor([64, 64, 0, 0, 64, 64]).expand(len(x0), -1)
        extra = {"added_cond_kwargs": {"text_embeds": encoded[2], "time_ids": sizes}}
    pixels = load_file(tmp_path / "images-00000.safetensors")["pixels"].float() / 127.5 - 1
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    with torch.no_grad():
        exact = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor
        output = pipeline.unet(
            scheduler.add_noise(exact, noise, t), t, encoder_hidden_states=encoded[0], **extra
        )
    v = kind == "sd_v"
    target = scheduler.get_velocity(exact, noise, t) if v else noise
    snr = scheduler.alphas_cumprod[t] / (1 - scheduler.alphas_cumprod[t])
    weight = snr.clamp(max=5.0) / (snr + 1 if v else snr)  # Hang et al. 2023, section 3.4
    theirs = weight * (output.sample - target).square().flatten(1).mean(1)
    torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=1e-4)


def test_what_an_image_checkpoint_cannot_be_trained_with(
    sd_eps: Path, deepfloyd: Path, pictures: Path, trained: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def start(match: str, checkpoint: Path = sd_eps, rank: int | None = 4, training=None, **values) -> None:
        settings = preset(tmp_path / "other.yaml", training=training, **values)
        with pytest.raises(UserError, match=match):
            train.image(pictures, tmp_path / match[:5], checkpoint, preset=settings, steps=1, rank=rank)

    start("give --rank", rank=None)
    start("IFPipeline.* Stable Diffusion 1.x", deepfloyd)
    start("height of the preset must be a multiple of 8", height=60)
    start("6 examples are too few for batches of 16", training={"batch_size": 16})
    start("end in to_z: change modules", modules=["to_z"])
    with pytest.raises(UserError, match="another --rank"):
        train.image(pictures, trained / "run", steps=99, resume=True, rank=8)
    with pytest.raises(UserError, match="--first-stage is for models of this project"):
        train.image(pictures, tmp_path / "run", sd_eps, steps=1, first_stage=tmp_path)
    monkeypatch.setattr(lora, "find_spec", lambda name: None)
    start("pip install peft")
