"""The toybox's prepared shards, and what training takes from them: pixels and their conditions."""

import hashlib
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.attributes import CAMERA, PHASE, SHADOW, WIDTH, encode_attributes
from core.condition import Condition
from core.errors import UserError
from core.io.atomic import atomic_write
from core.models.text_encoder import TextEncoder

CAPTIONS = "captions.txt"
CACHE = "captions.safetensors"


class ConditionDropout(BaseModel):
    """How often each part of a condition goes unsaid, independently for every sample (probabilities).

    Dropped text becomes the empty prompt, which is what classifier-free guidance leads away from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: float = Field(default=0.1, ge=0, le=1)
    camera: float = Field(default=0.5, ge=0, le=1)
    phase: float = Field(default=0.5, ge=0, le=1)
    shadow: float = Field(default=0.2, ge=0, le=1)

    def drop_text(self, captions: "Captions", caption: Tensor) -> tuple[Tensor, Tensor]:
        """`captions(caption)` with some rows those of the empty prompt. caption: (B,)."""
        dropped = torch.rand(len(caption)) < self.text
        return captions(torch.where(dropped.to(caption.device), len(captions) - 1, caption))

    def drop_attributes(self, rows: Tensor) -> Tensor:
        """Attributes (B,V) or (B,F,V) with whole groups zeroed, the same for all frames of a clip."""
        kept = torch.ones(len(rows), WIDTH)
        for group, probability in ((CAMERA, self.camera), (PHASE, self.phase), (SHADOW, self.shadow)):
            kept[:, group] = (torch.rand(len(rows), 1) >= probability).float()
        return rows * (kept if rows.ndim == 2 else kept[:, None]).to(rows.device)


class Captions:
    """Token states of every caption, kept as float16 rows end to end; the empty prompt is the last entry."""

    def __init__(self, tokens: Tensor, offsets: Tensor, device: torch.device | str = "cpu") -> None:
        """tokens: (sum L_i, D) float16; offsets: (N+1,), caption i is tokens[offsets[i]:offsets[i+1]]."""
        self.tokens, self.offsets = tokens.to(device), offsets.to(device)
        self.longest = int((offsets[1:] - offsets[:-1]).max())

    @classmethod
    def from_states(cls, states: Sequence[Tensor], device: torch.device | str = "cpu") -> "Captions":
        offsets = torch.tensor([0, *accumulate(len(state) for state in states)])
        return cls(torch.cat(list(states)).half(), offsets, device)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __call__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """index: (B,) -> `(tokens (B,L,D) float32, mask (B,L))`, L always the longest of all captions.

        One L for all batches is one shape for torch.compile.
        """
        index = index.to(self.offsets.device)
        start, length = self.offsets[index], self.offsets[index + 1] - self.offsets[index]
        place = torch.arange(self.longest, device=index.device)
        mask = place < length[:, None]
        rows = (start[:, None] + place).clamp(max=len(self.tokens) - 1)
        return self.tokens[rows].float() * mask[..., None], mask


def read_captions(
    folder: Path, encoder: TextEncoder, on_done: Callable[[int, int], None] | None = None
) -> Captions:
    """The captions of a folder of shards, encoded at the first call and cached beside them.

    on_done: told (captions done, captions in all) while encoding. A cache of other captions is made anew.
    Raises UserError when captions.txt is missing.
    """
    path = folder / CAPTIONS
    if not path.is_file():
        raise UserError(
            f"{folder} holds no training data: {CAPTIONS} is missing (dreamlift toybox prepares it)."
        )
    text = path.read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    cache = folder / CACHE
    try:
        with safe_open(cache, "pt") as stored:
            if (stored.metadata() or {}).get("captions") == digest:
                return Captions(stored.get_tensor("tokens"), stored.get_tensor("offsets"), encoder.device)
    except (OSError, SafetensorError):
        pass  # none yet, or a damaged one: it is only a cache

    lines = [*text.splitlines(), ""]
    done = 0

    def count(batch: int) -> None:
        nonlocal done
        done += batch
        if on_done:
            on_done(done, len(lines))

    captions = Captions.from_states(encoder.states(lines, count), encoder.device)
    with atomic_write(cache) as draft:
        stored = {"tokens": captions.tokens.cpu(), "offsets": captions.offsets.cpu()}
        save_file(stored, draft, {"captions": digest})
    return captions


def shard_paths(folder: Path, kind: str) -> list[Path]:
    """The shards of that kind in order. Raises UserError when there are none."""
    paths = sorted(folder.glob(f"{kind}-*.safetensors"))
    if not paths:
        raise UserError(f"{folder} holds no {kind}: expected {kind}-00000.safetensors and so on.")
    return paths


def read_shard(path: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of a shard, memory-mapped. Raises UserError when it is damaged or misses one of `names`."""
    try:
        shard = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"The shard {path} is damaged; prepare it anew.") from error
    missing = [name for name in names if name not in shard]
    if missing:
        raise UserError(f"The shard {path} has no {missing[0]!r}.")
    return shard


def latents_path(path: Path, fingerprint: str) -> Path:
    """Where the latents of a shard lie that the autoencoder of that fingerprint made."""
    return path.with_name(f"latents-{fingerprint}-{path.name}")


def to_float_images(stored: Tensor) -> Tensor:
    """float32 of what shards hold: bytes of pixels come into [-1, 1], latents stay as they are."""
    return stored.float() / 127.5 - 1 if stored.dtype == torch.uint8 else stored.float()


class Shards:
    """The shards of one kind: "images" and such with pixels uint8 (N,3,H,W), "clips" with (N,F,3,H,W).

    On the CPU pixels stay memory-mapped files; on another device they are copied there, whole.
    latents: fingerprint of the autoencoder by which `core.training.latents.encode_shards` encoded them; then
        `pixels` gives those latents instead.
    Raises UserError when there are none, or one is damaged or misses a column.
    """

    COLUMNS = ("caption", "azimuth", "elevation", "phase", "shadow")

    def __init__(
        self, folder: Path, kind: str, device: torch.device | str = "cpu", latents: str | None = None
    ) -> None:
        shards = []
        for path in shard_paths(folder, kind):
            shard = read_shard(path, ("pixels", *self.COLUMNS))
            if latents:
                pixels = read_shard(latents_path(path, latents), ("latents",))["latents"]
                if len(pixels) != len(shard["pixels"]):
                    raise UserError(f"The latents of the shard {path} are of another one; encode it anew.")
                shard["pixels"] = pixels
            shards.append(shard)
        self.device = torch.device(device)
        self.columns = {n: torch.cat([s[n] for s in shards]).to(self.device) for n in self.COLUMNS}
        tables = [shard["pixels"] for shard in shards]
        self.tables = tables if self.device.type == "cpu" else [_gathered(tables, self.device)]
        self.starts = torch.tensor([0, *accumulate(len(table) for table in self.tables)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def frames(self) -> int:
        """Frames of a clip; 0 for images."""
        return self.tables[0].shape[1] if self.tables[0].ndim == 5 else 0

    def rows(self, index: Tensor) -> dict[str, Tensor]:
        """index: (B,) on the CPU -> the columns' entries, (B,) each, on the shards' device."""
        index = index.to(self.device)
        return {name: values[index] for name, values in self.columns.items()}

    def pixels(self, index: Tensor, frames: Tensor | None = None) -> Tensor:
        """index: (B,) on the CPU -> float32 in [-1, 1], (B,3,H,W); or latents, (B,C,h,w).

        frames: for clips, (B,F') on the CPU, which frames of each; the result is (B,3,F',H,W).
        """
        table = torch.bucketize(index, self.starts, right=True) - 1
        row = index - self.starts[table]
        size = self.tables[0].shape[1:] if frames is None else (frames.shape[1], *self.tables[0].shape[2:])
        pixels = torch.empty(len(index), *size, dtype=self.tables[0].dtype, device=self.device)
        for number in table.unique().tolist():
            here = (table == number).nonzero()[:, 0]
            rows = row[here].to(self.device)
            chosen = rows if frames is None else (rows[:, None], frames[here].to(self.device))
            pixels[here.to(self.device)] = self.tables[number][chosen]
        pixels = to_float_images(pixels)
        return pixels if frames is None else pixels.transpose(1, 2)


def _gathered(tables: list[Tensor], device: torch.device) -> Tensor:
    """All rows in one tensor on the device, copied table by table so that nothing is held twice."""
    out = torch.empty(sum(len(t) for t in tables), *tables[0].shape[1:], dtype=tables[0].dtype, device=device)
    start = 0
    for table in tables:
        out[start : start + len(table)] = table
        start += len(table)
    return out


class ImageData:
    """Single images with their conditions, from shards of images and, where given, every frame of clips.

    Draws come from torch's global generators, which the trainer seeds at every step.
    """

    def __init__(self, sources: Sequence[Shards], captions: Captions, dropout: ConditionDropout) -> None:
        self.sources, self.captions, self.dropout = sources, captions, dropout
        self.starts = torch.tensor([0, *accumulate(len(s) * (s.frames or 1) for s in sources)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def batch(self, index: Tensor) -> tuple[Tensor, Condition]:
        """index: (B,) int64 on the CPU -> `(images (B,3,H,W) in [-1, 1], condition of length B)`.

        The batch is ordered by source.
        """
        source = torch.bucketize(index, self.starts, right=True) - 1
        parts = [
            self._part(self.sources[number], index[source == number] - self.starts[number])
            for number in source.unique().tolist()
        ]
        return torch.cat([pixels for pixels, _ in parts]), Condition.cat(
            [condition for _, condition in parts]
        )

    def _part(self, shards: Shards, index: Tensor) -> tuple[Tensor, Condition]:
        if shards.frames:
            index, frame = index // shards.frames, index % shards.frames
            pixels = shards.pixels(index, frame[:, None])[:, :, 0]
            later = frame.to(shards.device) / shards.frames
        else:
            pixels, later = shards.pixels(index), 0.0
        column = shards.rows(index)
        said = encode_attributes(
            len(index),
            azimuth=column["azimuth"],
            elevation=column["elevation"],
            phase=column["phase"] + later,
            shadow=column["shadow"],
        )
        text = self.dropout.drop_text(self.captions, column["caption"])
        return pixels, Condition(*text, self.dropout.drop_attributes(said))
