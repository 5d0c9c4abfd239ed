"""`dreamlift bench video`: networks of clips, the default clip by parts, and an AnimateDiff step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from core.attributes import encode_attributes
from core.bundled import BUNDLED, BUNDLED_VIDEO
from core.condition import Condition
from core.io.machine import busy_time
from core.io.presets import load_preset
from dreamlift.bench.peers import animatediff, checkpoints
from dreamlift.bench.peers.clip_networks import BUILDERS, VIDEO_DIFFUSION, clip_call
from dreamlift.bench.peers.full_size import QUICK_SIZE, Side, compare_at_full_size
from dreamlift.bench.peers.stable_diffusion import Place
from dreamlift.bench.plan import Row, Settings, add_up, compare, grow, timed
from dreamlift.bench.results import OURS, Comparison, Cost, Part, Parts
from dreamlift.bench.rounds import Side as TimedSide
from dreamlift.bench.suites.core import PROMPT, by_operations, network_call
from dreamlift.bench.work import OTHER, ModuleClock, count_work
from video.clip_model import NativeClipModel
from video.job import ClipJob
from video.options import ClipOptions
from video.text_to_video import sample_clip
from video.video_model import VideoModel

FRAMES, QUICK_FRAMES = 16, 4
CHECKPOINT_SIZE, CHECKPOINT_FRAMES = 256, 2  # a step of 512x512 takes a minute
PIXELS = 64  # of the peers' clips
NETWORKS = "Networks of clips, random weights in the peers"


def rows() -> list[Row]:
    """The rows of the suite."""
    return [
        Row("network call by kinds of layers", _layers),
        Row("network call by operations", _operations),
        Row("network call by frames", _by_frames),
        Row("network call by clips", _by_clips),
        Row("networks of the peers on our latents", _on_latents),
        Row("networks of the peers on their pixels", _on_pixels),
        Row("default clip by parts", _clip),
        Row("AnimateDiff, a step", _animatediff, memory=22),
    ]


def _load(settings: Settings) -> VideoModel:
    return VideoModel.load(BUNDLED_VIDEO, settings.device)


def _call(
    model: VideoModel, clips: int, frames: int, device: torch.device, **options: bool
) -> Callable[[], object]:
    """A call of the bundled network on noise. options: further arguments of its `forward`."""
    condition = Condition(*model.text([PROMPT] * clips), encode_attributes(clips).to(device))
    shape = (clips, model.config.image.shape[0], frames, *model.config.image.shape[1:])
    return network_call(model.denoiser.network, condition, shape, device, **options)


def _frames(settings: Settings) -> int:
    return QUICK_FRAMES if settings.quick else FRAMES


def _layers(settings: Settings) -> Parts:
    """Seconds and arithmetic of the temporal layers, and of all others: the network without temporal ones."""
    model, clock = _load(settings), ModuleClock(settings.device)
    network: Any = model.denoiser.network
    call = _call(model, 2, _frames(settings), settings.device)
    of_images = _call(model, 2, _frames(settings), settings.device, independent_frames=True)
    temporal, whole = "temporal layers", timed(call, settings.device)
    repeats: list[dict[str, float]] = []
    whole()
    for _ in range(settings.many):
        with clock.of({temporal: network.temporal}):
            seconds = whole()
        repeats.append({temporal: clock.seconds[temporal], OTHER: seconds - clock.seconds[temporal]})
    other = count_work(of_images).gflop
    gflop = {temporal: count_work(call).gflop - other, OTHER: other}
    parts = {name: Part(seconds=each, gflop=gflop[name]) for name, each in add_up(repeats).items()}
    return Parts(
        name=f"Call of the bundled network of clips, 2x{_frames(settings)} frames", per="call", parts=parts
    )


def _operations(settings: Settings) -> Parts:
    call = _call(_load(settings), 2, _frames(settings), settings.device)
    return by_operations("The same call by operations", call, settings)


def _by_frames(settings: Settings) -> Cost:
    model = _load(settings)
    frames = [2, 4] if settings.quick else [2, 4, 8, 16, 32]
    calls = {count: _call(model, 2, count, settings.device) for count in frames}
    return grow(
        "Call of the bundled network of clips by frames, 2 clips", "frames", calls, settings, count_work
    )


def _by_clips(settings: Settings) -> Cost:
    model = _load(settings)
    calls = {count: _call(model, count, _frames(settings), settings.device) for count in (1, 2, 4, 8)}
    name = f"Call of the bundled network of clips by clips of {_frames(settings)} frames"
    return grow(name, "clips", calls, settings, count_work)


def _on_latents(settings: Settings) -> Comparison:
    """Their networks have other sizes than ours: seconds are compared per arithmetic."""
    model = _load(settings)
    channels, *size = model.config.image.shape
    shape = (2, channels, _frames(settings), *size)
    calls = {OURS: _call(model, 2, _frames(settings), settings.device)}
    builders = {name: build() for name, build in BUILDERS.items()} if settings.peers else {}
    calls |= {
        name: clip_call(build(channels), shape, settings.device) for name, build in builders.items() if build
    }
    sides: dict[str, TimedSide | None] = {name: timed(call, settings.device) for name, call in calls.items()}
    sides |= {name: None for name, build in builders.items() if not build}
    return compare(
        NETWORKS,
        f"latents of {shape[2]} frames, two clips",
        sides,
        settings.repeats,
        per="call",
        work={name: count_work(call) for name, call in calls.items()},
        relation="ratio per GFLOP",
    )


def _on_pixels(settings: Settings) -> Comparison:
    """A clip of the same pixels: of our latents, and of their pixels."""
    model = _load(settings)
    calls = {OURS: _call(model, 1, _frames(settings), settings.device)}
    build = BUILDERS[VIDEO_DIFFUSION]()
    shape = (1, 3, _frames(settings), PIXELS, PIXELS)
    if build and settings.peers:
        calls[VIDEO_DIFFUSION] = clip_call(build(3), shape, settings.device)
    sides: dict[str, TimedSide | None] = {name: timed(call, settings.device) for name, call in calls.items()}
    if settings.peers and not build:
        sides[VIDEO_DIFFUSION] = None
    return compare(
        "A network call for a clip of 64x64 pixels",
        f"{shape[2]} frames",
        sides,
        settings.repeats,
        per="call",
        work={name: count_work(call) for name, call in calls.items()},
    )


def _clip(settings: Settings) -> Parts:
    """The default clip, from the text to its files; loading the weights does not count."""
    model = NativeClipModel(
        BUNDLED_VIDEO, settings.device, super_resolution=BUNDLED / "super_resolution", bundled=True
    )
    options = load_preset("gen-video/standard", ClipOptions)
    if settings.quick:
        options = options.with_changes(frames=QUICK_FRAMES, steps=2)
    job = ClipJob(PROMPT, 0, settings.folder / "clip.mp4")
    video, larger = model.model, model.super_resolution
    assert video.first_stage and larger
    modules: dict[str, Iterable[nn.Module]] = {
        "text": [video.text.bert],
        "network": [video.denoiser.network],
        "weaker version for guidance": [video.weak.network] if video.weak else [],
        "first stage": [video.first_stage.decoder],
        "super-resolution": [larger.denoiser.network],
    }
    clock = ModuleClock(settings.device)
    repeats: list[dict[str, float]] = []
    for _ in range(settings.repeats + 1):
        start = busy_time(settings.device)
        with clock.of(modules):
            clip = sample_clip(
                model, job, options, preset="standard", device=settings.device, on_step=_ignore
            )
        sampled = busy_time(settings.device)
        clip.write_files(job)
        seconds = {**clock.seconds, "writing": busy_time(settings.device) - sampled}
        repeats.append({**seconds, OTHER: sampled - start - sum(clock.seconds.values())})
    parts = {name: Part(seconds=each) for name, each in add_up(repeats[1:]).items()}
    return Parts(name=f"The default clip of gen-video, {options.steps} steps", per="clip", parts=parts)


def _ignore(_: object) -> None:
    """Called after every sampling step."""


def _animatediff(settings: Settings) -> Comparison:
    folder, motion = settings.folder / "sd", settings.folder / "motion"
    checkpoints.stable_diffusion(folder, tiny=settings.quick)
    checkpoints.motion_adapter(motion, tiny=settings.quick)
    place = Place(
        folder,
        settings.device,
        torch.float32,
        QUICK_SIZE if settings.quick else CHECKPOINT_SIZE,
        frames=CHECKPOINT_FRAMES,
        motion=motion,
    )
    sides = {library: Side(prepare, place) for library, prepare in animatediff.CLIPS.items()}
    return compare_at_full_size(f"AnimateDiff, {place.frames} x {place.size}x{place.size}", sides, settings)
