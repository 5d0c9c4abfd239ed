"""`dreamlift image`: images of a prompt, from the model that clips and objects are built on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from core.bundled import BUNDLED_NAME, OTHERS
from core.command_line.arguments import DryRun
from core.errors import UserError
from core.io.values import check_range
from core.sampling_options import SamplerName
from core.tiers import ArithmeticTier

GFLOP = 80.0  # of an image of the small models, at the rate of matrix products
SMALL = (BUNDLED_NAME, *OTHERS)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.batches.requirements import Requirements
    from core.io.files.plan import PlannedOutput


def image(
    prompt: Annotated[str, typer.Argument(help="What the image shows.")],
    out: Annotated[
        str | None,
        typer.Option(help="FILE.png, or a FOLDER/.", show_default="named after the prompt"),
    ] = None,
    num: Annotated[int, typer.Option(help="Images, with seeds SEED, SEED+1, ...")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same image.")] = 0,
    model: Annotated[
        str | None,
        typer.Option(
            help="unclip, emoji, a folder of an image model, or a checkpoint of the hub.",
            show_default="bundled",
        ),
    ] = None,
    negative: Annotated[str, typer.Option(help="Negative prompt.")] = "",
    steps: Annotated[int | None, typer.Option(help="Denoising steps.", show_default="the model's")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; 1 disables it.", show_default="the model's")
    ] = None,
    sampler: Annotated[SamplerName | None, typer.Option(help="Sampler.", show_default="the model's")] = None,
    azimuth: Annotated[
        float | None, typer.Option(help="Camera around the subject, degrees.", show_default="the prompt's")
    ] = None,
    elevation: Annotated[
        float | None, typer.Option(help="Camera above the subject, degrees.", show_default="the prompt's")
    ] = None,
    super_resolution: Annotated[
        int | None, typer.Option(help="Its denoising steps; 0 leaves it out.", show_default="1")
    ] = None,
    lora: Annotated[
        list[str] | None, typer.Option(help="For checkpoints: LoRA weights, NAME or NAME@SCALE.")
    ] = None,
    tier: Annotated[
        ArithmeticTier | None,
        typer.Option(
            help="exact: float32; fast: bfloat16 where the machine is fast at it.",
            show_default="fast where bfloat16 is",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")] = "auto",
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace files of these names that no record lists as made here."),
    ] = False,
    dry_run: DryRun = False,
    complete: Annotated[
        bool, typer.Option("--complete/--no-complete", help="Read the prompt into words the model knows.")
    ] = True,
) -> None:
    """Draws images of a prompt, each with a record of how it was made (.image.json)."""
    from core.io.files.plan import OutputRequest, Replacing, plan_outputs
    from core.io.pictures import PICTURE

    if not prompt.strip():
        raise UserError("The prompt is empty: say what the image shows.")
    chosen = {"--steps": (steps, 1, 1000), "--super-resolution": (super_resolution, 0, 100)}
    chosen |= {"--guidance": (guidance, 0, 100), "--azimuth": (azimuth, -360, 360)}
    for label, (value, low, high) in (chosen | {"--elevation": (elevation, -90, 90)}).items():
        if value is not None:
            check_range(value, low, high, label)
    needed = check_images(num, out)
    replacing = Replacing(overwrite, dry=dry_run)
    planned = plan_outputs([OutputRequest(prompt)], num, seed, out, PICTURE, replacing)
    if dry_run:
        forecast_pictures(planned, model or BUNDLED_NAME, needed, device)
        return

    from dreamlift.text_to_image import TextToImage

    draws = TextToImage.from_pretrained(
        model or BUNDLED_NAME, device=device, tier=tier, lora=tuple(lora or ())
    )
    for output in planned:
        picture = draws(
            prompt,
            negative_prompt=negative,
            num_inference_steps=steps,
            guidance_scale=guidance,
            seed=output.seed,
            sampler=sampler,
            azimuth=azimuth,
            elevation=elevation,
            super_resolution=super_resolution,
            complete=complete,
        )
        picture.save(output.file, overwrite=overwrite)
        report_picture(output, *picture.image.size)


def report_picture(output: PlannedOutput, width: int, height: int) -> None:
    """Reports an image that was made."""
    from core.command_line.reporting import report_made
    from core.io.pictures import PICTURE

    facts = {"prompt": output.prompt, "seed": output.seed, "width": width, "height": height}
    report_made(PICTURE.files(output.file).lasting, f"{width}x{height}, seed {output.seed}", facts)


def check_images(num: int, out: str | None) -> Requirements:
    """What `num` images of the small models need. Raises UserError where memory or disk do not suffice."""
    from core.batches.requirements import Requirements, check_requirements
    from core.io.resources import GIB

    image = Requirements(memory=0.45 * GIB, disk=60_000)  # measured, see docs/files.md
    return check_requirements([image], num, out, "image", "end other programs")


def forecast_pictures(
    planned: Sequence[PlannedOutput], model: str, needed: Requirements, device: str
) -> None:
    """Prints the images that would be made. Raises UserError for a device that is not there."""
    from core.batches.dry_run import Forecast, print_forecast
    from core.io.files.record import MadeBy
    from core.io.machine import matmul_rate, pick_device
    from core.io.pictures import PICTURE

    rate = matmul_rate(pick_device(device), seconds=0.2)
    outputs = [
        Forecast(PICTURE.files(each.file), MadeBy(each.prompt, each.seed), "an image", {}) for each in planned
    ]
    print_forecast(outputs, model, needed, GFLOP * len(planned) / rate if model in SMALL else None)
