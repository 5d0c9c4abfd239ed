"""Peak memory of a GPU against the estimate that is printed before weights are loaded."""

from pathlib import Path

import pytest
import torch

from tests.pretrained.pipeline_checkpoints import VIDEO
from video.options import ClipOptions, ClipRequest
from video.pipelines.checkpoint_reference import checkpoint_reference
from video.record import CheckpointRecord

FRAMES, WIDTH = {"wan": 33, "ltx": 33, "cogvideox": 33}, 256


@pytest.mark.parametrize("name", FRAMES)
def test_the_estimate_holds(cuda: torch.device, tmp_path: Path, name: str) -> None:
    """Within a factor of two: the workspace of cuDNN is not estimated, and tiny networks have little else."""
    reference = checkpoint_reference(str(VIDEO[name](tmp_path)))
    options = ClipOptions(
        steps=2,
        guidance=3.0,
        frames=FRAMES[name],
        width=WIDTH,
        height=WIDTH,
        dtype="bfloat16",
        fps=8,
        scale=1,
    )
    model = reference.open(options, cuda, force=False)
    assert isinstance(model.record, CheckpointRecord) and model.record.expected
    torch.cuda.reset_peak_memory_stats()
    model.sample([ClipRequest("a fox", 0, options)], lambda state: None)
    peak = torch.cuda.max_memory_allocated()
    assert 0.5 < peak / model.record.expected.memory < 2
