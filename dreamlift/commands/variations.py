"""`dreamlift vary`, `dreamlift blend` and `dreamlift edit`: images from images, with an unCLIP model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from core.bundled import UNCLIP
from core.command_line.arguments import DryRun

if TYPE_CHECKING:
    from PIL.Image import Image

    from core.io.files.plan import PlannedOutput
    from dreamlift.image_variations import ImageVariations
    from dreamlift.text_to_image import Picture

Given = Annotated[Path, typer.Argument(help="A picture; its middle square is used.")]
Model = Annotated[Path, typer.Option(help="Folder of an unCLIP model.", show_default="the bundled one")]
BUNDLED = Path(UNCLIP)
Out = Annotated[
    str | None, typer.Option(help="FILE.png, or a FOLDER/.", show_default="named after the picture")
]
Count = Annotated[int, typer.Option("--num", help="Number of images.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same images.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files of these names that no record lists as made here.")
]
Background = Annotated[str, typer.Option(help="Color under the transparent parts of a picture.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")]


def vary_command(
    picture: Given,
    model: Model = BUNDLED,
    num: Count = 4,
    out: Out = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    background: Background = "white",
    device: Device = "auto",
    dry_run: DryRun = False,
) -> None:
    """Draws variations of a picture."""
    (image,), name = _read(background, picture), f"{picture.stem} varied"
    planned = _planned(name, num, seed, out, overwrite, dry_run, picture)
    run = _Run(planned, overwrite, model, device, dry_run)
    run.write(lambda draws: draws.vary(image, num, seed=seed))


def blend_command(
    first: Given,
    second: Given,
    model: Model = BUNDLED,
    num: Count = 5,
    out: Out = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    background: Background = "white",
    device: Device = "auto",
    dry_run: DryRun = False,
) -> None:
    """Draws the way from one picture to another."""
    one, other = _read(background, first, second)
    name = f"{first.stem} to {second.stem}"
    planned = _planned(name, num, seed, out, overwrite, dry_run, first, second)
    run = _Run(planned, overwrite, model, device, dry_run)
    run.write(lambda draws: draws.interpolate(one, other, num, seed=seed))


def edit_command(
    picture: Given,
    before: Annotated[str, typer.Option("--from", help="What the picture shows.")],
    after: Annotated[str, typer.Option("--to", help="What it is to show.")],
    model: Model = BUNDLED,
    num: Count = 5,
    out: Out = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    background: Background = "white",
    device: Device = "auto",
    dry_run: DryRun = False,
) -> None:
    """Changes a picture step by step, as one text differs from another."""
    (image,), name = _read(background, picture), f"{picture.stem} {after}"
    planned = _planned(name, num, seed, out, overwrite, dry_run, picture)
    run = _Run(planned, overwrite, model, device, dry_run)
    run.write(lambda draws: draws.edit(image, before, after, num, seed=seed))


def _read(background: str, *given: Path) -> list[Image]:
    """The given pictures. Raises UserError for files that are none, and for an unknown color."""
    from core.io.pictures import parse_color, read_image

    color = parse_color(background)
    return [read_image(path, color) for path in given]


def _planned(
    name: str, num: int, seed: int, out: str | None, overwrite: bool, dry: bool, *given: Path
) -> list[PlannedOutput]:
    """The pictures to draw from the given ones."""
    from core.io.files.plan import OutputRequest, Replacing, plan_outputs
    from core.io.pictures import PICTURE
    from dreamlift.commands.image import check_images

    check_images(num, out)
    return plan_outputs(
        [OutputRequest(name)], num, seed, out, PICTURE, Replacing(overwrite, inputs=given, dry=dry)
    )


class _Run(NamedTuple):
    """Pictures to draw with the model of a folder. dry: to print instead what would be drawn."""

    planned: list[PlannedOutput]
    overwrite: bool
    model: Path
    device: str
    dry: bool

    def write(self, draw: Callable[[ImageVariations], list[Picture]]) -> None:
        """Draws the pictures and writes them."""
        from dreamlift.commands.image import check_images, forecast_pictures, report_picture

        if self.dry:
            needed = check_images(len(self.planned), f"{self.planned[0].file.parent}/")
            forecast_pictures(self.planned, str(self.model), needed, self.device)
            return
        from dreamlift.image_variations import ImageVariations

        pictures = draw(ImageVariations.from_pretrained(self.model, device=self.device))
        for output, picture in zip(self.planned, pictures, strict=True):
            picture.save(output.file, overwrite=self.overwrite)
            report_picture(output._replace(seed=picture.record["seed"]), *picture.image.size)
