"""Estimated memory and time of a clip against closed forms and against runs of the same networks."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import video.pipelines.estimate
from core.errors import UserError
from core.io.machine import free_memory
from core.nn.flops import FlopCounter
from tests.pretrained.test_video_pipelines import CPU, PROMPT, open_model, options
from video.cli import main
from video.options import ClipRequest
from video.pipelines.cost import Cost, measure_cost
from video.pipelines.estimate import Estimate, check_memory, estimate_cost
from video.pipelines.families import find_family

GPU = torch.device("cuda")  # named only, never used


def test_cost_of_a_network_in_closed_form() -> None:
    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(100, 1000), nn.ReLU(), nn.Linear(1000, 10))

    cost = measure_cost(network, lambda net: net(torch.empty(10, 100)), torch.float32)
    # The network's input, and input and output of the activation, exist at once; weights do not count.
    assert cost.memory == 4 * 10 * (100 + 1000 + 1000)
    assert cost.flop == 2 * 10 * (100 * 1000 + 1000 * 10)
    half = measure_cost(network, lambda net: net(torch.empty(10, 100)), torch.bfloat16)
    assert half.memory == cost.memory / 2
    assert torch.get_default_dtype() == torch.float32


def test_memory_includes_activations_of_the_backward_pass() -> None:
    def call(net: nn.Module) -> None:
        with torch.enable_grad():
            net(torch.empty(10, 100, requires_grad=True)).sum().backward()

    def network() -> nn.Module:
        return nn.Sequential(*(nn.Sequential(nn.Linear(100, 100), nn.Sigmoid()) for _ in range(8)))

    assert measure_cost(network, call, torch.float32).memory > 4 * 10 * 100 * (
        1 + 8
    )  # every sigmoid's output


CLIPS = [
    ("wan", 32, 9),
    ("ltx", 64, 9),
    ("cogvideox", 48, 9),
    ("cogvideox-1.5", 48, 9),
    ("modelscope", 32, 3),
]


@pytest.mark.parametrize(("name", "width", "frames"), CLIPS)
def test_estimate_equals_the_cost_of_a_run(
    video_folder: Callable[[str], Path], name: str, width: int, frames: int
) -> None:
    requested = options(width, frames, steps=2)
    folder = video_folder(name)
    family = find_family(folder)
    assert family
    estimate = estimate_cost(folder, family, requested, CPU)
    model = open_model(folder, requested)
    pipeline = model.pipeline

    for part, size in estimate.weights.items():
        tensors = {tensor.data_ptr(): tensor for tensor in getattr(pipeline, part).state_dict().values()}
        assert size == sum(4 * tensor.numel() for tensor in tensors.values()), part

    network = pipeline.unet if name == "modelscope" else pipeline.transformer
    flop, peaks = measured(network)
    model.sample([ClipRequest(PROMPT, 0, requested)], lambda state: None)
    assert sum(flop) == pytest.approx(estimate.sampling.flop, rel=0.01)
    assert max(peaks) == pytest.approx(estimate.sampling.memory, rel=0.2)


def measured(network: nn.Module) -> tuple[list[float], list[float]]:
    """Lists of the arithmetic and of the peak memory of each call of the network."""
    flop: list[float] = []
    peaks: list[float] = []
    forward = network.forward

    def watched(*args: Any, **kwargs: Any) -> object:
        memory = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        with memory as profiler, FlopCounter() as counter:
            result = forward(*args, **kwargs)
        flop.append(counter.total)
        events = profiler.profiler.kineto_results.events()
        current = peak = 0
        for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
            current += event.nbytes()
            peak = max(peak, current)
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        peaks.append(peak + sum(value.nbytes for value in given))
        return result

    network.forward = watched
    return flop, peaks


@pytest.mark.parametrize(("name", "width", "frames"), CLIPS)
def test_estimate_of_decoding_is_close_to_a_run(
    video_folder: Callable[[str], Path], name: str, width: int, frames: int
) -> None:
    requested = options(width, frames)
    folder = video_folder(name)
    family = find_family(folder)
    assert family
    estimate = estimate_cost(folder, family, requested, CPU).decoding
    model = open_model(folder, requested)
    config = model.pipeline.vae.config
    channels = config.z_dim if name == "wan" else config.latent_channels
    size = (frames - 1) // family.stride + 1, 32 // family.spatial, width // family.spatial
    latents = torch.randn(1, channels, *size)
    with FlopCounter() as counter:
        model.decode(latents)
    assert counter.total == pytest.approx(estimate.flop, rel=0.4)


def test_device_memory_of_each_offload_mode() -> None:
    estimate = Estimate({"text_encoder": 50, "transformer": 30, "vae": 5}, Cost(20, 1e9), Cost(40, 1e9))
    assert estimate.device_memory(None) == 85 + 40
    assert estimate.device_memory("model") == max(50 + 20, 5 + 40)
    assert estimate.device_memory("layers") == 40


def test_wan_decoder_is_counted_in_float32(video_folder: Callable[[str], Path]) -> None:
    family = find_family(video_folder("wan"))
    assert family
    full = estimate_cost(video_folder("wan"), family, options(32, 5), CPU).weights
    half = estimate_cost(video_folder("wan"), family, options(32, 5, dtype="float16"), CPU).weights
    assert half == {
        "text_encoder": full["text_encoder"] / 2,
        "transformer": full["transformer"] / 2,
        "vae": full["vae"],
    }


@pytest.mark.parametrize(
    ("device", "short", "advice"),
    [
        (CPU, 0.8, "give --dtype bfloat16"),
        (GPU, 0.9, "give --offload model"),
        (CPU, 0.0, "fewer --frames or a smaller --width and --height"),
    ],
)
def test_too_little_memory_is_an_error_with_advice(
    video_folder: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    device: torch.device,
    short: float,
    advice: str,
) -> None:
    folder = video_folder("modelscope")
    requested = options(32, 3)
    family = find_family(folder)
    assert family
    needed = estimate_cost(folder, family, requested, device).device_memory(None)
    monkeypatch.setattr(video.pipelines.estimate, "free_memory", lambda device: int(short * needed))
    with pytest.raises(UserError, match=advice) as refused:
        check_memory(folder, family, requested, device)
    assert "iB with ModelScope, " in str(refused.value) and "--force" in str(refused.value)


def test_force_runs_in_spite_of_the_estimate(
    video_folder: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(video.pipelines.estimate, "free_memory", lambda device: 0)
    arguments = ["gen-video", "a fox", "--model", str(video_folder("modelscope")), "--device", "cpu"]
    arguments += ["--steps", "1", "--frames", "2"]
    for more, code in ([], 2), (["--force"], 0):
        monkeypatch.setattr(sys, "argv", arguments + more)
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == code
        assert (tmp_path / "a-fox.mp4").exists() == (code == 0)


def test_a_dry_run_tells_the_estimate_and_refuses_as_the_run_does(
    video_folder: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = video_folder("modelscope")
    family = find_family(folder)
    assert family
    cost = check_memory(folder, family, options(32, 3, steps=2), CPU)
    monkeypatch.setattr("video.pipelines.load.load_pipeline", None)
    words = ["gen-video", "a fox", "--model", str(folder), "--device", "cpu", "--steps", "2"]
    words += ["--frames", "3", "--width", "32", "--height", "32", "--dry-run", "--json"]
    for free, code in ((free_memory(CPU), 0), (0, 2)):
        monkeypatch.setattr(video.pipelines.estimate, "free_memory", lambda device, free=free: free)
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        assert stop.value.code == code and not any(tmp_path.iterdir())
        if code:
            assert "This clip needs" in printed.err and not printed.out
        else:
            planned = json.loads(printed.out)
            assert (planned["frames"], planned["width"], planned["height"]) == (3, 32, 32)
            assert planned["memory"] >= cost.memory and planned["seconds"] >= 0


def test_free_memory_is_at_most_the_total() -> None:
    assert 0 < free_memory(CPU) <= psutil.virtual_memory().total
