"""`dreamlift bench gpu` on a GPU, at toy size: every side runs, and eager ours and diffusers agree."""

from pathlib import Path

import pytest
import torch

from dreamlift.bench.plan import Settings
from dreamlift.bench.suites import gpu


def test_every_side_runs_and_has_the_same_result(cuda: torch.device, tmp_path: Path) -> None:
    settings = Settings(cuda, tmp_path, repeats=1, quick=True)
    for row in gpu.rows():
        sides = row.measure(settings).sides
        assert all(side.seconds[0] > 0 and side.peak_gb for side in sides.values())
        assert sides["ours"].output == pytest.approx(sides["diffusers"].output, rel=0.05)  # bfloat16
