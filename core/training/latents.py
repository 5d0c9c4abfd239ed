"""Latents of prepared shards: encoded once by a first stage and kept beside them, to be trained on as pixels.

`latents-<fingerprint>-images-00000.safetensors` holds `latents` float16, (N,C,h,w), or (N,F,C,h,w) of clips.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from core.errors import UserError
from core.io.atomic import atomic_write
from core.models.autoencoder import Autoencoder
from core.training.data import latents_path, read_shard, shard_paths, to_float_images

BATCH = 64


@torch.no_grad()
def encode_shards(
    folder: Path, kind: str, first_stage: Autoencoder, on_done: Callable[[int, int], None] | None = None
) -> str:
    """Encodes the shards of a kind that have not been, on the first stage's device; returns its fingerprint.

    on_done: told (shards done, shards in all). A shard that has changed since is encoded anew.
    Raises UserError when there are no shards, one is damaged, or its images are of another size.
    """
    fingerprint, size = first_stage.fingerprint, first_stage.config.size
    device = first_stage.latent_mean.device
    paths = shard_paths(folder, kind)
    for done, path in enumerate(paths, start=1):
        out, source = latents_path(path, fingerprint), _stamp(path)
        if _source(out) != source:
            pixels = read_shard(path, ("pixels",))["pixels"]
            if pixels.shape[-2:] != (size, size):
                raise UserError(
                    f"The images in {path} are {pixels.shape[-1]} pixels wide, the first stage takes {size}."
                )
            images = pixels.flatten(0, -4).split(BATCH)
            rows = torch.cat(
                [first_stage.to_latents(to_float_images(part.to(device))).half().cpu() for part in images]
            )
            with atomic_write(out) as draft:
                save_file({"latents": rows.reshape(*pixels.shape[:-3], *rows.shape[1:])}, draft, source)
        if on_done:
            on_done(done, len(paths))
    return fingerprint


def _stamp(path: Path) -> dict[str, str]:
    """What tells a shard from one that was prepared anew in its place."""
    state = path.stat()
    return {"bytes": str(state.st_size), "modified": str(state.st_mtime_ns)}


def _source(path: Path) -> dict[str, str] | None:
    """The stamp of the shard that these latents were made of; None where there are none."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata()
    except (OSError, SafetensorError):
        return None  # none yet, or a damaged one: it is only a cache
