"""Prepared shards of the toybox: what training reads. Layout in docs/architecture.md.

A record is a scene with one caption; for images it is seen at several moments from several sides, for clips
along one loop from one side. Objects are images as distillation asks for them: from anywhere around, before a
plain backdrop, without a shadow, half of them at the first moment of the loop. Textureless images are records
of their own, in gray (see `render`), for the judge alone: they have neither shadow nor caption. Everything
follows from the seed, shard by shard, so an interrupted preparation goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.errors import UserError
from core.io.atomic import atomic_write, writable_folder
from core.io.machine import single_thread
from core.toybox.backdrops import BACKDROPS
from core.toybox.camera import Camera
from core.toybox.captions import caption
from core.toybox.scenes import Scene, random_scene, render_scenes

KINDS = ("images", "clips", "textureless", "objects")  # their order seeds them
CAPTIONED = ("images", "clips", "objects")
FRAMES = 16  # of a loop
VIEWS = 8  # of an image record
SHARD = 4096  # pictures
CAPTIONS = "captions.txt"
PLAIN = tuple(i for i, place in enumerate(BACKDROPS) if place.plain)
SHOWCASE_SHARE = 1 / 8  # of what is trained on, beside their share as pairs like any other


@dataclass(frozen=True)
class DatasetPlan:
    """What to prepare into `out`, rounded up to whole shards; `held` as in `random_scene`."""

    out: Path
    images: int = 0
    clips: int = 0
    seed: int = 0
    held: bool | None = False
    size: int = 64
    textureless: int = 0
    objects: int = 0

    def jobs(self) -> list[tuple[str, int]]:
        """Kind (of `KINDS`) and number of every shard."""
        return [(kind, shard) for kind in KINDS for shard in range(self.shards(kind))]

    def shards(self, kind: str) -> int:
        """How many shards of that kind there are."""
        pictures = self.clips * FRAMES if kind == "clips" else getattr(self, kind)
        return -(-pictures // SHARD)

    def records(self, kind: str, shard: int) -> tuple[list[Scene], list[str], np.random.Generator]:
        """Scenes and captions of one shard, and the generator that goes on to draw its cameras."""
        rng = np.random.default_rng([self.seed, KINDS.index(kind), shard])
        showcase = SHOWCASE_SHARE if self.held is False else 0.0
        scenes = [random_scene(rng, self.held, showcase) for _ in range(_scenes(kind))]
        if kind == "objects":
            scenes = [replace(scene, backdrop=int(rng.choice(PLAIN))) for scene in scenes]
        return scenes, [caption(scene, rng) for scene in scenes], rng

    def first_caption(self, kind: str, shard: int) -> int:
        """Line of captions.txt where a captioned shard's begin; kinds follow each other as in `CAPTIONED`."""
        earlier = CAPTIONED[: CAPTIONED.index(kind)]
        return sum(self.shards(k) * _scenes(k) for k in earlier) + shard * _scenes(kind)

    def path(self, kind: str, shard: int) -> Path:
        return self.out / f"{kind}-{shard:05d}.safetensors"


def _scenes(kind: str) -> int:
    """How many are in one shard."""
    return SHARD // (FRAMES if kind == "clips" else VIEWS)


def draw_cameras(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Azimuths, most of them within 75 degrees of the front, and elevations about 13, float32 (count,)."""
    front = rng.random(count) < 0.6
    azimuth = np.where(front, rng.uniform(-75, 75, count), rng.uniform(-180, 180, count)) % 360
    return azimuth.astype(np.float32), np.clip(rng.normal(13, 10, count), -8, 45).astype(np.float32)


def draw_orbit(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Azimuths all around and elevations of -5 to 35 degrees, as `dream3d` looks, float32 (count,)."""
    azimuth, elevation = rng.uniform(0, 360, count), rng.uniform(-5, 35, count)
    return azimuth.astype(np.float32), elevation.astype(np.float32)


def render_shard(plan: DatasetPlan, kind: str, shard: int, device: str = "cpu") -> dict[str, Tensor]:
    """The tensors of one shard, by the names of docs/architecture.md."""
    scenes, _, rng = plan.records(kind, shard)
    clips, textureless = kind == "clips", kind == "textureless"
    views = 1 if clips else VIEWS  # cameras of a scene
    spread = FRAMES if clips else 1  # pictures of a camera
    count = len(scenes) * views
    azimuth, elevation = draw_cameras(rng, count)
    phase = rng.random(count).astype(np.float32)
    shadow = (rng.random(count) < 0.6) & (not textureless)
    if kind == "objects":
        azimuth, elevation = draw_orbit(rng, count)
        phase *= rng.random(count) < 0.5  # objects are made of the first moment
        shadow[:] = False
    moments = (phase[:, None] + np.arange(FRAMES) / FRAMES) % 1.0 if clips else phase
    moments = torch.from_numpy(moments.reshape(-1).astype(np.float32))
    camera = Camera(*(torch.from_numpy(np.repeat(angle, spread)) for angle in (azimuth, elevation)))
    dark = torch.from_numpy(np.repeat(shadow, spread))
    chunk, pictures = (4 if device == "cpu" else 64), []
    for i in range(0, len(scenes), chunk):
        rows = slice(i * views * spread, (i + chunk) * views * spread)
        orbit = Camera(camera.azimuth[rows], camera.elevation[rows])
        part = scenes[i : i + chunk], moments[rows], orbit, dark[rows]
        color, _ = render_scenes(*part, plan.size, device=device, textureless=textureless)
        pictures.append((color * 255).round().clamp(0, 255).byte().cpu())
    pixels = torch.cat(pictures)
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


def _work(job: tuple[DatasetPlan, str, int, str]) -> None:
    plan, kind, shard, device = job
    tensors = render_shard(plan, kind, shard, device)
    with atomic_write(plan.path(kind, shard)) as draft:
        save_file(tensors, draft)


def _write_captions(plan: DatasetPlan) -> None:
    """Writes the plan's captions, or keeps a longer file that begins with them.

    Raises UserError when the folder's captions are of another plan: its shards count lines differently.
    """
    file = writable_folder(plan.out) / CAPTIONS
    captioned = [job for job in plan.jobs() if job[0] in CAPTIONED]
    lines = [line for job in captioned for line in plan.records(*job)[1]]
    text = "".join(line + "\n" for line in lines)
    there = file.read_text(encoding="utf-8") if file.exists() else ""
    if not (text.startswith(there) or there.startswith(text)):
        raise UserError(
            f"{plan.out} holds shards of another plan (number of images, seed or choice of pairs): "
            "choose another folder."
        )
    if len(text) > len(there):
        with atomic_write(file) as draft:
            draft.write_text(text, encoding="utf-8")


def write_dataset(plan: DatasetPlan, processes: int = 1, device: str = "cpu") -> Iterator[tuple[int, int]]:
    """Renders what is missing of the plan; yields (shards done, shards in all) as they come.

    On a CPU, `processes` single-threaded workers share the shards; on a GPU one process is enough.
    Raises UserError when nothing can be written in the folder or it holds shards of another plan.
    """
    _write_captions(plan)
    jobs = plan.jobs()
    missing = [(plan, kind, shard, device) for kind, shard in jobs if not plan.path(kind, shard).exists()]
    done = len(jobs) - len(missing)
    yield done, len(jobs)
    if processes == 1 or device != "cpu":
        for job in missing:
            _work(job)
            done += 1
            yield done, len(jobs)
        return
    with get_context("spawn").Pool(processes, single_thread) as pool:
        for _ in pool.imap_unordered(_work, missing):
            done += 1
            yield done, len(jobs)
