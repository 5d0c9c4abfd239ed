"""`dreamlift train`: makes the bundled models, or others of a preset. Heavy imports wait for a command."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from pydantic import BaseModel

from core.errors import UserError
from core.files import whole, writable_folder
from core.presets import checked, load_preset

if TYPE_CHECKING:
    from accelerate import Accelerator

    from core.image_model import ImageModel
    from core.training.data import Captions

PRESET = "preset.json"  # in the folder of a run: what it trains, and the preset in full
MODEL = "model.json"  # in the folder of a video run: the model's config

Preset = TypeVar("Preset", bound=BaseModel)

app = typer.Typer(
    help="Train the image or the video model, and export what was trained.", no_args_is_help=True
)

Data = Annotated[Path, typer.Option(help="Folder of prepared shards.")]
Run = Annotated[Path, typer.Option(help="Folder of the run: checkpoint, log, preset.")]
PresetName = Annotated[
    str | None, typer.Option(help="A name or a YAML file.", show_default="the bundled model's")
]
Minutes = Annotated[float | None, typer.Option(help="Train so long; the learning rate ends at zero.")]
Steps = Annotated[int | None, typer.Option(help="Train so many steps; with --minutes, the first to come.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run, or begin where there is none.")]


@app.command()
def image(
    data: Data,
    run: Run,
    init: Annotated[
        Path | None, typer.Option(help="An image model to go on from: its folder, or its run's.")
    ] = None,
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
) -> None:
    """Trains the image model on prepared images."""
    import torch

    from core.training import checkpoint
    from core.training.config import Budget
    from core.training.data import ImageData, Shards
    from core.training.images import ImagePreset, ImageTask
    from core.training.trainer import Trainer, make_accelerator
    from core.weights import fill

    budget = Budget(steps, minutes)
    recipe = _recipe(run, "image", preset, ImagePreset, resume)
    accelerator = make_accelerator()
    kinds = ["images", "clips"] if recipe.clip_frames else ["images"]
    shards = [Shards(data, kind, accelerator.device) for kind in kinds]
    task = ImageTask(ImageData(shards, _captions(data, accelerator), recipe.dropout), recipe.snr_gamma)
    torch.manual_seed(recipe.training.seed)
    denoiser = recipe.model.denoiser()
    if init and not checkpoint.exists(run):
        weights = _image_model(init).denoiser.network.state_dict()
        fill(denoiser.network, weights, init)
    _say(Trainer(denoiser, task, recipe.training, run, accelerator).run(budget), run)


@app.command()
def video(
    data: Data,
    run: Run,
    init: Annotated[
        Path | None, typer.Option(help="The image model to lift: its folder, or its run's.")
    ] = None,
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
) -> None:
    """Trains the video model on prepared clips and images, starting from an image model."""
    import torch

    from core.training import checkpoint
    from core.training.config import Budget
    from core.training.data import ImageData, Shards
    from core.training.trainer import Trainer, make_accelerator
    from video.training import ClipData, VideoPreset, VideoTask
    from video.video_model import VideoModelConfig

    budget = Budget(steps, minutes)
    going_on = checkpoint.exists(run)
    if not (going_on or init):
        raise UserError(
            "A video model starts from an image model: name its folder, or its run's, with --init."
        )
    lifted = None if going_on or not init else _image_model(init)
    recipe = _recipe(run, "video", preset, VideoPreset, resume)
    accelerator = make_accelerator()
    images, clips = (Shards(data, kind, accelerator.device) for kind in ("images", "clips"))
    captions = _captions(data, accelerator)
    torch.manual_seed(recipe.training.seed)
    if lifted:
        config = VideoModelConfig(
            image=lifted.config, temporal=recipe.temporal, noise_share=recipe.noise_share, loop=clips.frames
        )
        _write(run / MODEL, config.model_dump(mode="json"))
        denoiser = config.lift(lifted.denoiser)
    else:
        denoiser = checked(_read(run / MODEL), VideoModelConfig, run / MODEL).denoiser()
    task = VideoTask(
        ClipData(clips, captions, recipe.dropout, recipe.frames, recipe.strides),
        ImageData([images], captions, recipe.dropout),
        recipe.noise_share,
        recipe.image_steps,
        recipe.snr_gamma,
    )
    _say(Trainer(denoiser, task, recipe.training, run, accelerator, recipe.rate).run(budget), run)


@app.command()
def export(
    run: Run,
    out: Annotated[Path, typer.Option(help="Folder of the model: config.json, model.safetensors.")],
    base: Annotated[
        Path | None,
        typer.Option(
            help="For a video model: folder of an image model whose weights need not be stored again."
        ),
    ] = None,
    image_layers: Annotated[
        bool, typer.Option("--image", help="Of a video model's run: the image model inside it.")
    ] = False,
) -> None:
    """Writes the averaged weights of a run as a model, float16."""
    from core.training import checkpoint
    from core.weights import fill
    from video.video_model import VideoModel, VideoModelConfig

    kind, _ = _stored(run)
    if kind == "image" or image_layers:
        if base:
            raise UserError("--base is for video models: an image model rests on no other.")
        kind = "image"
        _image_model(run).save(out)
    else:
        config = checked(_read(run / MODEL), VideoModelConfig, run / MODEL)
        denoiser = config.denoiser()
        fill(denoiser.network, checkpoint.read_average(run), run)
        VideoModel(config, denoiser).save(out, base)
    print(f"{out}: the {kind} model of {run}")


def _image_model(folder: Path) -> "ImageModel":
    """The image model of a model's folder, of a run's, or inside a video model's run."""
    from core.image_model import ImageModel, filled
    from core.training import checkpoint
    from core.training.images import ImagePreset
    from video.video_model import VideoModelConfig

    if not (folder / PRESET).is_file():
        return ImageModel.load(folder)
    kind, stored = _stored(folder)
    average = checkpoint.read_average(folder)
    if kind == "image":
        config = checked(stored, ImagePreset, folder / PRESET).model
    else:
        config = checked(_read(folder / MODEL), VideoModelConfig, folder / MODEL).image
        inside = "image."
        average = {name.removeprefix(inside): w for name, w in average.items() if name.startswith(inside)}
    return ImageModel(config, filled(config, average, folder))


def _recipe(run: Path, kind: str, preset: str | None, schema: type[Preset], resume: bool) -> Preset:
    """The preset of the run in this folder, or the named one, which then becomes the run's.

    Raises UserError when there is a run and it is not to be resumed, or it has another kind or preset.
    """
    named = load_preset(preset or f"bundled-{kind}", schema)
    if not (run / PRESET).is_file():
        writable_folder(run)
        _write(run / PRESET, {"kind": kind, "preset": named.model_dump(mode="json")})
        return named
    if not resume:
        raise UserError(
            f"{run} already holds a run: add --resume to go on with it, or choose another folder."
        )
    stored_kind, stored = _stored(run)
    if stored_kind != kind:
        raise UserError(f"The run in {run} trains the {stored_kind} model, not the {kind} model.")
    recipe = checked(stored, schema, run / PRESET)
    if preset and recipe != named:
        raise UserError(f"The run in {run} was begun with another preset than {preset}: leave out --preset.")
    return recipe


def _stored(run: Path) -> tuple[str, object]:
    """Kind and preset of the run in a folder."""
    content = _read(run / PRESET)
    if not isinstance(content, dict) or content.keys() != {"kind", "preset"}:
        raise UserError(f"{run / PRESET} is damaged.")
    return content["kind"], content["preset"]


def _write(path: Path, content: object) -> None:
    with whole(path) as draft:
        draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"There is no run in {path.parent}: cannot read {path.name} ({error.strerror})."
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is damaged.") from error


def _captions(data: Path, accelerator: "Accelerator") -> "Captions":
    from rich.progress import Progress

    from core.text import TextEncoder
    from core.training.data import read_captions

    # The first process fills the cache, the others read it.
    with accelerator.main_process_first(), Progress(disable=not accelerator.is_main_process) as progress:
        bar = progress.add_task("encoding captions", visible=False)
        return read_captions(
            data,
            TextEncoder(accelerator.device),
            lambda done, count: progress.update(bar, completed=done, total=count, visible=True),
        )


def _say(finished: bool, run: Path) -> None:
    print(f"{run}: done" if finished else f"{run}: stopped; --resume goes on from here")
