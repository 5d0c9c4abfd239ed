"""`dreamlift train export`: the model, LoRA or motion adapter of a run, as files for the other commands."""

from pathlib import Path
from typing import Annotated

import typer

from core.errors import UserError
from core.io.presets import validate
from dreamlift.commands.training import run_folder
from dreamlift.commands.training.train import Run
from dreamlift.commands.training.train_checkpoint import ADAPTERS, export_adapter


def export_command(
    run: Run,
    out: Annotated[Path, typer.Option(help="Output folder: config.json, model.safetensors.")],
    base: Annotated[
        Path | None,
        typer.Option(
            help="Folder of an image model, of which a video model shares the weights and an image model the "
            'first stage, or "bundled"; what is shared is not stored.'
        ),
    ] = None,
    image_layers: Annotated[
        bool, typer.Option("--image", help="Of a video model's run: export the image model inside it.")
    ] = False,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Of image models, low-rank changes, and unCLIP: store 8 bits each."),
    ] = False,
    contrastive: Annotated[
        Path | None, typer.Option(help="Of a decoder of unCLIP: the folder of its contrastive model.")
    ] = None,
    prior: Annotated[
        Path | None, typer.Option(help="Of a decoder of unCLIP: the folder of its prior.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files of a model that is not of this project.")
    ] = False,
) -> None:
    """Writes the averaged (EMA) weights of a run as a model, LoRA or motion adapter, in float16."""
    base = base and run_folder.start_folder(base, "image")
    kind, _ = run_folder.stored(run)
    if kind in ADAPTERS:
        if base or image_layers or int8 or contrastive or prior:
            raise UserError(f"The run in {run} trains a {kind}: give --run and --out alone.")
        return export_adapter(run, out)
    if kind not in ("image", "video"):
        raise UserError(f"The run in {run} trains the {kind}: that command writes its model itself.")
    if kind == "image" or image_layers:
        kind = "image"
        if contrastive or prior:
            kind = "unCLIP"
            _write_unclip(run, out, base, int8, contrastive, prior)
        else:
            _write_image_model(run, out, base, int8)
    elif int8 or contrastive or prior:
        raise UserError("--int8, --contrastive and --prior are for image models: leave them out.")
    else:
        _write_video_model(run, out, base)
    print(f"{out}: the {kind} model of {run}")


def _write_image_model(run: Path, out: Path, base: Path | None, int8: bool) -> None:
    """Writes the image model of a run into `out`; of a run of low-rank changes, these alone.

    base: folder of an image model with the same first stage, which is then left out.
    int8: store 8 bits each.
    Raises UserError for an option that the run's model does not have.
    """
    from core.models.image_folder import save_low_rank
    from core.training.tasks.images import ImagePreset

    kind, content = run_folder.stored(run)
    settings = validate(content, ImagePreset, run / run_folder.PRESET) if kind == "image" else None
    if not settings or not settings.rank:
        run_folder.image_model(run).save(out, base, int8)
        return
    if base:
        raise UserError("Low-rank changes are stored with the model that they are of: leave out --base.")
    changed = run_folder.changed_network(run, settings.model, settings.rank)
    config = settings.model.model_dump(mode="json")
    save_low_rank(out, config, changed, run_folder.base_reference(run).path(run), int8)


def _write_unclip(
    run: Path, out: Path, base: Path | None, int8: bool, contrastive: Path | None, prior: Path | None
) -> None:
    """Writes the decoder of a run, with the contrastive model and the prior of two folders, as one model.

    Raises UserError where one is missing, or they do not fit.
    """
    from core.models.unclip.contrastive import ContrastiveModel
    from core.models.unclip.prior import DiffusionPrior
    from core.models.unclip.unclip_model import UnclipModel

    if not (contrastive and prior):
        raise UserError("An unCLIP model has three parts: give both --contrastive and --prior.")
    parts = ContrastiveModel.load(contrastive), DiffusionPrior.load(prior)
    model = UnclipModel.combine(run_folder.image_model(run), *parts)
    _write_image_model(run, out, base, int8)
    model.save_parts(out, int8)


def _write_video_model(run: Path, out: Path, base: Path | None) -> None:
    """Writes the video model of a run. base: as in `_write_image_model`; it also has the image layers."""
    from core.io.weights import load_weights
    from core.training import checkpoint
    from video.video_folder import VideoModelConfig
    from video.video_model import VideoModel

    config = validate(run_folder.read(run / run_folder.MODEL), VideoModelConfig, run / run_folder.MODEL)
    denoiser = config.denoiser()
    load_weights(denoiser.network, checkpoint.read_ema(run), run)
    first_stage = run_folder.store_first_stage(run, config.image, None)
    VideoModel(config, denoiser, first_stage=first_stage).save(out, base)
