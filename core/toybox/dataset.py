"""Prepared training shards of the toybox. Their layout is in docs/architecture.md.

A record is a scene with one caption. An image record is rendered at several moments from several cameras, a
clip record over one loop from one camera. Object records match the views of score distillation: cameras from
all sides, a plain backdrop, no shadow, and half of them at the first moment of the loop. Textureless records
are gray (see `render`) and only train the judge: they have neither shadow nor caption. Large records are
images of four times the side, for super-resolution. Every shard follows from the seed alone, so an
interrupted preparation can resume.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.io.atomic import atomic_write, writable_folder
from core.io.machine import single_thread
from core.io.weights import write_tensors
from core.toybox.backdrops import BACKDROPS
from core.toybox.camera import Camera
from core.toybox.captions import caption
from core.toybox.scenes import Scene, random_scene, render_scenes
from core.toybox.wordings import TRAINED_ELEVATIONS

KINDS = ("images", "clips", "textureless", "objects", "large")  # the index is part of the seed
CAPTIONED = ("images", "clips", "objects", "large")
FRAMES = 16  # per loop
VIEWS = 8  # per image record
SHARD = 4096  # images per shard
LARGE_SHARD = 512  # large images per shard
LARGE = 4  # side of large images over that of the others
CAPTIONS = "captions.txt"
PLAIN = tuple(i for i, place in enumerate(BACKDROPS) if place.plain)
SHOWCASE_SHARE = 1 / 8  # of the training scenes, in addition to the share of uniform draws


@dataclass(frozen=True)
class DatasetPlan:
    """Numbers of images, clips, textureless images, objects and large images to prepare in the folder `out`.

    The numbers are rounded up to full shards. held: as in `random_scene`. size: pixels; a fourth of those of
    large images.
    """

    out: Path
    images: int = 0
    clips: int = 0
    seed: int = 0
    held: bool | None = False
    size: int = 64
    textureless: int = 0
    objects: int = 0
    large: int = 0

    def jobs(self) -> list[tuple[str, int]]:
        """Kind (one of `KINDS`) and index of every shard."""
        return [(kind, shard) for kind in KINDS for shard in range(self.shards(kind))]

    def shards(self, kind: str) -> int:
        """Number of shards of that kind."""
        images = self.clips * FRAMES if kind == "clips" else getattr(self, kind)
        return -(-images // _images(kind))

    @property
    def bytes(self) -> int:
        """Size of the shards on disk, without labels."""
        sides = {kind: self.size * (4 if kind == "large" else 1) for kind in KINDS}
        return sum(self.shards(kind) * _images(kind) * 3 * side**2 for kind, side in sides.items())

    def records(self, kind: str, shard: int) -> tuple[list[Scene], list[str], np.random.Generator]:
        """Scenes and captions of one shard, and the generator from which its cameras are drawn next."""
        rng = np.random.default_rng([self.seed, KINDS.index(kind), shard])
        showcase = SHOWCASE_SHARE if self.held is False else 0.0
        scenes = [random_scene(rng, self.held, showcase) for _ in range(_scenes(kind))]
        if kind == "objects":
            scenes = [replace(scene, backdrop=int(rng.choice(PLAIN))) for scene in scenes]
        return scenes, [caption(scene, rng) for scene in scenes], rng

    def first_caption(self, kind: str, shard: int) -> int:
        """Line of captions.txt with the first caption of a shard; kinds are in the order of `CAPTIONED`."""
        earlier = CAPTIONED[: CAPTIONED.index(kind)]
        return sum(self.shards(k) * _scenes(k) for k in earlier) + shard * _scenes(kind)

    def path(self, kind: str, shard: int) -> Path:
        """File of a shard."""
        return self.out / f"{kind}-{shard:05d}.safetensors"


def _images(kind: str) -> int:
    """Number of images per shard."""
    return LARGE_SHARD if kind == "large" else SHARD


def _scenes(kind: str) -> int:
    """Number of scenes per shard."""
    return _images(kind) // (FRAMES if kind == "clips" else VIEWS)


def draw_cameras(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random azimuths, most within 75 degrees of the front, and elevations about 13, float32 (count,)."""
    front = rng.random(count) < 0.6
    azimuth = np.where(front, rng.uniform(-75, 75, count), rng.uniform(-180, 180, count)) % 360
    elevation = np.clip(rng.normal(13, 10, count), *TRAINED_ELEVATIONS)
    return azimuth.astype(np.float32), elevation.astype(np.float32)


def draw_orbit(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random azimuths in [0, 360) and elevations in [-5, 35] degrees, as in `dream3d`, float32 (count,)."""
    azimuth, elevation = rng.uniform(0, 360, count), rng.uniform(-5, 35, count)
    return azimuth.astype(np.float32), elevation.astype(np.float32)


def render_shard(plan: DatasetPlan, kind: str, shard: int, device: str = "cpu") -> dict[str, Tensor]:
    """The tensors of one shard, with the names in docs/architecture.md."""
    scenes, _, rng = plan.records(kind, shard)
    clips, textureless = kind == "clips", kind == "textureless"
    views = 1 if clips else VIEWS  # cameras per scene
    frames = FRAMES if clips else 1  # images per camera
    count = len(scenes) * views
    azimuth, elevation = draw_cameras(rng, count)
    phase = rng.random(count).astype(np.float32)
    shadow = (rng.random(count) < 0.6) & (not textureless)
    if kind == "objects":
        azimuth, elevation = draw_orbit(rng, count)
        phase *= rng.random(count) < 0.5  # score distillation uses the first moment
        shadow[:] = False
    moments = (phase[:, None] + np.arange(FRAMES) / FRAMES) % 1.0 if clips else phase
    moments = torch.from_numpy(moments.reshape(-1).astype(np.float32))
    camera = Camera(*(torch.from_numpy(np.repeat(angle, frames)) for angle in (azimuth, elevation)))
    with_shadow = torch.from_numpy(np.repeat(shadow, frames))
    size = plan.size * (LARGE if kind == "large" else 1)
    chunk, images = (4 if device == "cpu" else 64), []
    for i in range(0, len(scenes), chunk):
        rows = slice(i * views * frames, (i + chunk) * views * frames)
        cameras = Camera(camera.azimuth[rows], camera.elevation[rows])
        part = scenes[i : i + chunk], moments[rows], cameras, with_shadow[rows]
        color, _ = render_scenes(*part, size, device=device, textureless=textureless)
        images.append((color * 255).round().clamp(0, 255).byte().cpu())
    pixels = torch.cat(images)
    first = plan.first_caption(kind, shard) if kind in CAPTIONED else 0
    labels = {
        "caption": list(range(first, first + len(scenes))),
        "subject": [-1 if s.group else s.subject for s in scenes],
        "action": [-1 if s.group else s.action for s in scenes],
        "color": [s.color if s.act.colored or s.group else -1 for s in scenes],
        "background": [s.backdrop for s in scenes],
    }
    if textureless:
        labels["caption"] = labels["color"] = [-1] * len(scenes)
    return {
        "pixels": pixels.reshape(-1, FRAMES, *pixels.shape[1:]) if clips else pixels,
        "azimuth": torch.from_numpy(azimuth),
        "elevation": torch.from_numpy(elevation),
        "phase": torch.from_numpy(phase),
        "shadow": torch.from_numpy(shadow.astype(np.uint8)),
        **{name: torch.tensor(v).repeat_interleave(views) for name, v in labels.items()},
    }


def _write_shard(job: tuple[DatasetPlan, str, int, str]) -> None:
    plan, kind, shard, device = job
    tensors = render_shard(plan, kind, shard, device)
    write_tensors(plan.path(kind, shard), tensors)


def _write_captions(plan: DatasetPlan) -> None:
    """Writes the captions of the plan. A longer file that begins with them is left unchanged.

    Raises UserError when the folder's captions belong to another plan, whose shards refer to other lines.
    """
    file = writable_folder(plan.out) / CAPTIONS
    captioned = [job for job in plan.jobs() if job[0] in CAPTIONED]
    lines = [line for job in captioned for line in plan.records(*job)[1]]
    text = "".join(line + "\n" for line in lines)
    existing = file.read_text(encoding="utf-8") if file.exists() else ""
    if not (text.startswith(existing) or existing.startswith(text)):
        raise UserError(
            f"{plan.out} holds shards of another plan (number of images, seed or choice of pairs): "
            "choose another folder."
        )
    if len(text) > len(existing):
        with atomic_write(file) as draft:
            draft.write_text(text, encoding="utf-8")


def write_dataset(plan: DatasetPlan, processes: int = 1, device: str = "cpu") -> Iterator[tuple[int, int]]:
    """Renders the missing shards of the plan; yields (shards done, shards in total) after each.

    On a CPU, `processes` single-threaded workers share the shards. On a GPU one process renders them all.
    Raises UserError when the folder is not writable or holds shards of another plan.
    """
    _write_captions(plan)
    jobs = plan.jobs()
    missing = [(plan, kind, shard, device) for kind, shard in jobs if not plan.path(kind, shard).exists()]
    done = len(jobs) - len(missing)
    yield done, len(jobs)
    if processes == 1 or device != "cpu":
        for job in missing:
            _write_shard(job)
            done += 1
            yield done, len(jobs)
        return
    with get_context("spawn").Pool(processes, single_thread) as pool:
        for _ in pool.imap_unordered(_write_shard, missing):
            done += 1
            yield done, len(jobs)
