"""`dreamlift bench core`: sampling loops, calls of the bundled networks, and a Stable Diffusion step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from core.bundled import BUNDLED
from core.condition import Condition
from core.models.image_model import ImageModel
from dreamlift.bench.peers import checkpoints, sampling_loops, stable_diffusion
from dreamlift.bench.peers.full_size import QUICK_SIZE, SIZE, Side, compare_at_full_size
from dreamlift.bench.peers.stable_diffusion import Place
from dreamlift.bench.plan import Row, Settings, add_up, compare, grow, timed
from dreamlift.bench.results import OURS, Comparison, Cost, Part, Parts
from dreamlift.bench.rounds import Side as TimedSide
from dreamlift.bench.work import OperationProfile, count_work

PROMPT = "a panda on a swing"
IMAGES, STEPS = 4, 12  # of the sampling with the bundled network
CALL_IMAGES = 32  # of a network call: both halves of guidance of 16 frames


def rows() -> list[Row]:
    """The rows of the suite."""
    package = sampling_loops.k_diffusion_samplers()
    loops = [
        Row(f"loop of {name}", partial(_loop, name, case))
        for name, case in sampling_loops.cases(package).items()
    ]
    return [
        *loops,
        Row("sampling with the bundled network", _sampling),
        Row("network call by operations", _operations),
        Row("network call by images", _by_batch),
        Row("network call by size", _by_size),
        Row("Stable Diffusion 1.5, a step", _stable_diffusion, memory=13),
        Row("Stable Diffusion 1.5, a step in bfloat16", _in_bfloat16, memory=16),
    ]


def _loop(name: str, case: sampling_loops.Case, settings: Settings) -> Comparison:
    return sampling_loops.measure(name, case, settings.many, peers=settings.peers)


def _sampling(settings: Settings) -> Comparison:
    model = ImageModel.load(BUNDLED / "image", settings.device)
    condition = model.encode([PROMPT] * IMAGES)
    prepared = sampling_loops.with_network(model.denoiser, condition, (IMAGES, *model.config.shape))
    sides: dict[str, TimedSide | None] = {
        library: timed(lambda prepare=prepare: prepare(STEPS)(), settings.device)
        for library, prepare in prepared.items()
        if settings.peers or library == OURS
    }
    name = f"{IMAGES} images of the bundled model, {STEPS} steps of DPM-Solver++"
    work = {OURS: count_work(prepared[OURS](STEPS))}
    return compare("Sampling with the same network", name, sides, settings.repeats, per="batch", work=work)


def network_call(
    network: nn.Module,
    condition: Condition,
    shape: tuple[int, ...],
    device: torch.device,
    **options: bool,
) -> Callable[[], object]:
    """A call of a network without gradient, on noise of a shape. options: further arguments of `forward`."""
    x, t = torch.randn(*shape, device=device), torch.full((shape[0],), 500, device=device)

    @torch.no_grad()
    def call() -> object:
        return network(x, t, condition, **options)

    return call


def by_operations(name: str, call: Callable[[], object], settings: Settings) -> Parts:
    """The time and the arithmetic of a call by kinds of operations."""
    call()
    profiles: list[OperationProfile] = []
    for _ in range(settings.repeats):
        with OperationProfile(settings.device) as profile:
            call()
        profiles.append(profile)
    seconds = add_up([profile.seconds for profile in profiles])
    gflop = profiles[0].gflop
    parts = {kind: Part(seconds=seconds[kind], gflop=gflop[kind]) for kind in seconds}
    return Parts(name=name, per="call", parts=parts)


def _calls(settings: Settings, shapes: list[tuple[int, int]]) -> list[Callable[[], object]]:
    """Calls of the bundled image network for numbers of images and sides of their latents."""
    model = ImageModel.load(BUNDLED / "image", settings.device)
    channels = model.config.shape[0]
    return [
        network_call(
            model.denoiser.network,
            model.encode([PROMPT] * count),
            (count, channels, side, side),
            settings.device,
        )
        for count, side in shapes
    ]


def _operations(settings: Settings) -> Parts:
    (call,) = _calls(settings, [(4 if settings.quick else CALL_IMAGES, 16)])
    return by_operations("Call of the bundled image network, 2x16 images", call, settings)


def _by_batch(settings: Settings) -> Cost:
    counts = [1, 2, 4] if settings.quick else [1, 2, 4, 8, 16, 32]
    calls = _calls(settings, [(count, 16) for count in counts])
    name = "Call of the bundled image network by images"
    return grow(name, "images", dict(zip(counts, calls, strict=True)), settings, count_work)


def _by_size(settings: Settings) -> Cost:
    sides = [8, 16] if settings.quick else [8, 16, 32, 64]
    calls = _calls(settings, [(2, side) for side in sides])
    name = "Call of the bundled image network by the side of the latents, 2 images"
    return grow(name, "side", dict(zip(sides, calls, strict=True)), settings, count_work)


def _stable_diffusion(settings: Settings) -> Comparison:
    place = _place(settings)
    sides = {library: Side(prepare, place) for library, prepare in stable_diffusion.SAMPLING.items()}
    return compare_at_full_size(f"Stable Diffusion 1.5, {place.size}x{place.size}", sides, settings)


def _in_bfloat16(settings: Settings) -> Comparison:
    """The step of the row before: ours with `--dtype bfloat16`, beside diffusers in both."""
    place = _place(settings)
    lowered = place._replace(dtype=torch.bfloat16)
    sampling = stable_diffusion.SAMPLING
    sides = {OURS: Side(sampling[OURS], lowered)}
    for library in sampling.keys() - {OURS}:
        sides |= {
            library: Side(sampling[library], place),
            f"{library}, bfloat16": Side(sampling[library], lowered),
        }
    return compare_at_full_size("Stable Diffusion 1.5, ours in bfloat16", sides, settings)


def _place(settings: Settings) -> Place:
    """The checkpoint, written at first use."""
    folder = checkpoints.stable_diffusion(settings.folder / "sd", tiny=settings.quick)
    return Place(folder, settings.device, torch.float32, QUICK_SIZE if settings.quick else SIZE)
