"""`dreamlift toybox`: renders the procedural world on which the bundled models are trained."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import UserError
from core.io.paths import check_room
from core.io.text import count_of
from core.io.values import check_processes, check_range, check_seed

if TYPE_CHECKING:
    import numpy as np

    from core.toybox.dataset import DatasetPlan
    from core.toybox.scene_views import SceneView
    from core.toybox.scenes import Scene

FPS = 8.0  # of loops: 16 frames, two seconds
MILLI = 1000  # depth images are in thousandths of a world unit
SIZES = (64, 512)  # px
COUNTS = ("images", "clips", "textureless", "objects", "large")  # of shards
MOST = 10_000_000  # of each

SHARDS, SCENE, SHEETS = "Training shards", "One scene", "Contact sheets (the default)"
# The options that each of the three jobs uses, in addition to --out.
USED = {
    SHARDS: {"images", "clips", "textureless", "objects", "large", "seed", "held_out", "all_pairs"}
    | {"size", "processes", "device"},
    SCENE: {"subject", "action", "color", "backdrop", "group", "azimuth", "elevation", "phase", "shadow"}
    | {"size", "alpha", "depth", "device", "overwrite"},
    SHEETS: {"overwrite", "sheet"},
}


def _shards(help: str, *names: str, **more: Any) -> Any:
    """An option of the panel `SHARDS`."""
    return typer.Option(*names, help=help, rich_help_panel=SHARDS, **more)


def _scene(help: str, *names: str, **more: Any) -> Any:
    """An option of the panel `SCENE`."""
    return typer.Option(*names, help=help, rich_help_panel=SCENE, **more)


def toybox(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Output folder.")],
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")] = "auto",
    images: Annotated[int, _shards("Number of images, rounded up to full shards.")] = 0,
    clips: Annotated[int, _shards("Number of clips of 16 frames, rounded up to full shards.")] = 0,
    textureless: Annotated[int, _shards("Number of images in plain gray, for training the judge.")] = 0,
    objects: Annotated[int, _shards("Number of images with the views that distillation samples.")] = 0,
    large: Annotated[int, _shards("Number of images of 256x256, for super-resolution.")] = 0,
    seed: Annotated[int, _shards("Random seed of the shards.")] = 0,
    held_out: Annotated[bool, _shards("Use only pairs held out of training.", "--held-out")] = False,
    all_pairs: Annotated[bool, _shards("Include pairs held out of training.", "--all")] = False,
    processes: Annotated[int | None, _shards("CPU worker processes.", show_default="one per core")] = None,
    subject: Annotated[str | None, _scene('"fox", "grizzly bear", ...')] = None,
    action: Annotated[str | None, _scene('"on a swing", ...', show_default="standing")] = None,
    color: Annotated[str | None, _scene("Color of the main prop.", show_default="red")] = None,
    backdrop: Annotated[str | None, _scene('"on a beach", "pink", ...', show_default="light blue")] = None,
    group: Annotated[str | None, _scene("pair, couple (in the rain) or brush (alone).")] = None,
    azimuth: Annotated[float, _scene("Degrees around the figure; 0 is its front.")] = 0.0,
    elevation: Annotated[float, _scene("Degrees above the horizon, -89 to 89.")] = 12.0,
    phase: Annotated[float, _scene("Start of the loop, 0 to 1.")] = 0.0,
    shadow: Annotated[bool, _scene("Draw a soft shadow on the ground.", "--shadow/--no-shadow")] = True,
    size: Annotated[int, _scene("Pixels, 64 to 512, a multiple of 8; also of the images of shards.")] = 64,
    alpha: Annotated[bool, _scene("Also write the figure's mask.", "--alpha")] = False,
    depth: Annotated[bool, _scene("Also write the depth.", "--depth")] = False,
    sheet: Annotated[
        str | None,
        typer.Option(
            help="subjects, actions, backdrops, views or showcase.",
            show_default="all",
            rich_help_panel=SHEETS,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace sheets or a scene's files, whoever has made them.")
    ] = False,
) -> None:
    """Renders the toybox: training shards (--images, ...), one scene (--subject), or contact sheets.

    A scene is written as NAME.png, its first frame, and as a loop, NAME.gif and NAME.mp4. --alpha adds the
    mask of the first frame, NAME-alpha.png, and of the loop, NAME-alpha.npy. --depth adds the depth of the
    first frame, NAME-depth.png (16 bit, thousandths of a world unit, 0 for the background), and of the
    loop, NAME-depth.npy (float32, infinite for the background).

    Existing shards are not rendered again: the same command continues an interrupted run.
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}
    job = SCENE if given & {"subject", "group"} else SHEETS
    if given & {*COUNTS}:
        job = SHARDS
    unused = sorted(given - USED[job] - {"out"})
    if unused:
        flags = {"held_out": "--held-out", "all_pairs": "--all"}
        names = ", ".join(flags.get(name, f"--{name}") for name in unused)
        where = {
            SHARDS: "together with --images, --clips, --textureless, --objects or --large",
            SCENE: "together with --subject or --group",
            SHEETS: "on contact sheets",
        }[job]
        raise UserError(f"{names}: no effect {where}.")

    if job != SHEETS and (size % 8 or not SIZES[0] <= size <= SIZES[1]):
        raise UserError(f"--size cannot be {size}: give a multiple of 8 from {SIZES[0]} to {SIZES[1]}.")
    if job == SHARDS:
        if large and "size" in given:
            raise UserError("--size: no effect together with --large, which are of 256x256.")
        if held_out and all_pairs:
            raise UserError("--held-out and --all exclude each other: give one of them.")
        held = True if held_out else None if all_pairs else False
        from core.toybox.dataset import DatasetPlan

        plan = DatasetPlan(
            out, images, clips, seed, held, size, textureless=textureless, objects=objects, large=large
        )
        _write_shards(plan, processes, device)
    elif job == SCENE:
        scene = _named_scene(subject, action, color, backdrop, group)
        check_range(azimuth, -360, 360, "--azimuth")
        check_range(elevation, -89, 89, "--elevation")
        check_range(phase, 0, 1, "--phase")
        from core.toybox.scene_views import SceneView

        _write_scene(
            out, SceneView(scene, phase, azimuth, elevation, shadow), size, device, alpha, depth, overwrite
        )
    else:
        _draw_sheets(out, sheet, overwrite)


def _write_shards(plan: "DatasetPlan", processes: int | None, device: str) -> None:
    """Renders the shards of a plan that do not exist yet. Raises UserError for invalid counts."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from core.io.files.locks import lock_folder
    from core.io.machine import pick_device
    from core.toybox.dataset import write_dataset

    counts = [getattr(plan, name) for name in COUNTS]
    for name, count in zip(COUNTS, counts, strict=True):
        check_range(count, 0, MOST, f"--{name}")
    if not any(counts):
        raise UserError("--images, --clips, --textureless, --objects and --large: give at least one.")
    check_seed(plan.seed)
    if processes is not None:
        check_processes(processes)
    check_room(plan.out, plan.bytes, "The shards")
    workers = processes or os.cpu_count() or 1
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    try:
        with lock_folder(plan.out), Progress(*columns) as progress:
            task = progress.add_task("captions", total=None)
            for done, shards in write_dataset(plan, workers, str(pick_device(device))):
                if progress.tasks[task].total is None:  # existing shards must not count in the speed
                    progress.reset(task, description="shards", total=shards, completed=done)
                progress.update(task, completed=done)
    except KeyboardInterrupt:
        print(f"{plan.out}: stopped; run the same command to continue", file=sys.stderr)
        raise
    print(f"{plan.out}: {count_of(len(plan.jobs()), 'shard')}")


def _draw_sheets(out: Path, name: str | None, overwrite: bool) -> None:
    """Writes the named contact sheet, or all of them. Raises UserError for an unknown name."""
    from core.io.files.listed import own_files, write_listed
    from core.toybox import sheets

    if name is not None and name not in sheets.SHEETS:
        raise UserError(f"There is no sheet {name!r}; there are: {', '.join(sheets.SHEETS)}.")
    files = {f"{each}.png": sheets.SHEETS[each] for each in ([name] if name else sheets.SHEETS)}
    with own_files(out, files, overwrite):
        for file, sheet in files.items():
            with write_listed(out / file) as draft:
                sheet().draw().save(draft, optimize=True)
            print(out / file)


def _named_scene(
    subject: str | None, action: str | None, color: str | None, backdrop: str | None, group: str | None
) -> "Scene":
    """The scene with these names. Raises UserError for unknown names and for options without effect."""
    from core.toybox.captions import named_action, named_backdrop, named_color, named_subject
    from core.toybox.scenes import Scene

    if group not in (None, "pair", "couple", "brush"):
        raise UserError(f"The toybox has no group {group!r}; it has: pair, couple, brush.")
    if group == "pair" and subject is None:
        raise UserError("A pair needs a --subject.")
    if group in ("couple", "brush") and (subject or action):
        raise UserError(f"--subject and --action would have no effect with --group {group}.")
    scene = Scene(
        named_subject(subject or "man"),
        named_action(action or ("walking" if group == "couple" else "standing")),
        named_color(color or "red"),
        named_backdrop(backdrop or "light blue"),
        group or "",
    )
    if color and not (scene.act.colored or group in ("couple", "brush")):
        raise UserError(f"--color would have no effect: {scene.act.name!r} has no colored prop.")
    return scene


def _write_scene(
    out: Path, view: "SceneView", size: int, device: str, alpha: bool, depth: bool, overwrite: bool
) -> None:
    """Renders one loop and writes its first frame, its animations and, on request, masks and depths."""
    import numpy as np
    from PIL import Image

    from core.io.clips.write import write_clip
    from core.io.files.listed import own_files, write_listed
    from core.io.files.names import slug
    from core.io.machine import pick_device
    from core.toybox.scene_views import render_clip
    from core.toybox.scenes import contents

    device = str(pick_device(device))
    maps = [*(["-alpha"] if alpha else []), *(["-depth"] if depth else [])]
    endings = [".png", ".gif", ".mp4", *(each + ending for each in maps for ending in (".png", ".npy"))]
    paths = {ending: out / f"{slug(contents(view.scene))}{ending}" for ending in endings}

    def image(ending: str, pixels: "np.ndarray") -> None:
        with write_listed(paths[ending]) as draft:
            Image.fromarray(pixels).save(draft)

    def array(ending: str, values: "np.ndarray") -> None:
        with write_listed(paths[ending]) as draft:
            np.save(draft, values)

    with own_files(out, [path.name for path in paths.values()], overwrite):
        loop = render_clip(view, size, device=device)
        image(".png", loop.pixels[0])
        for ending in (".gif", ".mp4"):
            with write_listed(paths[ending]) as draft:
                write_clip(draft, loop.pixels, FPS)
        if alpha:
            image("-alpha.png", (loop.alpha[0] * 255).round().astype(np.uint8))
            array("-alpha.npy", loop.alpha)
        if depth:
            millis = np.where(np.isfinite(loop.depth[0]), loop.depth[0] * MILLI, 0)
            image("-depth.png", millis.round().astype(np.uint16))
            array("-depth.npy", loop.depth)
    for path in paths.values():
        print(path)
