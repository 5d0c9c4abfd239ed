"""LoRA weights trained by `dreamlift train video` on Wan, LTX and CogVideoX, measured by diffusers.

Targets and conditions are those of diffusers' pipelines and schedulers, computed here without this project.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import diffusers
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file
from torch import Tensor

from core.errors import UserError
from core.pretrained.lora import add_trainable_lora
from core.training.adapters.encoded import EncodedData, TextStates
from core.training.adapters.task import AdapterPreset, AdapterTask, LatentBatch
from core.training.data import Shards
from dreamlift.commands.training import train
from dreamlift.commands.training.export import export_command
from tests.pretrained.training_presets import (
    checkpoint_of,
    losses,
    noise_like,
    prepared_captions,
    prepared_clips,
    preset,
)
from video.options import ClipOptions
from video.pipelines.families import find_family
from video.pipelines.load import load_pipeline
from video.pipelines.trainable import FAMILIES, TrainableLTX, network_time

CPU = torch.device("cpu")
STEPS, FPS, FRAMES = 40, 8, 9
SIZES = {"ltx": (64, 32)}  # width, height; 48x32 for the others
NAMES = ["wan", "ltx", "cogvideox", "cogvideox-1.5"]
PIPELINES = {"wan": "WanPipeline", "ltx": "LTXPipeline", "cogvideox": "CogVideoXPipeline"}


def size_of(name: str) -> tuple[int, int]:
    return SIZES.get(name, (48, 32))


def pipeline_of(name: str, folder: Path):
    return getattr(diffusers, PIPELINES[name.partition("-")[0]]).from_pretrained(folder)


@pytest.fixture(scope="module")
def trained(video_folder, moving: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Function from a name to a folder with the prepared data, a run and its LoRA."""
    made: dict[str, Path] = {}

    def train_one(name: str) -> Path:
        if name not in made:
            folder = made[name] = tmp_path_factory.mktemp(name)
            width, height = size_of(name)
            settings = preset(
                folder / "lora.yaml", {"log_steps": 10}, frames=FRAMES, width=width, height=height
            )
            options = {"preset": settings, "steps": STEPS, "cache": folder / "data", "rank": 4}
            train.video(moving, folder / "run", video_folder(name), **options)
            export_command(folder / "run", folder / "lora")
        return made[name]

    return train_one


def shifted_levels(pipeline, tokens: int) -> Tensor:
    """sigma of diffusers' training scripts: all noise levels of the flow scheduler, the noisiest first."""
    config = pipeline.scheduler.config
    if not config.get("use_dynamic_shifting"):
        return FlowMatchEulerDiscreteScheduler(shift=config.flow_shift).sigmas
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    mu = config.base_shift + slope * (tokens - config.base_image_seq_len)
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    return scheduler.time_shift(mu, 1.0, torch.arange(1000, 0, -1) / 1000)


@torch.no_grad()
def outputs_and_targets(pipeline, name: str, clips: Tensor, captions: list[str], index: int, noise: Tensor):
    """Output and regression target of the transformer at timestep `index` of 0 ... 999, (N,C,F',h,w) each."""
    vae, transformer, scheduler = pipeline.vae, pipeline.transformer, pipeline.scheduler
    raw = torch.cat([vae.encode(clip[None]).latent_dist.mode() for clip in clips])
    count = len(clips)
    if name.startswith("cogvideox"):
        x0 = (raw * vae.config.scaling_factor).transpose(1, 2)  # (N,F',C,h,w)
        if transformer.config.patch_size_t:
            x0 = torch.cat([x0[:, :1], x0], dim=1)
        eps, t = noise.transpose(1, 2), torch.full((count,), index)
        width, height = size_of(name)
        rotary = None
        if transformer.config.use_rotary_positional_embeddings:
            rotary = pipeline._prepare_rotary_positional_embeddings(height, width, x0.shape[1], CPU)
        states = pipeline.encode_prompt(captions, None, False)[0]
        x = scheduler.add_noise(x0, eps, t)
        output = transformer(x, states, t, image_rotary_emb=rotary).sample
        # As in the training script: x0 of the output, whose error is weighted by 1 / (1 - alphas_cumprod).
        root = (1 - scheduler.alphas_cumprod[index]) ** 0.5
        return scheduler.get_velocity(output, x, t) / root, x0 / root
    if name == "wan":
        mean, deviation = (
            torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std)
        )
        x0 = (raw - mean) / deviation
    else:
        x0 = pipeline._normalize_latents(raw, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)
    sigma = shifted_levels(pipeline, x0[0, 0].numel())[999 - index]
    x, t = (1 - sigma) * x0 + sigma * noise, (1000 * sigma).expand(count)
    target = noise - x0
    if name == "wan":
        states = pipeline.encode_prompt(captions, None, False, max_sequence_length=512)[0]
        return transformer(x, t, states).sample, target
    states, mask, *_ = pipeline.encode_prompt(captions, None, False)
    frames, height, width = x.shape[2:]
    ratio = (pipeline.vae_temporal_compression_ratio / FPS, *2 * (pipeline.vae_spatial_compression_ratio,))
    output = transformer(
        pipeline._pack_latents(x), states, t, mask, frames, height, width, rope_interpolation_scale=ratio
    ).sample
    return pipeline._unpack_latents(output, frames, height, width), target


def loss_by_diffusers(pipeline, name: str, folder: Path, noise: Tensor, index: int) -> Tensor:
    clips, captions = prepared_clips(folder / "data"), prepared_captions(folder / "data")
    output, target = outputs_and_targets(pipeline, name, clips, captions, index, noise)
    return (output - target).square().flatten(1).mean(1)


def latents_of(folder: Path) -> Tensor:
    (path,) = (folder / "data").glob("latents-*.safetensors")
    return load_file(path)["latents"].float()


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls_at_fixed_noise_with_the_lora_in_diffusers(trained, video_folder, name: str) -> None:
    folder = trained(name)
    pipeline = pipeline_of(name, video_folder(name))
    noises = {index: noise_like(latents_of(folder), index) for index in (300, 600, 900)}

    def mean_loss() -> Tensor:
        each = [
            loss_by_diffusers(pipeline, name, folder, noise, index).mean() for index, noise in noises.items()
        ]
        return torch.stack(each).mean()

    before = mean_loss()
    pipeline.load_lora_weights(folder / "lora")
    after = mean_loss()
    assert after < 0.95 * before, (before, after)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_of_the_task_is_that_of_diffusers(trained, video_folder, name: str) -> None:
    """Latents, text states, noise levels, timesteps and targets at once."""
    folder, checkpoint = trained(name), video_folder(name)
    (latents,) = (folder / "data").glob("latents-*.safetensors")
    key = latents.name.removeprefix("latents-").removesuffix("-clips-00000.safetensors")
    (states,) = (folder / "data").glob("text-*.safetensors")
    data = EncodedData([Shards(folder / "data", "clips", latents=key)], single_frames=False)
    texts = TextStates(load_file(states))
    model = FAMILIES[find_family(checkpoint).title](checkpoint, find_family(checkpoint), FPS)
    denoiser = model.load_denoiser(CPU, torch.float32, data.shape)
    task = AdapterTask(data, texts, AdapterPreset(), denoiser.schedule.timesteps)
    x0, line = data(torch.arange(len(data)))
    noise = noise_like(x0)
    for index in (0, 350, 999):
        batch = LatentBatch(x0, texts(line), torch.full((len(x0),), index), noise)
        with torch.no_grad():
            ours = task.loss(denoiser, batch)
        theirs = loss_by_diffusers(pipeline_of(name, checkpoint), name, folder, noise, index)
        torch.testing.assert_close(ours, theirs, rtol=3e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["wan", "ltx"])
def test_a_step_of_the_scheduler_along_the_target_stays_on_the_line_from_noise_to_data(
    trained, video_folder, name: str
) -> None:
    """The target is the velocity that diffusers' Euler step takes: with it a step leads to the next level."""
    checkpoint, shape = video_folder(name), latents_of(trained(name)).shape
    family = find_family(checkpoint)
    denoiser = FAMILIES[family.title](checkpoint, family, FPS).load_denoiser(CPU, torch.float32, shape[1:])
    x0, noise = noise_like(torch.empty(1, *shape[1:]), 1), noise_like(torch.empty(1, *shape[1:]), 2)
    t = torch.tensor([600])
    x = denoiser.schedule.add_noise(x0, noise, t)
    target = denoiser.parameterization.target(
        x0, noise, denoiser.schedule.alpha(t, x0), denoiser.schedule.sigma(t, x0)
    )
    scheduler = FlowMatchEulerDiscreteScheduler()
    sigma = float(denoiser.schedule.sigma(600))
    scheduler.set_timesteps(sigmas=[sigma, 0.2])
    time = scheduler.timesteps[0]
    torch.testing.assert_close(
        network_time(denoiser.schedule, t)[0], time
    )  # what the pipeline gives the network
    stepped = scheduler.step(target, time, x).prev_sample
    torch.testing.assert_close(stepped, 0.8 * x0 + 0.2 * noise, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["wan", "ltx", "cogvideox"])
def test_latents_are_decoded_as_the_pipeline_decodes(trained, video_folder, name: str) -> None:
    """The scales of the latents are those that sampling removes."""
    width, height = size_of(name)
    options = ClipOptions(steps=1, guidance=2, frames=FRAMES, fps=FPS, scale=1, width=width, height=height)
    checkpoint, folder = video_folder(name), trained(name)
    model = load_pipeline(checkpoint, find_family(checkpoint), options, CPU)
    clip = prepared_clips(folder / "data")[:1]
    with torch.no_grad():
        vae = pipeline_of(name, checkpoint).vae
        expected = vae.decode(vae.encode(clip).latent_dist.mode()).sample
        decoded = model.decode_latents(latents_of(folder)[:1])
    assert (decoded - expected).abs().max() < 0.02 * expected.abs().max()


def test_latents_of_ltx_are_normalized_as_the_pipeline_does() -> None:
    """With means and deviations that the tiny checkpoint lacks."""
    latents, mean = noise_like(torch.empty(2, 8, 2, 3, 4)), noise_like(torch.empty(8), 1)
    config = SimpleNamespace(scaling_factor=0.7)
    vae = SimpleNamespace(latents_mean=mean, latents_std=1 + mean.square(), config=config)
    theirs = diffusers.LTXPipeline._normalize_latents(latents, mean, 1 + mean.square(), 0.7)
    torch.testing.assert_close(TrainableLTX.normalize(None, vae, latents), theirs)


@pytest.mark.parametrize("name", NAMES)
def test_a_lora_learns_in_float32_beside_weights_of_half_precision(trained, video_folder, name: str) -> None:
    """As on a GPU: frozen weights and products are bfloat16. Without autocast it works as well."""
    checkpoint, shape = video_folder(name), latents_of(trained(name)).shape
    family = find_family(checkpoint)
    model = FAMILIES[family.title](checkpoint, family, FPS)
    (states,) = (trained(name) / "data").glob("text-*.safetensors")
    condition = TextStates(load_file(states))(torch.tensor([0, -1]))
    x, t = noise_like(torch.empty(2, *shape[1:])), torch.tensor([100, 900])
    outputs: list[Tensor] = []
    for dtype, autocast in ((torch.float32, False), (torch.bfloat16, True), (torch.bfloat16, False)):
        torch.manual_seed(0)
        denoiser = model.load_denoiser(CPU, dtype, shape[1:])
        add_trainable_lora(denoiser.network.transformer, 2, ["to_q", "to_out.0"])
        for parameter_name, parameter in denoiser.network.named_parameters():
            if "lora_B" in parameter_name:
                torch.nn.init.constant_(parameter, 0.02)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output, _ = denoiser.raw_output(x, t, condition)
            output.square().mean().backward()
        outputs.append(output)
        trained_dtypes = {w.dtype for w in denoiser.network.parameters() if w.requires_grad}
        assert trained_dtypes == {torch.float32}
        assert dtype in {w.dtype for w in denoiser.network.parameters() if not w.requires_grad}
        assert all(
            w.grad is not None and w.grad.any() for w in denoiser.network.parameters() if w.requires_grad
        )
    exact, *rough = outputs
    for output in rough:
        assert (output - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_a_resumed_run_has_the_same_weights(trained, video_folder, moving: Path, tmp_path: Path) -> None:
    folder = trained("wan")
    settings = preset(tmp_path / "lora.yaml", {"log_steps": 10}, frames=FRAMES, width=48, height=32, rank=4)
    options = {"cache": folder / "data"}
    train.video(moving, tmp_path / "run", video_folder("wan"), preset=settings, steps=20, **options)
    train.video(moving, tmp_path / "run", video_folder("wan"), resume=True, steps=STEPS, **options)
    expected, resumed = checkpoint_of(folder / "run"), checkpoint_of(tmp_path / "run")
    assert expected.keys() == resumed.keys()
    assert {name.split("/")[0] for name in expected} == {"network", "ema", "optimizer"}
    for name, value in expected.items():
        assert torch.equal(value, resumed[name]), name
    assert losses(tmp_path / "run") == losses(folder / "run")


def test_what_a_video_checkpoint_cannot_be_trained_with(video_folder, moving: Path, tmp_path: Path) -> None:
    def start(match: str, name: str = "wan", motion: str | None = None, **values: object) -> None:
        values = {"frames": 9, "width": 48, "height": 32, "rank": 2} | values
        settings = preset(tmp_path / "other.yaml", **{key: v for key, v in values.items() if v is not None})
        options = {"preset": settings, "steps": 1, "cache": tmp_path / "data", "motion": motion}
        with pytest.raises(UserError, match=match):
            train.video(moving, tmp_path / "run", video_folder(name), **options)
        assert not (tmp_path / "data").exists() and not (tmp_path / "run").exists()

    start("frames of the form 4 n . 1, not 10: give 9", frames=10)
    start("needs a width that is a multiple of 16, not 40: give 32", width=40)
    start("give no size: set width and height", width=None)
    start("give --rank", rank=None)
    start("clips of an image checkpoint: leave out --motion", motion="none")
    start("not for flows: leave out snr_gamma", snr_gamma=5.0)
    start("takes text-to-video checkpoints", "wan-image")
    start("takes text-to-video checkpoints", "modelscope")
