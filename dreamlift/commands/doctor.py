"""`dreamlift doctor`: installed versions, device, arithmetic rate and the state of the bundled weights."""

from typing import Annotated

import typer


def doctor(
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")] = "auto",
    fix_hints: Annotated[
        bool, typer.Option("--fix-hints", help="Print the command that mends it below each finding.")
    ] = False,
) -> None:
    """Prints versions, device and matmul rate, and checks the machine and the bundled weights.

    Exit code 2 if these are damaged.
    """
    from core.bundled import BUNDLED
    from core.errors import UserError
    from core.io.machine import describe_device, matmul_rate, package_versions, pick_device
    from core.models.image_model import ImageModel
    from core.models.text_encoder import TextEncoder
    from dreamlift.commands.findings import REPAIR, Finding, find_problems
    from video.video_model import VideoModel

    chosen = pick_device(device)
    for name, version in package_versions().items():
        print(f"{name:<12} {version}")
    print(f"{'device':<12} {describe_device(chosen)}")
    print(f"{'matmul':<12} {matmul_rate(chosen):.0f} GFLOP/s, float32")

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
