"""What was prepared once is not decoded, encoded or embedded again; what has changed is, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from core.data import shards as writing
from core.data.decode import PrepareOptions
from core.data.folder import Example, collect
from core.data.prepare import Preparation, prepare
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.training.data import CAPTIONS, Shards
from core.training.latents import encode_shards

SMALL = PrepareOptions(size=8, fps=8, frames=4)


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(256, size=(8, 8, 3), dtype=np.uint8))


def add_clip(folder: Path, name: str, seed: int, frames: int = 6) -> None:
    pictures = [noise(seed + frame) for frame in range(frames)]
    pictures[0].save(
        folder / f"{name}.webp", save_all=True, append_images=pictures[1:], duration=125, lossless=True
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven pictures, of which three are a shard, and two clips."""
    monkeypatch.setitem(writing.PER_SHARD, "images", 3)
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(1, 8):
        noise(number).save(folder / f"{number} picture.png")
    add_clip(folder, "8 clip", 100)
    add_clip(folder, "9 clip", 200)
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded."""
    names: list[str] = []
    real = writing.decoded

    def record(example: Example, *arguments: object) -> object:
        names.append(example.path.name)
        return real(example, *arguments)  # pyright: ignore

    monkeypatch.setattr(writing, "decoded", record)
    return names


class Counted(Autoencoder):
    """Counts the images that it encodes."""

    count = 0

    def to_latents(self, images: Tensor) -> Tensor:
        self.count += len(images)
        return super().to_latents(images)


def pixels_of(out: Path) -> dict[str, Tensor]:
    """First captions of the pictures, and their pixels."""
    table, lines = Shards(out, "images"), (out / CAPTIONS).read_text().splitlines()
    index = torch.arange(len(table))
    return {
        lines[line]: pixels
        for line, pixels in zip(table.rows(index)["caption"].tolist(), table.pixels(index), strict=True)
    }


def test_only_files_that_are_new_are_decoded(folder: Path, tmp_path: Path, decoded: list[str]) -> None:
    out = tmp_path / "out"
    first = prepare(collect(folder), out, SMALL)
    assert first.decoded == len(decoded) == 9 and len(list(out.glob("images-*"))) == 3
    written = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = prepare(collect(folder), out, SMALL)
    assert (again.images, again.clips, again.windows, again.decoded) == (7, 2, 4, 0) and len(decoded) == 9
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == written

    def check(change: Callable[[], object], expected: list[str]) -> Preparation:
        """After a change these files are decoded, and the shards hold what those of a new folder do."""
        change()
        decoded.clear()
        result = prepare(collect(folder), out, SMALL)
        assert decoded == expected and result.decoded == len(expected)
        fresh = tmp_path / f"fresh {len(list(tmp_path.iterdir()))}"
        prepare(collect(folder), fresh, SMALL)
        ours, theirs = pixels_of(out), pixels_of(fresh)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in fresh.iterdir())
        return result

    check(lambda: noise(50).save(folder / "0 first of all.png"), ["0 first of all.png"])  # all move on
    check(lambda: noise(51).save(folder / "4 picture.png"), ["4 picture.png"])
    check((folder / "2 picture.png").unlink, [])
    check(lambda: (folder / "5 picture.txt").write_text("another caption"), [])
    check(lambda: (folder / "broken.mp4").write_text("nothing"), ["broken.mp4"])
    assert check(lambda: None, []).problems[0].path.endswith("broken.mp4")  # known to be broken
    check(lambda: add_clip(folder, "8 clip", 300, frames=4), ["8 clip.webp"])
    decoded.clear()
    prepare(collect(folder), out, SMALL.model_copy(update={"fit": "pad"}))
    assert len(decoded) == 10  # other options make all of it again


def test_a_preparation_that_was_interrupted_goes_on(
    folder: Path, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while the second of three shards is written, after a file before all others was added."""
    out, real, calls = tmp_path / "out", writing.write_tensors, []
    prepare(collect(folder), out, SMALL)
    before = pixels_of(out)
    noise(50).save(folder / "0 first of all.png")

    def interrupt(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*arguments)  # pyright: ignore

    monkeypatch.setattr(writing, "write_tensors", interrupt)
    for _ in range(2):
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            prepare(collect(folder), out, SMALL)
        decoded.clear()
        add_clip(folder, "0 clip", 400)
        noise(51).save(folder / "00 even before.png")
    monkeypatch.setattr(writing, "write_tensors", real)
    prepare(collect(folder), out, SMALL)
    assert set(decoded) <= {"0 clip.webp", "00 even before.png"}
    after = pixels_of(out)
    assert all(torch.equal(after[name], pixels) for name, pixels in before.items() if name in after)
    assert not list(out.glob("earlier-*"))


def test_latents_are_encoded_once_for_each_picture(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = AutoencoderConfig(size=8, latent_channels=4, widths=(8, 8))
    torch.manual_seed(0)
    stage = Counted(config).eval()

    def encode() -> int:
        """Number of images that are encoded after preparing the folder."""
        prepare(collect(folder), out, SMALL)
        stage.count = 0
        for kind in ("images", "clips"):
            encode_shards(out, kind, stage)
        return stage.count

    assert encode() == 7 + 4 * 4
    assert encode() == 0
    noise(50).save(folder / "0 first of all.png")  # the others move from shard to shard
    assert encode() == 1
    (folder / "5 picture.txt").write_text("another caption")
    assert encode() == 0
    add_clip(folder, "8 clip", 300, frames=4)
    assert encode() == 4
    for kind in ("images", "clips"):
        table, latents = Shards(out, kind), Shards(out, kind, latents=stage.fingerprint)
        index = torch.arange(len(table))
        frames = torch.arange(4).expand(len(table), 4) if table.frames else None
        pixels, stored = table.pixels(index, frames), latents.pixels(index, frames)
        if frames is not None:
            pixels, stored = (each.transpose(1, 2).flatten(0, 1) for each in (pixels, stored))
        with torch.no_grad():
            torch.testing.assert_close(stage.to_latents(pixels).half().float(), stored, rtol=2e-3, atol=2e-3)
