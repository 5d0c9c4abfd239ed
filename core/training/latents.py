"""Latents of prepared shards, encoded once by a first stage and stored in the same folder for training.

Embeddings of images (N,D) are stored in the same way, by a contrastive model.

`latents-<fingerprint>-images-00000.safetensors` holds `latents` float16, (N,C,h,w); of clips, (N,F,C,h,w), or
(N,C,F',h,w) where the encoder takes clips as a whole; and `hashes` int64 (N,) of the pixels.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.errors import UserError
from core.io.weights import write_tensors
from core.models.autoencoder import Autoencoder
from core.models.unclip.contrastive import ContrastiveModel
from core.training.data import content_hash, latents_path, read_shard, shard_paths, to_float_images

BATCH = 64


def encode_shards(
    folder: Path, kind: str, first_stage: Autoencoder, on_done: Callable[[int, int], None] | None = None
) -> str:
    """Encodes the shards of one kind on the first stage's device and returns its fingerprint.

    on_done: as in `store_latents`. Raises UserError when there are no shards, one is damaged, or its images
    have another size.
    """
    fingerprint, size = first_stage.fingerprint, first_stage.config.size
    device = first_stage.latent_mean.device

    def encode(pixels: Tensor) -> Tensor:
        if pixels.shape[-2:] != (size, size):
            raise UserError(
                f"The images in {folder} are {pixels.shape[-1]} pixels wide, the first stage takes {size}."
            )
        images = pixels.flatten(0, -4).split(BATCH)
        rows = torch.cat([first_stage.to_latents(to_float_images(part.to(device))) for part in images])
        return rows.reshape(*pixels.shape[:-3], *rows.shape[1:])

    store_latents(folder, kind, fingerprint, encode, on_done)
    return fingerprint


def embed_shards(
    folder: Path, kind: str, model: ContrastiveModel, on_done: Callable[[int, int], None] | None = None
) -> str:
    """Stores the embeddings (N,D) of the shards' images, of one kind, and returns the model's fingerprint.

    They are read as latents. on_done: as in `store_latents`. Raises UserError when there are no shards, one
    is damaged, or its images have another size.
    """
    size = model.config.size

    def embed(pixels: Tensor) -> Tensor:
        if pixels.ndim != 4 or pixels.shape[-1] != size:
            raise UserError(f"The {kind} in {folder} are not single images of {size} pixels.")
        parts = pixels.split(BATCH)
        device = model.log_scale.device
        return torch.cat([model.embed_images(to_float_images(part.to(device))) for part in parts])

    store_latents(folder, kind, model.fingerprint, embed, on_done)
    return model.fingerprint


@torch.no_grad()
def store_latents(
    folder: Path,
    kind: str,
    fingerprint: str,
    encode: Callable[[Tensor], Tensor],
    on_done: Callable[[int, int], None] | None = None,
) -> None:
    """Stores the latents of the shards of one kind.

    Shards whose latents are up to date are skipped. Of others, the images and clips are encoded whose pixels
    are in no earlier latents.

    fingerprint: of the encoder. encode: latents of pixels, uint8 (N,3,H,W) or (N,F,3,H,W). on_done: called
        with (shards done, shards in total).

    Raises UserError when there are no shards or one is damaged.
    """
    paths = shard_paths(folder, kind)
    known: dict[int, Tensor] | None = None
    for done, path in enumerate(paths, start=1):
        out, source = latents_path(path, fingerprint), file_version(path)
        if stored_version(out) != source:
            pixels = read_shard(path, ("pixels",))["pixels"]
            if known is None:
                known = _known_latents(folder, kind, fingerprint)
            hashes = [content_hash(row.numpy().tobytes()) for row in pixels]
            new = [row for row, each in enumerate(hashes) if each not in known]
            encoded = encode(pixels[new]).half().cpu() if new else ()
            rows = known | dict(zip((hashes[row] for row in new), encoded, strict=True))
            latents = torch.stack([rows[each] for each in hashes])
            write_tensors(out, {"latents": latents, "hashes": torch.tensor(hashes)}, source)
        if on_done:
            on_done(done, len(paths))


def _known_latents(folder: Path, kind: str, fingerprint: str) -> dict[int, Tensor]:
    """All latents of one kind that are stored, in memory, by the hashes of their pixels."""
    known: dict[int, Tensor] = {}
    for path in folder.glob(f"latents-{fingerprint}-{kind}-*.safetensors"):
        try:
            with safe_open(path, "pt") as file:
                hashes, latents = file.get_tensor("hashes"), file.get_tensor("latents").clone()
        except (OSError, SafetensorError):
            continue  # damaged, or of a version without hashes
        known |= zip(hashes.tolist(), latents, strict=True)
    return known


def file_version(path: Path) -> dict[str, str]:
    """Size and modification time of a shard, which change when it is prepared again."""
    state = path.stat()
    return {"bytes": str(state.st_size), "modified": str(state.st_mtime_ns)}


def stored_version(path: Path) -> dict[str, str] | None:
    """The version of the shard from which these latents were encoded, or None without valid latents."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata()
    except (OSError, SafetensorError):
        return None  # missing or damaged latents are encoded again
