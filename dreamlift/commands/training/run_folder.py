"""Folders of training runs: the preset, the models that a run depends on, and the data that it reads."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from core.bundled import BUNDLED, bundled_model
from core.errors import UserError
from core.io.atomic import atomic_write, writable_folder
from core.io.base_model import CONFIG
from core.io.presets import load_preset, validate

if TYPE_CHECKING:
    import torch

    from core.io.base_model import Base
    from core.models.autoencoder import Autoencoder, AutoencoderConfig
    from core.models.image_model import ImageModel, ImageModelConfig
    from core.nn.lora import LoRANetwork
    from core.training.config import Budget
    from core.training.tasks.images import ImagePreset
    from core.training.trainer import Trainer
    from video.training.clips import VideoPreset
    from video.video_model import VideoModel

PRESET = "preset.json"  # in every run folder: the kind of model, and the complete preset
MODEL = "model.json"  # in the run folder of a video model: the model's config
BASE = "base.json"  # in the run folder of low-rank changes: the model that they change
FIRST_STAGE = "first_stage"  # in the run folder of a latent model: the autoencoder's folder

Preset = TypeVar("Preset", bound=BaseModel)


def load_training_preset(
    run: Path,
    kind: str,
    preset: str | None,
    schema: type[Preset],
    resume: bool,
    default: str | None = None,
    adapt: Callable[[Preset], Preset] | None = None,
) -> Preset:
    """The stored preset of the run in this folder, or the named one, which `train` stores.

    default: the preset to load when none is named; "bundled-" and the kind unless given.
    adapt: changes the named preset, by other options of the command.
    Raises UserError when the folder holds a run and `resume` is false, or its kind or preset differs.
    """
    from core.training.processes import processes

    named = load_preset(preset or default or f"bundled-{kind}", schema)
    named = adapt(named) if adapt else named
    group = processes()
    begun = has_begun(run)
    group.wait_for_everyone()
    if not begun:
        _check_new(writable_folder(run))
        return named
    if not resume and group.is_main_process:
        raise UserError(f"{run} already holds a run: add --resume to continue it, or choose another folder.")
    stored_kind, content = stored(run)
    if stored_kind != kind:
        raise UserError(f"The run in {run} trains the {stored_kind} model, not the {kind} model.")
    settings = validate(content, schema, run / PRESET)
    if preset and settings != named:
        raise UserError(
            f"The run in {run} was started with another preset than {preset}: leave out --preset."
        )
    return settings


def _check_new(run: Path) -> None:
    """Raises UserError where a new run would replace files that no run has left in its folder."""
    from core.training import checkpoint
    from core.training.monitoring import curves, run_log

    for name in (checkpoint.FILE, checkpoint.PREVIOUS, run_log.LOG, curves.FILE):
        if os.path.lexists(run / name):
            raise UserError(
                f"{run / name} exists, and there is no {PRESET} of its run: choose another folder."
            )


def has_begun(run: Path) -> bool:
    """Whether a folder holds a run. What an attempt has left there that ended before training is no run."""
    return (run / PRESET).is_file()


def stored(run: Path) -> tuple[str, object]:
    """Kind and unvalidated preset of the run in a folder. Raises UserError when missing or damaged."""
    content = read(run / PRESET)
    if not isinstance(content, dict) or content.keys() != {"kind", "preset"}:
        raise UserError(f"{run / PRESET} is damaged.")
    return content["kind"], content["preset"]


def write(path: Path, content: object) -> None:
    """Writes JSON atomically."""
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read(path: Path) -> object:
    """JSON content of a file in a run folder. Raises UserError when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"There is no run in {path.parent}: cannot read {path.name} ({error.strerror})."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged.") from error


def start_folder(init: Path, kind: str) -> Path:
    """The folder that an option names: one that ships, by its name (see `bundled_model`), or the path.

    Raises UserError where it holds neither a model nor a run.
    """
    folder = bundled_model(init, kind) or init
    check_folders(folder)
    return folder


def check_folders(*folders: Path | None) -> None:
    """Raises UserError, before weights are read, for a folder that holds neither a model nor a run."""
    for folder in folders:
        if folder and not any((folder / file).is_file() for file in (CONFIG, PRESET)):
            raise UserError(f"There is no model in {folder}: it has no {CONFIG}, nor the {PRESET} of a run.")


def image_model(folder: Path) -> "ImageModel":
    """Image model of a model folder or a run folder; of a video run, the image layers inside it."""
    from core.models.image_model import ImageModel, load_denoiser
    from core.training import checkpoint
    from core.training.tasks.images import ImagePreset
    from video.video_folder import VideoModelConfig

    if not (folder / PRESET).is_file():
        return ImageModel.load(folder)
    kind, content = stored(folder)
    weights = checkpoint.read_ema(folder)
    if kind == "image":
        settings = validate(content, ImagePreset, folder / PRESET)
        config = settings.model
        if settings.rank:
            weights = changed_network(folder, config, settings.rank).weights()
    else:
        config = validate(read(folder / MODEL), VideoModelConfig, folder / MODEL).image
        prefix = "image."
        weights = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
    return ImageModel(
        config, load_denoiser(config, weights, folder), first_stage=store_first_stage(folder, config, None)
    )


def keep_base(run: Path, base: Path) -> None:
    """Notes in the folder of a new run which model's low-rank changes it trains."""
    from core.io.base_model import CONFIG, Base
    from core.io.weights import load_folder

    if not (base / CONFIG).is_file():
        raise UserError(f"Low-rank changes are of a model's folder, and {base} is a run: export it first.")
    write(run / BASE, Base.of(base, run, load_folder(base).sha256).model_dump())


def base_model(run: Path) -> "ImageModel | None":
    """The model whose low-rank changes a run trains; None for a run of another kind, or none yet.

    Raises UserError when the model is missing or not what it was.
    """
    from core.models.image_folder import load_image_folder
    from core.models.image_model import ImageModel

    if not (run / BASE).is_file():
        return None
    base = base_reference(run)
    base.read(run, load_image_folder)
    return ImageModel.load(base.path(run))


def start_from(network: "torch.nn.Module", start: "ImageModel", folder: Path) -> None:
    """Gives a network the weights of the model of a folder. Layers that the model has not keep their values.

    Raises UserError where they do not fit.
    """
    from core.io.weights import load_weights
    from core.nn.unet import with_image_conditioning

    load_weights(network, with_image_conditioning(network, start.denoiser.network.state_dict()), folder)


def low_rank(network: "torch.nn.Module", rank: int, device: "torch.device | str" = "cpu") -> "LoRANetwork":
    """A network with changes of this rank, which change nothing yet. What reads image embeddings is new."""
    import torch

    from core.nn.lora import LoRANetwork
    from core.nn.unet import IMAGE_CONDITIONING

    network = network.to(device).requires_grad_(False)
    return LoRANetwork(network, rank, torch.Generator().manual_seed(0), IMAGE_CONDITIONING)


def extent(settings: "ImagePreset") -> str:
    """What a run of image training changes, for messages."""
    return f"changes of rank {settings.rank}" if settings.rank else "all weights"


def base_reference(run: Path) -> "Base":
    """What a run of low-rank changes tells about the model that they are of."""
    from core.io.base_model import Base

    return validate(read(run / BASE), Base, run / BASE)


def changed_network(run: Path, model: "ImageModelConfig", rank: int) -> "LoRANetwork":
    """The network of a run of low-rank changes, with their averages. model, rank: of the run's preset."""
    from core.io.weights import load_weights
    from core.training import checkpoint

    base = base_model(run)
    if not base:
        raise UserError(f"The run in {run} is damaged: {BASE} is missing.")
    network = model.denoiser().network
    start_from(network, base, base_reference(run).path(run))
    changed = low_rank(network, rank)
    load_weights(changed, checkpoint.read_ema(run), run)
    return changed


def first_stage(folder: Path) -> "Autoencoder":
    """Autoencoder in a folder: an autoencoder's, an image or video model's, or the run folder of either.

    Raises UserError when the model has none.
    """
    from core.models.autoencoder import Autoencoder

    if Autoencoder.exists_at(folder):
        return Autoencoder.load(folder)
    autoencoder = video_start(folder).first_stage
    if not autoencoder:
        raise UserError(f"The model in {folder} works on pixels: it has no first stage.")
    return autoencoder


def video_start(folder: Path) -> "ImageModel | VideoModel":
    """Initial model of video training: the video model of a model folder, else `image_model(folder)`."""
    from video.video_folder import holds_video_model
    from video.video_model import VideoModel

    return VideoModel.load(folder) if holds_video_model(folder) else image_model(folder)


def inflate_model(start: "ImageModel | VideoModel", preset: "VideoPreset", loop: int) -> "VideoModel":
    """Video model of the preset: an image model with temporal layers added, or the given video model.

    loop: as in `VideoModelConfig`.
    Raises UserError when `start` is a video model and its temporal layers differ from the preset's.
    """
    from video.video_folder import VideoModelConfig
    from video.video_model import VideoModel

    if isinstance(start, VideoModel):
        if start.config.temporal != preset.temporal:
            raise UserError("The video model of --init has other temporal layers than the preset.")
        start.config = start.config.model_copy(update={"noise_share": preset.noise_share})
        return start
    config = VideoModelConfig(
        image=start.config, temporal=preset.temporal, noise_share=preset.noise_share, loop=loop
    )
    return VideoModel(config, config.inflate(start.denoiser), start.text, start.first_stage)


def chosen_first_stage(run: Path, given: Path | None) -> "Autoencoder":
    """First stage of a run on latents: in the folder `given`, or the run's own, or the bundled one.

    The run folder stores it. Raises UserError when `given` differs from the stored one.
    """
    from accelerate import PartialState

    stored = run / FIRST_STAGE
    unless_given = stored if stored.is_dir() and has_begun(run) else BUNDLED / "image"
    autoencoder = first_stage(start_folder(given, "image") if given else unless_given)
    with PartialState().main_process_first():
        return _stored_first_stage(stored, autoencoder.config, autoencoder)


def store_first_stage(
    run: Path, config: "ImageModelConfig", given: "Autoencoder | None"
) -> "Autoencoder | None":
    """First stage of a run whose image model has this config; None for a model on pixels.

    The run folder stores it: `given` is saved there unless the run already has one.
    Raises UserError when there is none, or when `given` differs from the stored one or from the config.
    """
    if not config.first_stage:
        if given:
            raise UserError("This preset's model works on pixels: it has no first_stage.")
        return None
    from accelerate import PartialState

    with PartialState().main_process_first():
        return _stored_first_stage(run / FIRST_STAGE, config.first_stage, given)


def _stored_first_stage(
    folder: Path, config: "AutoencoderConfig", given: "Autoencoder | None"
) -> "Autoencoder":
    """The autoencoder in a folder, where `given` is saved unless there is one."""
    from core.models.autoencoder import Autoencoder

    begun = folder.is_dir() and has_begun(folder.parent)
    if begun:
        autoencoder = Autoencoder.load(folder)
        if given and given.fingerprint != autoencoder.fingerprint:
            raise UserError(f"The run in {folder.parent} was started with another first stage.")
    elif given:
        autoencoder = given
    else:
        raise UserError(
            "This preset's model works on latents: name the folder of its autoencoder with --first-stage."
        )
    if autoencoder.config != config:
        raise UserError("The first stage has another shape than the preset's first_stage.")
    if not begun:
        autoencoder.save(folder)
    return autoencoder


def train(trainer: "Trainer", budget: "Budget", kind: str, preset: BaseModel) -> None:
    """Trains; the main process draws the curves, and prints whether training has finished or was stopped.

    kind, preset: of `load_training_preset`. They are stored now that models and data are known to fit.

    Raises KeyboardInterrupt where it was stopped, once the run is saved.
    """
    from core.training.monitoring.curves import write_curves

    if trainer.accelerator.is_main_process and not has_begun(trainer.folder):
        write(trainer.folder / PRESET, {"kind": kind, "preset": preset.model_dump(mode="json")})
    finished = trainer.run(budget)
    if trainer.accelerator.is_main_process:
        if curves := write_curves(trainer.folder):
            print(curves)
        print(f"{trainer.folder}: done" if finished else f"{trainer.folder}: stopped; continue with --resume")
    if not finished:
        raise trainer.interruption.error()
