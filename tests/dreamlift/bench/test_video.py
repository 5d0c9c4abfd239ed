"""`dreamlift bench video` at toy size."""

import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dreamlift.bench.peers import clip_networks
from dreamlift.bench.peers.imports import import_part
from dreamlift.bench.plan import Settings
from dreamlift.bench.suites import video

CPU = torch.device("cpu")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(CPU, tmp_path, repeats=2, quick=True)


def test_layers_share_the_arithmetic_of_the_call(settings: Settings) -> None:
    layers, operations, *_ = [row.measure(settings) for row in video.rows()[:2]]
    whole = sum(part.gflop for part in layers.parts.values())
    assert whole == pytest.approx(sum(part.gflop for part in operations.parts.values()), rel=2e-3)
    assert 0.02 < layers.parts["temporal layers"].gflop / whole < 0.3
    assert 0 < layers.share("temporal layers") < 0.7
    assert operations.parts["convolution"].gflop > operations.parts["attention"].gflop > 0


def test_arithmetic_grows_with_the_frames(settings: Settings) -> None:
    cost = video.rows()[2].measure(settings)
    first, second = (point.work.gflop for point in cost.points if point.work)
    assert second == pytest.approx(2 * first, rel=0.05)


def test_default_clip_has_its_parts_and_its_files(settings: Settings) -> None:
    parts = next(row for row in video.rows() if row.title == "default clip by parts").measure(settings)
    assert all(len(part.seconds) == 2 for part in parts.parts.values())
    for name in ("text", "network", "first stage", "super-resolution", "writing"):
        assert min(parts.parts[name].seconds) > 0
    assert (settings.folder / "clip.mp4").is_file()


def test_networks_of_peers_are_compared_per_arithmetic_or_reported_missing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    builders = {"small": lambda: lambda channels: Small(channels), "absent": lambda: None}
    monkeypatch.setattr(video, "BUILDERS", builders)
    row = next(row for row in video.rows() if row.title == "networks of the peers on our latents")
    measured = row.measure(settings)
    assert [*measured.sides] == ["ours", "small"] and measured.missing == ["absent"]
    expected = 2 * 2 * 16 * 16 * 16 * 4 * 16 * 27  # clips, frames... of a 3x3x3 convolution with 16 channels
    assert measured.work["small"].gflop == pytest.approx(expected / 1e9, rel=1e-3)


class Small(torch.nn.Conv3d):
    """A convolution as a network of clips."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Like x."""
        return super().forward(x)


def test_a_part_is_imported_without_its_package_and_with_stand_ins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "a_peer"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('needs much')", encoding="utf-8")
    (package / "part.py").write_text("from much.more import this\nvalue = this + 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert import_part("a_peer", "part") is None
    part = import_part("a_peer", "part", {"much": {}, "much.more": {"this": 41}})
    assert part is not None and part.value == 42
    assert "much" not in sys.modules and "a_peer" not in sys.modules
    assert import_part("no_such_package", "part") is None


@pytest.mark.parametrize("name", clip_networks.BUILDERS)
def test_networks_of_the_peers_take_clips_where_they_are_installed(name: str) -> None:
    build = clip_networks.BUILDERS[name]()
    if build is None:
        pytest.skip(f"{name} is not installed")
    call = clip_networks.clip_call(build(16), (1, 16, 2, 16, 16), CPU)
    with FlopCounterMode(display=False) as counter:
        out = call()
    assert isinstance(out, torch.Tensor) and out.shape == (1, 16, 2, 16, 16)
    assert counter.get_total_flops() > 1e9
