"""`dreamlift vary`, `dreamlift blend` and `dreamlift edit`: images from images, with an unCLIP model."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dreamlift.image_variations import ImageVariations
    from dreamlift.text_to_image import Picture

Given = Annotated[Path, typer.Argument(help="A picture; its middle square is used.")]
Model = Annotated[Path, typer.Option(help="Folder of an unCLIP model.")]
Out = Annotated[
    str | None, typer.Option(help="FILE.png, or a FOLDER/.", show_default="named after the picture")
]
Count = Annotated[int, typer.Option("--num", help="Number of images.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same images.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")]


def vary_command(
    picture: Given, model: Model, num: Count = 4, out: Out = None, seed: Seed = 0, device: Device = "auto"
) -> None:
    """Draws variations of a picture."""
    from core.io.pictures import read_image

    image, name = read_image(picture), f"{picture.stem} varied"
    _write(name, num, seed, out, model, device, lambda draws: draws.vary(image, num, seed=seed))


def blend_command(
    first: Given,
    second: Given,
    model: Model,
    num: Count = 5,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Draws the way from one picture to another."""
    from core.io.pictures import read_image

    images = read_image(first), read_image(second)
    name = f"{first.stem} to {second.stem}"
    _write(name, num, seed, out, model, device, lambda draws: draws.interpolate(*images, num, seed=seed))


def edit_command(
    picture: Given,
    model: Model,
    before: Annotated[str, typer.Option("--from", help="What the picture shows.")],
    after: Annotated[str, typer.Option("--to", help="What it is to show.")],
    num: Count = 5,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Changes a picture step by step, as one text differs from another."""
    from core.io.pictures import read_image

    image, name = read_image(picture), f"{picture.stem} {after}"
    _write(
        name, num, seed, out, model, device, lambda draws: draws.edit(image, before, after, num, seed=seed)
    )


def _write(
    name: str,
    num: int,
    seed: int,
    out: str | None,
    model: Path,
    device: str,
    draw: "Callable[[ImageVariations], list[Picture]]",
) -> None:
    """Draws with the model of a folder, and writes the pictures."""
    from core.io.outputs import plan_outputs

    planned = plan_outputs([name], num, seed, out, "image", [".png"])

    from dreamlift.image_variations import ImageVariations

    pictures = draw(ImageVariations.from_pretrained(model, device=device))
    for output, picture in zip(planned, pictures, strict=True):
        picture.save(output.file)
        print(f"{output.file}: {picture.image.width}x{picture.image.height}, seed {picture.record['seed']}")
