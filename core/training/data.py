"""Training data from the prepared shards of the toybox: pixels or latents, and their conditions."""

import copy
import hashlib
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from core.attributes import CAMERA, PHASE, SHADOW, WIDTH, encode_attributes
from core.condition import Condition
from core.errors import UserError
from core.io.weights import write_tensors
from core.models.text_encoder import TextEncoder

CAPTIONS = "captions.txt"
CACHE = "captions.safetensors"


class ConditionDropout(BaseModel):
    """Probabilities of dropping each part of a condition, independently for every sample.

    Dropped text becomes the empty prompt, which is the unconditional input of classifier-free guidance.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: float = Field(default=0.1, ge=0, le=1)
    camera: float = Field(default=0.5, ge=0, le=1)
    phase: float = Field(default=0.5, ge=0, le=1)
    shadow: float = Field(default=0.2, ge=0, le=1)
    image: float = Field(default=0.1, ge=0, le=1, description="image embeddings, where a model reads them")

    def drop_text(self, captions: "Captions", caption: Tensor) -> tuple[Tensor, Tensor]:
        """`captions(caption)` with dropped rows replaced by the empty prompt. caption: (B,) indices."""
        dropped = torch.rand(len(caption)) < self.text
        return captions(torch.where(dropped.to(caption.device), len(captions) - 1, caption))

    def drop_attributes(self, rows: Tensor) -> Tensor:
        """Attributes (B,V) or (B,F,V) with dropped groups zeroed, equally in all frames of a clip."""
        keep = torch.ones(len(rows), WIDTH)
        for group, probability in ((CAMERA, self.camera), (PHASE, self.phase), (SHADOW, self.shadow)):
            keep[:, group] = (torch.rand(len(rows), 1) >= probability).float()
        return rows * (keep if rows.ndim == 2 else keep[:, None]).to(rows.device)

    def drop_images(self, embeddings: Tensor) -> Tensor:
        """Image embeddings (B,D) with dropped rows zeroed."""
        return embeddings * (torch.rand(len(embeddings), 1) >= self.image).to(embeddings)


NO_DROPOUT = ConditionDropout(text=0.0, camera=0.0, phase=0.0, shadow=0.0, image=0.0)


class Captions:
    """Token states of all captions, as concatenated float16 rows; the last entry is the empty prompt."""

    def __init__(self, tokens: Tensor, offsets: Tensor, device: torch.device | str = "cpu") -> None:
        """tokens: (sum L_i, D) float16; offsets: (N+1,), caption i is tokens[offsets[i]:offsets[i+1]]."""
        self.tokens, self.offsets = tokens.to(device), offsets.to(device)
        self.longest = int((offsets[1:] - offsets[:-1]).max())

    @classmethod
    def from_states(cls, states: Sequence[Tensor], device: torch.device | str = "cpu") -> "Captions":
        """Captions from the states (L_i, D) of each, the empty prompt last."""
        offsets = torch.tensor([0, *accumulate(len(state) for state in states)])
        return cls(torch.cat(list(states)).half(), offsets, device)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __call__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """`(tokens (B,L,D) float32, mask (B,L))` of the captions at index (B,).

        L is always the length of the longest caption, which gives torch.compile a single shape.
        """
        index = index.to(self.offsets.device)
        start, length = self.offsets[index], self.offsets[index + 1] - self.offsets[index]
        position = torch.arange(self.longest, device=index.device)
        mask = position < length[:, None]
        rows = (start[:, None] + position).clamp(max=len(self.tokens) - 1)
        return self.tokens[rows].float() * mask[..., None], mask


def read_captions(
    folder: Path, encoder: TextEncoder, on_done: Callable[[int, int], None] | None = None
) -> Captions:
    """The captions of a folder of shards, encoded at the first call and cached in that folder.

    Equal captions are encoded once, and where captions have changed, only those that are new.
    on_done: called with (captions done, captions in total) while encoding.

    Raises UserError when captions.txt is missing.
    """
    path = folder / CAPTIONS
    if not path.is_file():
        raise UserError(
            f"{folder} holds no training data: {CAPTIONS} is missing. Prepare it with dreamlift toybox."
        )
    text = path.read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    cache = folder / CACHE
    known: dict[int, Tensor] = {}
    try:
        with safe_open(cache, "pt") as stored:
            tokens, offsets = stored.get_tensor("tokens"), stored.get_tensor("offsets")
            if (stored.metadata() or {}).get("captions") == digest:
                return Captions(tokens, offsets, encoder.device)
            rows = tokens.split(offsets.diff().tolist())
            known = dict(zip(stored.get_tensor("hashes").tolist(), rows, strict=True))
    except (OSError, SafetensorError):
        pass  # a missing or damaged cache is written again

    lines = [*text.splitlines(), ""]
    hashes = [content_hash(line.encode()) for line in lines]
    new = {hash_: line for hash_, line in zip(hashes, lines, strict=True) if hash_ not in known}
    done = 0

    def count(batch: int) -> None:
        nonlocal done
        done += batch
        if on_done:
            on_done(done, len(new))

    known |= zip(new, encoder.states([*new.values()], count) if new else [], strict=True)
    captions = Captions.from_states([known[each].to(encoder.device) for each in hashes], encoder.device)
    stored = {"tokens": captions.tokens, "offsets": captions.offsets, "hashes": torch.tensor(hashes)}
    write_tensors(cache, stored, {"captions": digest})
    return captions


def content_hash(content: bytes) -> int:
    """A signed 64-bit hash of contents, by which what was encoded from them is found again."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True)


def shard_paths(folder: Path, kind: str) -> list[Path]:
    """The files of the shards of one kind, in order. Raises UserError when there are none."""
    paths = sorted(folder.glob(f"{kind}-*.safetensors"))
    if not paths:
        raise UserError(f"{folder} holds no {kind}: expected {kind}-00000.safetensors and so on.")
    return paths


def read_shard(path: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of a shard, memory-mapped. Raises UserError when it is damaged or lacks one of `names`."""
    try:
        shard = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"The shard {path} is damaged: delete it and prepare it again.") from error
    missing = [name for name in names if name not in shard]
    if missing:
        raise UserError(f"The shard {path} has no {missing[0]!r}.")
    return shard


def single_images(shard: dict[str, Tensor], columns: Sequence[str]) -> dict[str, Tensor]:
    """A shard of images, or of clips with their frames as images: the pixels, and the columns named."""
    pixels = shard["pixels"].flatten(0, -4)
    frames = len(pixels) // max(1, len(shard["pixels"]))
    return {"pixels": pixels} | {name: shard[name].repeat_interleave(frames) for name in columns}


def latents_path(path: Path, fingerprint: str) -> Path:
    """File of the latents of a shard under the autoencoder with that fingerprint."""
    return path.with_name(f"latents-{fingerprint}-{path.name}")


def to_float_images(stored: Tensor) -> Tensor:
    """Stored values as float32: uint8 pixels are scaled to [-1, 1], latents are unchanged."""
    return stored.float() / 127.5 - 1 if stored.dtype == torch.uint8 else stored.float()


class Shards:
    """All shards of one kind: "images" and other kinds with pixels uint8 (N,3,H,W), "clips" with (N,F,3,H,W).

    On the CPU the pixels stay memory-mapped. Other devices hold a full copy.
    kind: one kind; or several, whose images, and frames of clips, are then single images.
    latents: fingerprint of the autoencoder that encoded the shards (`core.training.latents.encode_shards`);
        `pixels` then returns these latents instead.
    Raises UserError when there are no shards, or one is damaged or has a missing column.
    """

    COLUMNS = ("caption", "azimuth", "elevation", "phase", "shadow")
    CAPTIONS = "captions"  # optional: number of captions of an example, of which "caption" is the first

    def __init__(
        self,
        folder: Path,
        kind: str | Sequence[str],
        device: torch.device | str = "cpu",
        latents: str | None = None,
    ) -> None:
        shards: list[dict[str, Tensor]] = []
        kinds = [kind] if isinstance(kind, str) else kind
        columns = (*self.COLUMNS, self.CAPTIONS)
        for path in (path for each in kinds for path in shard_paths(folder, each)):
            shard = read_shard(path, ("pixels", *self.COLUMNS))
            if latents:
                pixels = read_shard(latents_path(path, latents), ("latents",))["latents"]
                if len(pixels) != len(shard["pixels"]):
                    raise UserError(f"The latents of the shard {path} are of another shard: encode it again.")
                shard["pixels"] = pixels
            shard.setdefault(self.CAPTIONS, torch.ones(len(shard["pixels"]), dtype=torch.int64))
            shards.append(shard if isinstance(kind, str) else single_images(shard, columns))
        self.device = torch.device(device)
        self.columns = {n: torch.cat([s[n] for s in shards]).to(self.device) for n in columns}
        self.several_captions = bool((self.columns[self.CAPTIONS] > 1).any())
        tables = [shard["pixels"] for shard in shards]
        self.tables = tables if self.device.type == "cpu" else [_concatenate(tables, self.device)]
        self.starts = torch.tensor([0, *accumulate(len(table) for table in self.tables)])
        self.selected: Tensor | None = None  # rows of the tables; all unless given

    def __len__(self) -> int:
        return int(self.starts[-1]) if self.selected is None else len(self.selected)

    def select(self, rows: Tensor) -> "Shards":
        """The examples where `rows` (N,), bool on the CPU, is true. The pixels are not copied."""
        part = copy.copy(self)
        every = torch.arange(int(self.starts[-1])) if self.selected is None else self.selected
        part.selected = every[rows]
        part.columns = {name: column[rows.to(self.device)] for name, column in self.columns.items()}
        return part

    @property
    def frames(self) -> int:
        """Number of frames per clip; 0 for images."""
        return self.tables[0].shape[1] if self.tables[0].ndim == 5 else 0

    def rows(self, index: Tensor) -> dict[str, Tensor]:
        """The columns at index (B,) on the CPU: tensors (B,) on the shards' device."""
        index = index.to(self.device)
        return {name: values[index] for name, values in self.columns.items()}

    def draw_captions(self, index: Tensor) -> Tensor:
        """Lines of captions of the examples at index (B,) on the CPU: one of each one's, all equally likely.

        Random by torch's global generator, where any example has several.
        """
        column = self.rows(index)
        if not self.several_captions:
            return column["caption"]
        drawn = (torch.rand(len(index)).to(self.device) * column[self.CAPTIONS]).long()
        return column["caption"] + torch.minimum(drawn, column[self.CAPTIONS] - 1)

    def locate(self, index: int) -> tuple[int, int]:
        """The number of the table that holds an example, and the example's row in it."""
        table = int(torch.bucketize(index, self.starts, right=True)) - 1
        return table, index - int(self.starts[table])

    def pixels(self, index: Tensor, frames: Tensor | None = None) -> Tensor:
        """Images at index (B,) on the CPU, float32 in [-1, 1], (B,3,H,W); or their latents, (B,C,h,w).

        frames: for clips, indices (B,F') on the CPU of the frames of each; the result is (B,3,F',H,W).
        """
        index = index if self.selected is None else self.selected[index]
        table = torch.bucketize(index, self.starts, right=True) - 1
        row = index - self.starts[table]
        size = self.tables[0].shape[1:] if frames is None else (frames.shape[1], *self.tables[0].shape[2:])
        pixels = torch.empty(len(index), *size, dtype=self.tables[0].dtype, device=self.device)
        for number in table.unique().tolist():
            positions = (table == number).nonzero()[:, 0]
            rows = row[positions].to(self.device)
            entries = rows if frames is None else (rows[:, None], frames[positions].to(self.device))
            pixels[positions.to(self.device)] = self.tables[number][entries]
        pixels = to_float_images(pixels)
        return pixels if frames is None else pixels.transpose(1, 2)


def _concatenate(tables: list[Tensor], device: torch.device) -> Tensor:
    """All rows in one tensor on the device, copied table by table to limit the peak memory."""
    out = torch.empty(sum(len(t) for t in tables), *tables[0].shape[1:], dtype=tables[0].dtype, device=device)
    start = 0
    for table in tables:
        out[start : start + len(table)] = table
        start += len(table)
    return out


class ImageData:
    """Single images with their conditions, from shards of images and from the frames of shards of clips.

    Conditions are dropped by torch's global generators, which the trainer seeds at every step.

    embeddings: the same shards with embeddings (N,D) of the images in place of their pixels, which then
        become a part of the condition; see `core.training.latents.embed_shards`. Of single images only.

    Raises ValueError for embeddings of other shards, or with clips.
    """

    def __init__(
        self,
        sources: Sequence[Shards],
        captions: Captions,
        dropout: ConditionDropout,
        embeddings: Sequence[Shards] | None = None,
    ) -> None:
        self.sources, self.captions, self.dropout = sources, captions, dropout
        if embeddings and [len(e) for e in embeddings] != [len(s) * (not s.frames) for s in sources]:
            raise ValueError("embeddings must be of the same single images as the shards")
        self.embeddings = embeddings
        self.starts = torch.tensor([0, *accumulate(len(s) * (s.frames or 1) for s in sources)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def batch(self, index: Tensor) -> tuple[Tensor, Condition]:
        """`(images (B,3,H,W) in [-1, 1], condition of length B)` at index (B,) int64 on the CPU.

        The batch is sorted by source.
        """
        source = torch.bucketize(index, self.starts, right=True) - 1
        parts = [
            self._part(number, index[source == number] - self.starts[number])
            for number in source.unique().tolist()
        ]
        return torch.cat([pixels for pixels, _ in parts]), Condition.cat(
            [condition for _, condition in parts]
        )

    def _part(self, source: int, index: Tensor) -> tuple[Tensor, Condition]:
        shards = self.sources[source]
        image = None
        if self.embeddings:
            image = self.dropout.drop_images(self.embeddings[source].pixels(index))
        if shards.frames:
            index, frame = index // shards.frames, index % shards.frames
            pixels = shards.pixels(index, frame[:, None])[:, :, 0]
            phase_offset = frame.to(shards.device) / shards.frames
        else:
            pixels, phase_offset = shards.pixels(index), 0.0
        column = shards.rows(index)
        attributes = encode_attributes(
            len(index),
            azimuth=column["azimuth"],
            elevation=column["elevation"],
            phase=column["phase"] + phase_offset,
            shadow=column["shadow"],
        )
        text = self.dropout.drop_text(self.captions, shards.draw_captions(index))
        return pixels, Condition(*text, self.dropout.drop_attributes(attributes), image=image)
