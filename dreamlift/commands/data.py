"""`dreamlift data`: looks at a folder of one's own pictures and clips, and prepares it for training."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import UserError
from core.io.atomic import writable_folder
from core.io.files.listed import own_files, write_listed
from core.io.text import count_of

if TYPE_CHECKING:
    from accelerate import Accelerator

    from core.data.decode import PrepareOptions
    from core.data.prepare import Preparation

LISTED = 20  # broken files, duplicates and words that are printed
SHOWN = 48  # examples on the contact sheet

Folder = Annotated[Path, typer.Argument(help="Folder of pictures and clips.", show_default=False)]
Fit = Annotated[
    str, typer.Option(help="crop: the middle of every picture; pad: all of it, before the background.")
]
Background = Annotated[str, typer.Option(help="Color under transparent pixels and around padded pictures.")]
FrameRate = Annotated[float, typer.Option("--fps", help="Frames per second that are taken from clips.")]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder of the prepared data.", show_default="one in ~/.cache/dreamlift/data"),
]


def data(
    folder: Folder,
    size: Annotated[int, typer.Option(help="Side of the prepared pictures in pixels.")] = 64,
    frames: Annotated[int, typer.Option(help="Frames of a training clip.")] = 16,
    fit: Fit = "crop",
    background: Background = "white",
    fps: FrameRate = 8,
    cache: Cache = None,
    sheet: Annotated[Path, typer.Option(help="Contact sheet (.png) of what was prepared.")] = Path(
        "data.png"
    ),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the sheet, whoever has made it.")
    ] = False,
) -> None:
    """Says what a folder of pictures and clips holds, and shows how a model will see it. Trains nothing."""
    from rich.table import Table

    from core.command_line.printing import make_console, print_table
    from core.data.describe import overview
    from core.data.folder import collect

    if sheet.suffix.lower() != ".png":
        raise UserError(f"Cannot write the sheet as {sheet.name}: its name must end in .png.")
    options = options_of(size, frames, fit, background, fps)
    _check_cache(cache)
    with own_files(sheet.parent, [sheet.name], overwrite):
        found = overview(collect(folder))
        out, result = prepared(folder, options, cache)
        _write_sheet(sheet, out, folder)
    table = Table(title=str(folder), show_header=False)
    table.add_row("images", str(result.images))
    table.add_row(
        "clips", f"{result.clips}, cut to {count_of(result.windows, 'window')} of {count_of(frames, 'frame')}"
    )
    table.add_row("sizes", _counts(found.sizes))
    table.add_row("frames per second", _counts(found.rates))
    table.add_row("frames of a clip", " / ".join(map(str, found.frames or ())) or "-")
    table.add_row("captions from", _counts(result.sources.most_common()))
    if result.several_captions:
        table.add_row("several captions", f"{result.several_captions}; a training step draws one of them")
    table.add_row("words", _counts(found.words))
    table.add_row("prepared", f"{out}: {size}x{size} pixels, {_fitted(options)}, {fps:g} frames a second")
    print_table(make_console(), table)
    print(f"{sheet}: how a model will see them")


def options_of(
    size: int,
    frames: int,
    fit: str,
    background: str,
    fps: float,
    *,
    width: int | None = None,
    enlarge: bool = True,
) -> PrepareOptions:
    """Validated options; width: where it is not `size`. Raises UserError that names the invalid one."""
    from core.data.decode import PrepareOptions
    from core.io.pictures import parse_color
    from core.io.presets import validate

    color = parse_color(background)
    values = {"size": size, "width": width, "frames": frames, "fit": fit, "background": color, "fps": fps}
    return validate({**values, "enlarge": enlarge}, PrepareOptions, "the options of the data")


def prepared(folder: Path, options: PrepareOptions, cache: Path | None) -> tuple[Path, Preparation]:
    """The folder of the prepared shards, and what is in it. Prints what could not be used."""
    from rich.progress import Progress

    from core.data.folder import collect
    from core.data.prepare import prepare

    out = cache or default_cache(folder, options)
    with Progress(transient=True) as progress:
        bar = progress.add_task("preparing")
        result = prepare(
            collect(folder),
            out,
            options,
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
    counts = f"{count_of(result.images, 'picture')}, {count_of(result.clips, 'clip')}"
    print(f"{counts}; {count_of(result.decoded, 'new file')}: {out}")
    _say("could not be used", [f"{each.path}: {each.reason}" for each in result.problems])
    _say("left out as duplicates", [f"{name}: as {first}" for name, first in result.duplicates])
    _say("without a caption", result.without_caption)
    return out, result


def holds_shards(folder: Path) -> bool:
    """Whether a folder holds shards of `dreamlift toybox`, instead of pictures and clips.

    Raises UserError where there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: name one with pictures or clips.")
    return any(folder.glob("*-[0-9][0-9][0-9][0-9][0-9].safetensors"))


def check_source(folder: Path, fit: str, background: str, fps: float | None, cache: Path | None) -> bool:
    """Whether a folder of training data holds shards, as `holds_shards` has it.

    Raises UserError, before weights are read, where there is no such folder, and for options of the
    preparation that no data could have.
    """
    shards = holds_shards(folder)
    options_of(64, 1, fit, background, 1 if fps is None else fps)
    _check_cache(cache)
    return shards


def _check_cache(cache: Path | None) -> None:
    """Raises UserError for a folder that is not writable, or has files that are not of a preparation."""
    from core.data.shards import foreign_file

    if cache and (found := foreign_file(writable_folder(cache))):
        raise UserError(
            f"{found} is not of an earlier preparation, and would be replaced: choose another --cache."
        )


def training_folder(
    folder: Path, options: PrepareOptions, cache: Path | None, accelerator: Accelerator
) -> Path:
    """The folder of the shards to train on: that folder if it holds shards, else that of `prepared`."""
    if holds_shards(folder):
        return folder
    out = cache or default_cache(folder, options)
    if accelerator.is_main_process:  # which alone prints, too
        prepared(folder, options, out)
    accelerator.wait_for_everyone()
    return out


def default_cache(folder: Path, options: PrepareOptions) -> Path:
    """Folder of the prepared data of a folder, by its place and the options."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(
        f"{folder.resolve()}\n{options.model_dump_json(exclude_none=True)}".encode()
    ).hexdigest()[:16]
    return root / "dreamlift" / "data" / key


def _say(what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        print(f"{len(names)} {what}:", *(f"\n  {name}" for name in names[:LISTED]), more, sep="")


def _counts(pairs: list[tuple[str, int]]) -> str:
    more = ", ..." if len(pairs) > LISTED else ""
    return ", ".join(f"{name} ({count})" for name, count in pairs[:LISTED]) + more or "-"


def _fitted(options: PrepareOptions) -> str:
    return "the middle of every picture" if options.fit == "crop" else "padded"


def _write_sheet(path: Path, shards: Path, folder: Path) -> None:
    """Contact sheet of examples, evenly over the folder: images, and the middle frames of clips."""
    import torch

    from core.io.pictures import to_frames
    from core.io.sheet import write_sheet
    from core.training.data import Shards

    pictures: list[torch.Tensor] = []
    for kind in ("images", "clips"):
        if not any(shards.glob(f"{kind}-*.safetensors")):
            continue
        table = Shards(shards, kind)
        index = torch.linspace(0, len(table) - 1, min(SHOWN // 2, len(table))).round().long()
        middle = torch.full((len(index), 1), table.frames // 2)
        pictures.append(table.pixels(index, middle)[:, :, 0] if table.frames else table.pixels(index))
    with write_listed(path) as draft:
        write_sheet(draft, to_frames(torch.cat(pictures).transpose(0, 1).numpy()), str(folder))
