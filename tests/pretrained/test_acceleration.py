"""Caches, storage and attention backends of video checkpoints, against diffusers' pipelines with the same."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.hooks import TaylorSeerCacheConfig

from core.errors import UserError
from tests.pretrained.test_video_pipelines import PROMPT, SEED, open_model, options
from video.options import ClipRequest
from video.pipelines import acceleration

STEPS = 12  # of which caches leave out some
SIZES = {"wan": (32, 9), "ltx": (64, 9), "cogvideox": (48, 9)}  # width and frames
CLASSES = {"wan": "WanPipeline", "ltx": "LTXPipeline", "cogvideox": "CogVideoXPipeline"}
CONFIGS: dict[str, Callable[[Any], Any]] = {
    "first-block": lambda _: diffusers.FirstBlockCacheConfig(threshold=0.05),
    "pyramid": lambda pipeline: diffusers.PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2, current_timestep_callback=lambda: pipeline.current_timestep
    ),
    "taylorseer": lambda _: TaylorSeerCacheConfig(
        cache_interval=5,
        disable_cache_before_step=3,
        cache_identifiers=[r".*blocks\.\d\.(attn1|attn2|ff|ffn)"],
    ),
}


def ours(folder: Path, name: str, **changes: Any) -> torch.Tensor:
    """A clip, the second that a model samples: nothing of the first may be left in a cache."""
    width, frames = SIZES[name]
    requested = options(width, frames, steps=STEPS, **changes)
    model = open_model(folder, requested)
    for prompt, seed in (("a fox", 3), (PROMPT, SEED)):
        clip = model.sample([ClipRequest(prompt, seed, requested)], lambda state: None)
    return clip


def theirs(folder: Path, name: str, prepare: Callable[[Any], Any]) -> torch.Tensor:
    """The clip of diffusers' pipeline after `prepare`."""
    width, frames = SIZES[name]
    pipeline = getattr(diffusers, CLASSES[name]).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    prepare(pipeline)
    extra: dict[str, Any] = {"frame_rate": 12} if name == "ltx" else {}
    made = pipeline(
        prompt=PROMPT, negative_prompt="rain", width=width, height=32, num_frames=frames,
        num_inference_steps=STEPS, guidance_scale=5.0, output_type="pt",
        generator=torch.Generator().manual_seed(SEED), **extra,
    ).frames  # fmt: skip
    return 2 * made.transpose(1, 2) - 1


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("cache", CONFIGS)
def test_a_cache_equals_that_of_diffusers(video_folder: Callable[[str], Path], name: str, cache: str) -> None:
    folder = video_folder(name)
    clip = ours(folder, name, cache=cache)
    expected = theirs(folder, name, lambda pipe: pipe.transformer.enable_cache(CONFIGS[cache](pipe)))
    assert (clip - expected).abs().max() < 1e-4 * expected.abs().max()
    if cache != "first-block":  # whose threshold this small network never meets
        assert (clip - ours(folder, name)).abs().max() > 1e-3


def test_the_first_blocks_cache_leaves_out_the_others(
    video_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceleration, "FIRST_BLOCK_THRESHOLD", 1e9)
    folder = video_folder("wan")
    clip = ours(folder, "wan", cache="first-block")
    always = diffusers.FirstBlockCacheConfig(threshold=1e9)
    expected = theirs(folder, "wan", lambda pipe: pipe.transformer.enable_cache(always))
    assert (clip - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (clip - ours(folder, "wan")).abs().max() > 1e-3


@pytest.mark.parametrize("name", SIZES)
def test_weights_in_float8_equal_those_of_diffusers(video_folder: Callable[[str], Path], name: str) -> None:
    def cast(pipeline: Any) -> None:
        pipeline.transformer.enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32
        )

    folder = video_folder(name)
    clip = ours(folder, name, storage="float8")
    expected, exact = theirs(folder, name, cast), ours(folder, name)
    assert (clip - expected).abs().max() < 1e-4 * expected.abs().max()
    assert 1e-4 < (clip - exact).abs().max() / exact.abs().max() < 0.5


@pytest.mark.parametrize("name", SIZES)
def test_weights_in_int8_equal_those_that_diffusers_reads(
    video_folder: Callable[[str], Path], name: str
) -> None:
    quantization = pytest.importorskip("torchao.quantization")

    def read(pipeline: Any) -> None:
        config = diffusers.TorchAoConfig(quantization.Int8WeightOnlyConfig())
        kind = type(pipeline.transformer)
        pipeline.transformer = kind.from_pretrained(
            folder / "transformer", quantization_config=config, torch_dtype=torch.float32
        )

    folder = video_folder(name)
    clip = ours(folder, name, storage="int8")
    expected, exact = theirs(folder, name, read), ours(folder, name)
    assert (clip - expected).abs().max() < 1e-4 * expected.abs().max()
    assert 0 < (clip - exact).abs().max() < (ours(folder, name, storage="float8") - exact).abs().max()


def test_int8_without_torchao_is_refused_in_a_sentence(
    video_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(UserError, match=r"--storage int8 needs torchao .*: pip install torchao\."):
        ours(video_folder("wan"), "wan", storage="int8")


@pytest.mark.parametrize("offload", ["group", "layers"])
def test_int8_is_not_divided_by_offloading(offload: str) -> None:
    with pytest.raises(UserError, match=f"int8 and --offload {offload} exclude each other: give --offload"):
        options(32, 9, storage="int8", offload=offload).check_together()


@pytest.mark.parametrize("name", ["wan", "ltx"])
def test_an_attention_backend_is_used(video_folder: Callable[[str], Path], name: str) -> None:
    folder = video_folder(name)
    plain = ours(folder, name)
    clip = ours(folder, name, attention="_native_math")
    torch.testing.assert_close(clip, plain, rtol=0, atol=1e-4)
    ours(folder, name, attention="native")  # diffusers keeps the last one for all models


@pytest.mark.parametrize(
    ("backend", "sentence"),
    [
        ("quick", "There is no attention backend 'quick': give one of .*flash.*native"),
        ("sage_hub", "There is no attention backend 'sage_hub'"),  # would run code from the hub
        ("sage", "--attention sage cannot be used here: .*sageattention"),
    ],
)
def test_a_backend_that_cannot_be_used_is_refused(
    video_folder: Callable[[str], Path], backend: str, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        open_model(video_folder("wan"), options(32, 9, attention=backend))
    assert "\n" not in str(caught.value)


def test_clips_with_a_cache_are_sampled_one_by_one(video_folder: Callable[[str], Path]) -> None:
    requested = options(32, 9, cache="first-block")
    assert open_model(video_folder("wan"), requested).group(PROMPT, requested) is None
