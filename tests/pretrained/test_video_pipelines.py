"""Clip models of diffusers' video pipelines: equality with the pipelines, and the reported states."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file

from core.samplers import SamplerState
from video.options import ClipOptions, ClipRequest
from video.pipelines.families import find_family
from video.pipelines.load import load_pipeline
from video.pipelines.pipelines import PipelineModel
from video.pipelines.x0_estimate import X0Estimator, noise_levels

CPU = torch.device("cpu")
PROMPT, SEED = "a panda on a swing", 7

# checkpoint, the pipeline that diffusers' users would call, width, frames, whether an image is set in motion
CASES = [
    ("wan", "WanPipeline", 32, 9, False),
    ("wan-2.2", "WanPipeline", 32, 5, False),
    ("wan-2.2", "WanImageToVideoPipeline", 32, 5, True),
    ("wan-image", "WanImageToVideoPipeline", 32, 5, True),
    ("ltx", "LTXPipeline", 64, 9, False),
    ("ltx", "LTXImageToVideoPipeline", 64, 17, True),
    ("ltx-0.9.1", "LTXPipeline", 64, 9, False),
    ("cogvideox", "CogVideoXPipeline", 48, 9, False),
    ("cogvideox-1.5", "CogVideoXPipeline", 48, 9, False),
    ("cogvideox-1.5-image", "CogVideoXImageToVideoPipeline", 48, 9, True),
    ("cogvideox-image", "CogVideoXImageToVideoPipeline", 48, 9, True),
    ("modelscope", "TextToVideoSDPipeline", 32, 3, False),
]


def options(width: int, frames: int, image: Path | None = None, **changes: Any) -> ClipOptions:
    values = dict(
        steps=4, guidance=5.0, negative="rain", frames=frames, fps=12, scale=1, width=width, height=32
    )
    return ClipOptions(**{**values, "image": image, **changes})


def open_model(folder: Path, requested: ClipOptions) -> PipelineModel:
    family = find_family(folder)
    assert family
    family.check(requested)
    return load_pipeline(folder, family, requested, CPU)


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture whose size and proportions differ from those of every clip."""
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((90, 50)).save(path)
    return path


@pytest.mark.parametrize(("name", "pipeline", "width", "frames", "with_image"), CASES)
def test_a_clip_equals_that_of_the_pipeline(
    video_folder: Callable[[str], Path],
    picture: Path,
    name: str,
    pipeline: str,
    width: int,
    frames: int,
    with_image: bool,
) -> None:
    requested = options(width, frames, picture if with_image else None)
    model = open_model(video_folder(name), requested)
    states: list[SamplerState] = []
    clip = model.sample([ClipRequest(PROMPT, SEED, requested)], states.append)

    reference = getattr(diffusers, pipeline).from_pretrained(video_folder(name))
    reference.set_progress_bar_config(disable=True)
    extra: dict[str, Any] = {"frame_rate": 12} if "ltx" in name else {}
    if with_image:
        # The largest part of 90x50 in the clip's proportions, from its middle.
        cut = min(90, 50 * width / 32)
        box = (45 - cut / 2, 25 - cut * 16 / width, 45 + cut / 2, 25 + cut * 16 / width)
        with Image.open(picture) as image:
            extra["image"] = image.resize((width, 32), Image.Resampling.LANCZOS, box)
    frames_of_reference = reference(
        prompt=PROMPT,
        negative_prompt="rain",
        width=width,
        height=32,
        num_frames=frames,
        num_inference_steps=4,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(SEED),
        output_type="pt",
        **extra,
    ).frames
    theirs = 2 * frames_of_reference.transpose(1, 2) - 1  # (1,F,3,H,W) in [0, 1] -> (1,3,F,H,W) in [-1, 1]

    assert clip.shape == theirs.shape == (1, 3, frames, 32, width)
    assert theirs.std() > 0.05  # neither gray nor clipped everywhere
    assert (clip - theirs).abs().max() < 1e-4 * theirs.abs().max()
    assert [(state.step, state.steps) for state in states] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    torch.testing.assert_close(model.decode(states[-1].x), clip, rtol=0, atol=0)
    stills = model.preview_frames(states[1].x0)
    assert stills.shape[:2] == (1, 3) and stills.shape[3:] == (32, width) and 1 <= stills.shape[2] <= 4


def test_half_precision_error_is_small(video_folder: Callable[[str], Path]) -> None:
    exact, rough = options(48, 9), options(48, 9, dtype="bfloat16")
    model = open_model(video_folder("cogvideox"), exact)
    full = model.sample([ClipRequest(PROMPT, SEED, exact)], lambda state: None)
    model = open_model(video_folder("cogvideox"), rough)
    assert {p.dtype for p in model.pipeline.transformer.parameters()} == {torch.bfloat16}
    half = model.sample([ClipRequest(PROMPT, SEED, rough)], lambda state: None)
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().mean() < 0.1


def test_wan_decoder_stays_float32(video_folder: Callable[[str], Path]) -> None:
    model = open_model(video_folder("wan"), options(32, 5, dtype="bfloat16"))
    assert {p.dtype for p in model.pipeline.vae.parameters()} == {torch.float32}
    assert next(model.pipeline.text_encoder.parameters()).dtype == torch.bfloat16
    assert model.record.dtype == "bfloat16"


def test_frames_are_decoded_in_slices(video_folder: Callable[[str], Path]) -> None:
    model = open_model(video_folder("modelscope"), options(32, 3))
    batch_sizes: list[int] = []
    decoder = model.pipeline.vae.decoder
    decoder.register_forward_pre_hook(lambda module, args: batch_sizes.append(len(args[0])))
    model.decode(torch.randn(1, 4, 3, 4, 4))
    assert batch_sizes == [1, 1, 1]


def test_tiling_is_switched_on(video_folder: Callable[[str], Path]) -> None:
    assert open_model(video_folder("wan"), options(32, 5, tiling=True)).pipeline.vae.use_tiling
    assert not open_model(video_folder("wan"), options(32, 5)).pipeline.vae.use_tiling


def test_lora_weights_are_added_at_their_scale(video_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = video_folder("wan")
    network = diffusers.WanTransformer3DModel.from_pretrained(folder / "transformer")
    torch.manual_seed(1)
    network.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    diffusers.WanPipeline.save_lora_weights(
        tmp_path, transformer_lora_layers=get_peft_model_state_dict(network)
    )
    requested = options(32, 5, lora=(f"{tmp_path}@0.5",))
    model = open_model(folder, requested)
    clip = model.sample([ClipRequest(PROMPT, SEED, requested)], lambda state: None)

    plain = diffusers.WanPipeline.from_pretrained(folder)
    weights = load_file(next(tmp_path.glob("*.safetensors")))
    for name in {key.removesuffix(".lora_A.weight") for key in weights if key.endswith(".lora_A.weight")}:
        layer = plain.transformer.get_submodule(name.removeprefix("transformer."))
        layer.weight.data += 0.5 * weights[f"{name}.lora_B.weight"] @ weights[f"{name}.lora_A.weight"]
    changed = model.pipeline.transformer.state_dict()
    for name, weight in plain.transformer.state_dict().items():
        torch.testing.assert_close(changed[name], weight, msg=name)
    bare = options(32, 5)
    assert not torch.allclose(
        clip, open_model(folder, bare).sample([ClipRequest(PROMPT, SEED, bare)], lambda state: None)
    )
    assert f"{tmp_path}@0.5" in model.record.sha256


SCHEDULERS = {
    "flow": diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    "variance-preserving": diffusers.DDIMScheduler(
        beta_schedule="scaled_linear", prediction_type="sample", clip_sample=False, timestep_spacing="leading"
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_estimated_x0_equals_the_prediction_of_a_first_order_step(name: str) -> None:
    """The scheduler takes steps with a known prediction that changes from step to step."""
    scheduler = SCHEDULERS[name]
    scheduler.set_timesteps(5)
    levels = noise_levels(scheduler)
    assert len(levels) == 6 and levels[-1][1] == 0
    generator = torch.Generator().manual_seed(0)
    x, estimate_x0 = torch.randn(2, 3, generator=generator), X0Estimator(scheduler)
    for step, t in enumerate(scheduler.timesteps):
        x0 = torch.randn(2, 3, generator=generator)
        alpha, sigma = levels[step]
        velocity = (x - alpha * x0) / sigma - x0 if name == "flow" else None
        x = scheduler.step(x0 if velocity is None else velocity, t, x, return_dict=False)[0]
        estimate = estimate_x0(step, x)
        if step:  # the first step has no previous state
            torch.testing.assert_close(estimate, x0, rtol=1e-3, atol=1e-3)


def test_an_unsupported_scheduler_gives_x_as_the_estimate() -> None:
    scheduler = diffusers.ScoreSdeVeScheduler()
    x = torch.randn(3)
    estimate_x0 = X0Estimator(scheduler)
    assert estimate_x0(0, x) is x and estimate_x0(1, 2 * x).equal(2 * x)


@pytest.mark.parametrize(
    ("name", "width", "frames"), [("wan", 32, 9), ("ltx", 64, 9), ("cogvideox", 48, 9), ("modelscope", 32, 3)]
)
def test_clips_sampled_together_are_those_sampled_alone(
    video_folder: Callable[[str], Path], name: str, width: int, frames: int
) -> None:
    requested = options(width, frames)
    model = open_model(video_folder(name), requested)
    requests, states = [ClipRequest(PROMPT, SEED, requested), ClipRequest("a fox", 3, requested)], []
    both = model.sample(requests, states.append)
    assert [len(state.x) for state in states] == [2] * 4
    assert model.group(PROMPT, requested) == model.group("a fox", requested)
    for clip, request in zip(both, requests, strict=True):
        (alone,) = model.sample([request], lambda state: None)
        torch.testing.assert_close(clip, alone, rtol=0, atol=1e-4)
    assert not torch.allclose(both[0], both[1], atol=1e-2)
    assert len(model.preview_frames(states[1].x0)) == 2
