"""What a seed repeats on a GPU: clips to the bit, objects up to rounding (docs/reproducibility.md)."""

import itertools
from pathlib import Path

import torch

from core.bundled import BUNDLED
from core.models.image_model import ImageModel
from dream3d.optimization import checkpoint
from dream3d.optimization.optimize import Optimization
from dream3d.options import ObjectOptions
from dream3d.text_to_3d import start_optimization
from video.video_model import VideoModel

STAGE = {"size": 32, "samples": 48, "grid": 32, "guidance": 2.0}
OPTIONS = {
    "iterations": 16,
    "learning_rate": 0.1,
    "stages": [STAGE | {"share": 0.5}, STAGE | {"share": 0.5, "grid": 48}],
    "target_buffer": {"size": 8, "refresh_every": 4, "views_per_step": 4, "pixel_stride": 2},
}


def test_a_clip_has_the_same_bytes_again(cuda: torch.device) -> None:
    model = VideoModel.load(BUNDLED / "video", cuda)
    first, second = (model.sample(["a panda on a swing"], steps=4, frames=8, seeds=[0]) for _ in range(2))
    assert torch.equal(first, second)


def optimization(model: ImageModel) -> Optimization:
    options = ObjectOptions.model_validate(OPTIONS).with_model_defaults(True, True)
    return start_optimization(model, "a fox", options, seed=0, bundled=True)


def test_an_object_repeats_and_resumes_up_to_rounding(cuda: torch.device, tmp_path: Path) -> None:
    model = ImageModel.load(BUNDLED / "image", cuda)
    first, second, third = (optimization(model) for _ in range(3))
    losses = [[state.losses["distillation"] for state in run] for run in (first, second)]
    for _ in itertools.islice(third, 6):
        pass
    checkpoint.save(tmp_path / "state", third, {})
    resumed = optimization(model)
    checkpoint.load(tmp_path / "state", resumed)
    last = [state.losses["distillation"] for state in resumed]
    torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=0.02, atol=1e-4)
    torch.testing.assert_close(torch.tensor(losses[0][6:]), torch.tensor(last), rtol=0.02, atol=1e-4)
