"""Make-A-Video's regime: motion from clips without captions, around image layers that stay as they are."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open

from core.training import checkpoint
from dreamlift.commands.training import train

TRAINING = {"batch_size": 2, "compile": False, "log_steps": 1, "warmup_steps": 0, "decay": 0.0}
NETWORK = {"patch": 2, "widths": [32], "blocks": [1], "attention": [True]}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The same three clips in two folders, with other captions in each."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng, folders = np.random.default_rng(0), [tmp_path / "one", tmp_path / "two"]
    for number in range(3):
        frames = [Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)) for _ in range(16)]
        for folder, caption in zip(folders, ("a red fox jumps", "rain"), strict=True):
            folder.mkdir(exist_ok=True)
            path = folder / f"{number}.webp"
            frames[0].save(path, save_all=True, append_images=frames[1:], duration=125, lossless=True)
            path.with_suffix(".txt").write_text(f"{caption} {number}")
    return folders


def preset(path: Path, name: str | None = None, **values: object) -> str:
    """A preset with small training; name: of a preset that it changes."""
    known = yaml.safe_load(Path(f"configs/{name}.yaml").read_text()) if name else {}
    path.write_text(yaml.safe_dump(known | {"training": TRAINING} | values))
    return str(path)


@pytest.fixture
def image_run(folders: list[Path], tmp_path: Path) -> Path:
    tiny = preset(tmp_path / "image.yaml", model={"size": 8, "network": NETWORK}, clip_frames=True)
    train.image(folders[0], tmp_path / "image", preset=tiny, steps=2)
    return tmp_path / "image"


def test_clips_train_the_temporal_layers_alone_whatever_their_captions(
    folders: list[Path], image_run: Path, tmp_path: Path
) -> None:
    tiny = preset(tmp_path / "video.yaml", "make-a-video")
    before = checkpoint.read_ema(image_run)
    for folder in folders:
        run = tmp_path / f"run {folder.name}"
        train.video(folder, run, image_run, preset=tiny, steps=2)
        train.video(folder, run, steps=3, resume=True)
        with safe_open(run / checkpoint.FILE, "pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for prefix in (checkpoint.NETWORK, checkpoint.EMA):
            for name, value in before.items():
                assert torch.equal(stored[f"{prefix}image.{name}"], value), name
        optimized = {name for name in stored if name.startswith(checkpoint.OPTIMIZER)}
        assert optimized and not any(name.startswith(f"{checkpoint.OPTIMIZER}image.") for name in optimized)
        expand = [value for name, value in stored.items() if "network/temporal" in name and "expand" in name]
        assert any(value.any() for value in expand)  # they begin at zero
    one, two = (checkpoint.read_ema(tmp_path / f"run {folder.name}") for folder in folders)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_captions_matter_to_every_other_regime(folders: list[Path], image_run: Path, tmp_path: Path) -> None:
    """The check above could not fail if captions never reached the network."""
    tiny = preset(tmp_path / "video.yaml", "joint-video")
    weights = []
    for folder in folders:
        train.video(folder, tmp_path / folder.name / "run", image_run, preset=tiny, steps=2)
        weights.append(checkpoint.read_ema(tmp_path / folder.name / "run"))
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
