"""`dreamlift doctor`: installed versions, device, arithmetic rate and the state of the bundled weights."""

from typing import Annotated

import typer


def doctor(
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")] = "auto",
) -> None:
    """Prints versions, device and matmul rate, and checks the bundled weights (exit code 2 if damaged)."""
    from core.bundled import BUNDLED
    from core.errors import UserError
    from core.io.machine import describe_device, matmul_rate, package_versions, pick_device
    from core.models.image_model import ImageModel
    from core.models.text_encoder import TextEncoder
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
    problems = []
    for name, load in networks.items():
        try:
            count = sum(parameter.numel() for parameter in load().parameters())
            print(f"{name:<12} {count / 1e6:.1f} M weights, intact")
        except UserError as error:
            print(f"{name:<12} not usable")
            problems.append(str(error))
    if problems:
        raise UserError(" ".join(problems))
