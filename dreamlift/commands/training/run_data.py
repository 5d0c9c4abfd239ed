"""The data of a training run: shards, latents and captions, which are made now where they are not cached."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from dreamlift.commands.training import run_folder

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

    from core.models.autoencoder import Autoencoder
    from core.models.unclip.contrastive import ContrastiveModel
    from core.training.data import Captions, ImageData, Shards

FITTED = 4096  # images from which a decoder's reading of embeddings is initialized
EMBEDDINGS = "embeddings.json"  # in the folder of a run that reads some: the contrastive model's fingerprint


def kinds_in(data: Path, kinds: Sequence[str]) -> list[str]:
    """The first kind, and those of the others of which the folder has shards.

    Where the folder has none of the first, the others take its place.
    """
    return [kind for kind in kinds if any(data.glob(f"{kind}-*.safetensors"))] or [kinds[0]]


def check_shards(data: Path, kinds: Sequence[str]) -> None:
    """Raises UserError, before weights are read, where a folder lacks the shards of a kind."""
    from core.training.data import shard_paths

    for kind in kinds:
        shard_paths(data, kind)


def shards(
    data: Path, kinds: Sequence[str], accelerator: "Accelerator", first_stage: "Autoencoder | None" = None
) -> "list[Shards]":
    """Shards of each kind; with a first stage, their latents, which are encoded now if not yet cached."""
    from rich.progress import Progress, TaskID

    from core.training.data import Shards
    from core.training.latents import encode_shards

    if not first_stage:
        return [Shards(data, kind, accelerator.device) for kind in kinds]
    first_stage = first_stage.to(accelerator.device)
    # The first process fills the cache, the others read it.
    with accelerator.main_process_first(), Progress(disable=not accelerator.is_main_process) as progress:
        for kind in kinds:
            bar = progress.add_task(f"encoding {kind}")

            def show(done: int, count: int, bar: TaskID = bar) -> None:
                progress.update(bar, completed=done, total=count)

            encode_shards(data, kind, first_stage, show)
    return [Shards(data, kind, accelerator.device, first_stage.fingerprint) for kind in kinds]


def captions(data: Path, accelerator: "Accelerator") -> "Captions":
    """Captions of the shards, which are encoded now if not yet cached."""
    from rich.progress import Progress

    from core.models.text_encoder import TextEncoder
    from core.training.data import read_captions

    # The first process fills the cache, the others read it.
    with accelerator.main_process_first(), Progress(disable=not accelerator.is_main_process) as progress:
        bar = progress.add_task("encoding captions", visible=False)
        return read_captions(
            data,
            TextEncoder(accelerator.device),
            lambda done, count: progress.update(bar, completed=done, total=count, visible=True),
        )


def embeddings(
    data: Path, kinds: Sequence[str], run: Path, model: "ContrastiveModel", accelerator: "Accelerator"
) -> "list[Shards]":
    """The shards' images as embeddings, which are made now where they are not cached.

    Raises UserError when the run was started with another contrastive model.
    """
    from core.training.data import Shards
    from core.training.latents import embed_shards

    with accelerator.main_process_first():
        for kind in kinds:
            embed_shards(data, kind, model)
        note = {"contrastive": model.fingerprint}
        if not (run / EMBEDDINGS).is_file():
            run_folder.write(run / EMBEDDINGS, note)
    if run_folder.read(run / EMBEDDINGS) != note:
        raise UserError(f"The run in {run} was started with another contrastive model: give that one.")
    return [Shards(data, kind, accelerator.device, model.fingerprint) for kind in kinds]


def read_as_texts(network: "nn.Module", data: "ImageData") -> None:
    """Initializes how a network reads embeddings, from some of the data; see `core.training.tasks.unclip`."""
    import torch

    from core.condition import Condition
    from core.nn.unet import UNet
    from core.training.tasks.unclip import read_as_texts

    assert isinstance(network, UNet)
    count = min(FITTED, len(data))
    index = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:count]
    _, images = data.batch(index)
    tokens, mask = data.captions(torch.tensor([len(data.captions) - 1]))
    read_as_texts(network, images, Condition(tokens, mask, images.attributes[:1]))
