"""`dreamlift doctor`: installed versions, device, rates, tier and the state of the bundled weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

    from core.machine_rates import MachineRates

RATE_SECONDS = 0.15  # for each of the four rates


def doctor(
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")] = "auto",
    fix_hints: Annotated[
        bool, typer.Option("--fix-hints", help="Print the command that mends it below each finding.")
    ] = False,
) -> None:
    """Prints versions, device, rates and tier, and checks the machine and the bundled weights.

    Exit code 2 if these are damaged.
    """
    from core.bundled import BUNDLED
    from core.errors import UserError
    from core.io.machine import describe_device, package_versions, pick_device
    from core.machine_rates import measure_rates
    from core.models.image_model import ImageModel
    from core.models.text_encoder import TextEncoder
    from dreamlift.commands.findings import REPAIR, Finding, find_problems
    from video.video_model import VideoModel

    chosen = pick_device(device)
    for name, version in package_versions().items():
        print(f"{name:<12} {version}")
    print(f"{'device':<12} {describe_device(chosen)}")
    rates = measure_rates(chosen, RATE_SECONDS)
    print(f"{'matmul':<12} {rates.matmul:.0f} GFLOP/s in float32, {rates.bfloat16:.0f} in bfloat16")
    print(f"{'convolution':<12} {rates.convolution:.0f} GFLOP/s in float32")
    print(f"{'memory':<12} {rates.memory:.0f} GB/s")
    print(f"{'tier':<12} {describe_tier(chosen, rates)}")

    networks = {
        "text": lambda: TextEncoder().bert,
        "image": lambda: ImageModel.load(BUNDLED / "image").denoiser,
        "weak": lambda: ImageModel.load(BUNDLED / "weak" / "image").denoiser,
        "video": lambda: VideoModel.load(BUNDLED / "video").denoiser,
    }
    damaged: list[str] = []
    for name, load in networks.items():
        try:
            count = sum(parameter.numel() for parameter in load().parameters())
            print(f"{name:<12} {count / 1e6:.1f} M weights, intact")
        except UserError as error:
            print(f"{name:<12} not usable")
            damaged.append(str(error))
    findings = [*find_problems(chosen), *(Finding(sentence, REPAIR) for sentence in damaged)]
    for finding in findings:
        print(f"{'found':<12} {finding.problem}")
        if fix_hints:
            print(f"{'':<12} {finding.hint}")
    if damaged:
        raise UserError(" ".join(damaged))


def describe_tier(device: torch.device, rates: MachineRates) -> str:
    """The tier of clips and images where none is given, and why, for one line."""
    from core.io.machine import fast_bfloat16
    from core.tiers import default_tier

    tier, ratio = default_tier(device), rates.bfloat16 / rates.matmul
    if tier == "fast":
        return f"fast: this processor computes bfloat16 products in hardware, here {ratio:.1f} times as fast"
    if fast_bfloat16(device):
        return f"exact: fast has not been measured on GPUs; bfloat16 is {ratio:.1f} times as fast, see --tier"
    return f"exact: this processor has no instructions for bfloat16 ({ratio:.1f} times as fast as float32)"
