"""Training of what diffusers checkpoints can be given: LoRA weights, and AnimateDiff's motion layers."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core.errors import UserError
from core.io.presets import validate
from core.io.text import too_few
from dreamlift.commands.training import run_data, run_folder

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import Tensor

    from core.pretrained.trainable import TrainableCheckpoint
    from core.training.adapters.encoded import EncodedData, TextStates
    from core.training.adapters.task import AdapterPreset
    from core.training.config import Budget

ADAPTERS = LORA, MOTION = "LoRA", "motion adapter"  # kinds of runs
PRESETS = {"Wan": "wan", "LTX": "ltx", "CogVideoX": "cogvideox"}  # in configs/training, by family


def is_checkpoint(init: Path | None, run: Path) -> bool:
    """Whether --init names a checkpoint of diffusers, or the run in the folder trains something of one."""
    if (run / run_folder.PRESET).is_file() and run_folder.stored(run)[0] in ADAPTERS:
        return True
    if init is None or init == Path("bundled"):
        return False
    from core.pretrained.hub import INDEX, is_hub_name

    return (init / INDEX).is_file() or is_hub_name(init.as_posix())


def train_checkpoint(
    medium: Literal["image", "video"],
    data: Path,
    run: Path,
    init: Path | None,
    preset: str | None,
    budget: Budget,
    resume: bool,
    rank: int | None,
    motion: str | None,
    fit: str,
    background: str,
    fps: float | None,
    cache_folder: Path | None,
) -> None:
    """Trains a LoRA of an image or video checkpoint, or motion layers of an image checkpoint for clips.

    medium, motion: which of these; the adapter to start from. fps: of clips, by default the preset's.

    Raises UserError, before data are prepared and weights are read, for what the checkpoint does not take.
    """
    import torch

    from core.pretrained.hub import resolve_checkpoint
    from core.pretrained.lora import add_trainable_lora
    from core.training.adapters.network import AdaptedNetwork
    from core.training.adapters.task import AdapterTask
    from core.training.processes import make_accelerator
    from core.training.trainer import Trainer
    from dreamlift.commands.data import options_of, training_folder

    given = {"rank": rank, "motion": motion, "fps": fps}
    settings, kind = _settings(medium, run, init, preset, resume, given)
    folder = resolve_checkpoint(settings.checkpoint, weights=False)
    checkpoint, (width, height) = _checked(medium, folder, settings)
    frames = settings.frames if medium == "video" else 1  # every frame of a clip is a picture
    options = options_of(height, frames, fit, background, settings.fps, width=width)
    accelerator = make_accelerator()
    shards = training_folder(data, options, cache_folder, accelerator)
    with accelerator.main_process_first():
        resolve_checkpoint(settings.checkpoint)  # now the weights, too
    dtype = _dtype(settings, accelerator)
    examples, texts = _encoded(medium, shards, checkpoint, (width, height), settings, accelerator, dtype)
    torch.manual_seed(settings.training.seed)
    denoiser = checkpoint.load_denoiser(accelerator.device, dtype, examples.shape)
    network: Any = denoiser.network
    if kind == LORA:
        assert settings.rank
        backbone = network.unet if medium == "image" else network.transformer
        add_trainable_lora(backbone, settings.rank, settings.modules)
    elif accelerator.is_main_process:
        run_folder.write(run / run_folder.MODEL, network.motion.config.model_dump(mode="json"))
    adapted = denoiser.with_network(AdaptedNetwork(network))
    task = AdapterTask(examples, texts, settings, denoiser.schedule.timesteps, accelerator.device)
    trainer = Trainer(adapted, task, settings.training, run, accelerator)
    run_folder.train(trainer, budget, kind, settings)


def export_adapter(run: Path, out: Path) -> None:
    """Writes the averaged weights of a run as LoRA weights or as a motion adapter, in float16."""
    from core.pretrained.lora import save_lora
    from core.training import checkpoint
    from core.training.adapters.network import trained_weights
    from core.training.adapters.task import AdapterPreset
    from video.animatediff.motion_format import MotionConfig
    from video.animatediff.motion_training import save_motion

    kind, content = run_folder.stored(run)
    settings = validate(content, AdapterPreset, run / run_folder.PRESET)
    weights = trained_weights(checkpoint.read_ema(run))
    if kind == LORA:
        save_lora(out, settings.pipeline, {name: weight.half() for name, weight in weights.items()})
    else:
        model = run / run_folder.MODEL
        save_motion(out, validate(run_folder.read(model), MotionConfig, model), weights, run)
    print(f"{out}: the {kind} of {run}, for {settings.checkpoint}")


def _settings(
    medium: str,
    run: Path,
    init: Path | None,
    preset: str | None,
    resume: bool,
    options: dict[str, Any],
) -> tuple[AdapterPreset, str]:
    """The preset of a new or of the stored run, and the kind of run.

    options: of the command, which take the place of the preset's where they are given.
    """
    from core.pretrained.hub import checkpoint_kind, resolve_checkpoint
    from core.training.adapters.task import AdapterPreset

    new = not (run / run_folder.PRESET).is_file()
    if not new:
        kind, content = run_folder.stored(run)
        if kind not in ADAPTERS:
            raise UserError(f"The run in {run} trains the {kind} model: choose another folder for {init}.")
        name = validate(content, AdapterPreset, run / run_folder.PRESET).checkpoint
        if init and init.as_posix() != name:
            raise UserError(f"The run in {run} was started from {name}, not from {init}: leave out --init.")
    else:
        assert init
        name = init.as_posix()
    folder = resolve_checkpoint(name, weights=False)
    kind, default = _recipe(medium, name, folder)
    given = {option: value for option, value in options.items() if value is not None}

    def adapt(named: AdapterPreset) -> AdapterPreset:
        source = {"checkpoint": name, "pipeline": checkpoint_kind(folder)}
        changed = validate(named.model_dump() | source | given, AdapterPreset, "the options")
        if new:  # nothing is written for a run that cannot start
            if kind == LORA and changed.rank is None:
                raise UserError("A LoRA needs a rank: give --rank, such as --rank 16.")
            if kind == LORA and changed.motion:
                raise UserError("A motion adapter is for clips of an image checkpoint: leave out --motion.")
            if kind == MOTION and changed.rank:
                raise UserError("Motion layers are trained as they are, without a rank: leave out --rank.")
            _checked(medium, folder, changed)
        return changed

    settings = run_folder.load_training_preset(
        run, kind, preset, AdapterPreset, resume, default=default, adapt=adapt
    )
    for option, value in given.items():
        if value != getattr(settings, option):
            raise UserError(f"The run in {run} was started with another --{option}: leave it out.")
    return settings, kind


def _recipe(medium: str, name: str, folder: Path) -> tuple[str, str]:
    """Kind of run and default preset of a checkpoint. Raises UserError for one that is not supported."""
    from core.pretrained.hub import checkpoint_kind, component_names
    from core.pretrained.image_model import SDXL, STABLE_DIFFUSION
    from video.pipelines.families import ANIMATEDIFF, find_family

    kind = checkpoint_kind(folder)
    if medium == "image":
        if kind not in (STABLE_DIFFUSION, SDXL):
            raise UserError(
                f"{name} has the class {kind}: train image takes checkpoints of Stable Diffusion 1.x and 2.x "
                "and SDXL."
            )
        return LORA, "training/image-lora"
    family = find_family(folder)
    if family and family.title == ANIMATEDIFF:
        return MOTION, "training/motion"
    if not family or family.title not in PRESETS or not family.pipeline:
        raise UserError(
            f"{name} has the class {kind}: train video takes text-to-video checkpoints of Wan, LTX and "
            "CogVideoX, and image checkpoints of Stable Diffusion and SDXL."
        )
    if "transformer_2" in component_names(folder):
        raise UserError(
            f"{name} has two transformers, one for each end of the noise levels, and a LoRA of one does not "
            "fit both: give a checkpoint with one, such as Wan-AI/Wan2.1-T2V-1.3B-Diffusers."
        )
    return LORA, f"training/{PRESETS[family.title]}"


def _checked(
    medium: str, folder: Path, settings: AdapterPreset
) -> tuple[TrainableCheckpoint, tuple[int, int]]:
    """The checkpoint in a folder, of which nothing is loaded yet, and width and height in pixels.

    Raises UserError for what it does not take, and without peft where that is needed.
    """
    from core.pretrained.lora import check_peft

    if settings.rank is not None:
        check_peft()
    checkpoint, size = _trainable(medium, folder, settings), _size(folder, settings)
    if checkpoint.flow and settings.snr_gamma is not None:
        raise UserError("Min-SNR weights are for noise and v, not for flows: leave out snr_gamma.")
    checkpoint.check(*size, settings.frames)
    return checkpoint, size


def _trainable(medium: str, folder: Path, settings: AdapterPreset) -> TrainableCheckpoint:
    """The checkpoint in a folder."""
    from core.pretrained.trainable import TrainableImageModel
    from video.animatediff.motion_training import TrainableMotion
    from video.pipelines.families import find_family
    from video.pipelines.trainable import FAMILIES

    recompute = settings.gradient_checkpointing
    if medium == "image":
        return TrainableImageModel(folder, recompute)
    family = find_family(folder)
    assert family
    if family.title not in FAMILIES:
        return TrainableMotion(folder, settings.motion, recompute)
    return FAMILIES[family.title](folder, family, settings.fps, recompute)


def _size(folder: Path, settings: AdapterPreset) -> tuple[int, int]:
    """Width and height in pixels: the preset's, or those of the checkpoint's own training."""
    from video.pipelines.families import find_family

    family = find_family(folder)
    own = family.size if family else None
    width, height = settings.width or (own and own[0]), settings.height or (own and own[1])
    if not width or not height:
        raise UserError("The configs of the checkpoint give no size: set width and height in the preset.")
    return width, height


def _dtype(settings: AdapterPreset, accelerator: Accelerator) -> torch.dtype:
    """Precision of the frozen weights; those that are trained are float32."""
    import torch

    from core.io.machine import default_dtype, fast_bfloat16

    lowered = settings.training.bfloat16 and fast_bfloat16(accelerator.device)
    return default_dtype(accelerator.device) if lowered else torch.float32


def _encoded(
    medium: str,
    folder: Path,
    checkpoint: TrainableCheckpoint,
    size: tuple[int, int],
    settings: AdapterPreset,
    accelerator: Accelerator,
    dtype: torch.dtype,
) -> tuple[EncodedData, TextStates]:
    """Latents and text states of the shards in a folder, encoded now where they are not stored yet.

    The encoders are freed on return.
    """
    from rich.progress import Progress

    from core.training.adapters.encoded import EncodedData, read_text_states
    from core.training.data import Shards, to_float_images
    from core.training.latents import store_latents

    kinds = ["clips"] if medium == "video" else ["images", "clips"]
    kind = run_data.kinds_in(folder, kinds)[0]
    if medium == "video" and not any(folder.glob("clips-*.safetensors")):
        raise UserError(f"{folder} holds no clips: give a folder with some.")
    count = len(Shards(folder, kind)) * (Shards(folder, kind).frames or 1 if medium == "image" else 1)
    if count < settings.training.batch_size:
        raise UserError(
            f"{too_few(count, 'example')} for batches of {settings.training.batch_size}: lower the batch "
            "size."
        )
    first_stage = cache(lambda: checkpoint.load_first_stage(accelerator.device))
    encode_text = cache(lambda: checkpoint.load_text_encoder(accelerator.device, dtype))
    frames = settings.frames if medium == "video" else 0
    key = f"{checkpoint.latents_key()}-{medium}{frames or ''}"

    def encode(pixels: Tensor) -> Tensor:
        import torch

        width, height = size
        if pixels.shape[-2:] != (height, width):
            raise UserError(
                f"The pictures in {folder} are {pixels.shape[-1]}x{pixels.shape[-2]} pixels, not "
                f"{width}x{height}: change width and height in the preset."
            )
        if medium == "image":
            flat = pixels.flatten(0, -4).split(1)
            rows = torch.cat([first_stage()(to_float_images(image)).half().cpu() for image in flat])
            return rows.reshape(*pixels.shape[:-3], *rows.shape[1:])
        clips = pixels[:, : settings.frames].transpose(1, 2).split(1)
        return torch.cat([first_stage()(to_float_images(clip)).half().cpu() for clip in clips])

    with accelerator.main_process_first(), Progress(disable=not accelerator.is_main_process) as progress:
        latents, captions = (progress.add_task(f"encoding {what}", total=None) for what in (kind, "captions"))
        store_latents(
            folder,
            kind,
            key,
            encode,
            lambda done, total: progress.update(latents, completed=done, total=total),
        )
        texts = read_text_states(
            folder,
            checkpoint.text_key(),
            lambda prompts: encode_text()(prompts),
            lambda done, total: progress.update(captions, completed=done, total=total),
        )
    sources = [Shards(folder, kind, latents=key)]
    return EncodedData(sources, single_frames=medium == "image"), texts
