"""`dream3d` on pretended devices: every loss and field, resuming, meshing, every kind of checkpoint."""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from core.io.files.record import MadeBy
from core.models.image_model import ImageModel, ImageModelConfig
from core.models.super_resolution import SuperResolution, SuperResolutionConfig
from core.nn.unet import UNetConfig
from dream3d.cli import main
from dream3d.optimization import checkpoint
from dream3d.optimization.optimize import Optimization
from dream3d.options import ImageModelReference, ObjectOptions
from dream3d.text_to_3d import extract_object, load_model, start_optimization
from tests.pretended.device import PretendedDevice
from tests.pretrained import checkpoints

STAGE = {"size": 16, "samples": 12, "grid": 12, "guidance": 2.0}
OPTIONS = {
    "iterations": 4,
    "views": 2,
    "learning_rate": 0.2,
    "texture": 64,
    "faces": 300,
    "turn": 2,
    "stages": [STAGE | {"share": 0.5}, STAGE | {"share": 0.5, "size": 24, "grid": 16}],
}
BUFFER = {"size": 4, "refresh_every": 2, "views_per_step": 3, "pixel_stride": 2}
REGULARIZERS = {"orientation": 0.1, "smoothness": 0.1, "distortion": 0.1, "empty_space": 0.1, "entropy": 0.1}
NETWORK = UNetConfig(widths=(32,), blocks=(1,), attention=(True,))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an image model with random weights."""
    config = ImageModelConfig(size=16, network=NETWORK)
    torch.manual_seed(0)
    denoiser = config.denoiser()
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp("image")
    ImageModel(config, denoiser).save(folder)
    return folder


def optimization(device: str, model: Path, dtype: str | None = None, **options: object) -> Optimization:
    """Before its first iteration; of a model that knows the toybox's backdrops unless it has a dtype."""
    reference = ImageModelReference(str(model), dtype is None, dtype, (), offload=False)
    loaded = load_model(reference, torch.device(device)).model
    chosen = ObjectOptions.model_validate(OPTIONS | options)
    chosen = chosen.with_model_defaults(loaded.reads_attributes, loaded.first_stage is not None)
    return start_optimization(loaded, "a fox", chosen, seed=0, bundled=reference.bundled)


def losses(run: Optimization) -> list[dict[str, float]]:
    return [state.losses for state in run]


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("x0", {"weights": REGULARIZERS, "sampler": "unipc", "guidance_interval": (0.5, 5.0)}),
        ("sds", {"lighting": {"share": 1.0, "after": 0.0}}),
        ("sjc", {"field": "hash", "iterations": 1}),
        ("csd", {"lighting": {"share": 0.0, "after": 0.0}, "camera": "words"}),
        ("vsd", {"timesteps": "dreamtime"}),
        ("ism", {"rescale": 0.5}),
    ],
)
def test_every_loss_has_the_numbers_of_the_cpu(
    cuda: PretendedDevice, tiny: Path, loss: str, options: dict
) -> None:
    expected, ours = (losses(optimization(kind, tiny, loss=loss, **options)) for kind in ("cpu", "cuda"))
    assert ours == expected


def test_a_resumed_run_continues_with_its_targets(cuda: PretendedDevice, tiny: Path, tmp_path: Path) -> None:
    whole = losses(optimization("cuda", tiny, target_buffer=BUFFER))
    first = optimization("cuda", tiny, target_buffer=BUFFER)
    for _ in itertools.islice(first, 3):
        pass
    checkpoint.save(tmp_path / "state", first, {}, MadeBy("a fox", 0))
    second = optimization("cuda", tiny, target_buffer=BUFFER)
    checkpoint.load(tmp_path / "state", second)
    assert losses(second) == whole[3:]


def test_a_resumed_score_model_continues(cuda: PretendedDevice, tiny: Path, tmp_path: Path) -> None:
    whole = losses(optimization("cuda", tiny, loss="vsd"))
    first = optimization("cuda", tiny, loss="vsd")
    for _ in itertools.islice(first, 3):
        pass
    checkpoint.save(tmp_path / "state", first, {}, MadeBy("a fox", 0))
    second = optimization("cuda", tiny, loss="vsd")
    checkpoint.load(tmp_path / "state", second)
    assert losses(second) == whole[3:]


def test_views_painted_on_the_texture_are_those_of_the_cpu(cuda: PretendedDevice, tiny: Path) -> None:
    config = SuperResolutionConfig(size=64, widths=(8,), blocks=(1,))
    textures = []
    for kind in ("cpu", "cuda"):
        run = optimization(kind, tiny, texture_views=3)
        losses(run)
        enlarging = SuperResolution(config, config.denoiser().to(kind))  # untrained: bicubic enlargement
        textures.append(extract_object(run, enlarging, seed=0).mesh.texture)
    assert np.array_equal(*textures)
    assert (extract_object(run, None, seed=0).mesh.texture != textures[0]).any()


def test_mps_needs_no_float64(mps: PretendedDevice, tiny: Path) -> None:
    run = optimization("mps", tiny, weights=REGULARIZERS, target_buffer=BUFFER)
    assert all(torch.tensor(list(step.values())).isfinite().all() for step in losses(run))


def test_a_command_writes_a_mesh(
    cuda: PretendedDevice, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(OPTIONS | {"learning_rate": 0.01}))
    arguments = ["a fox", "--preset", "tiny.yaml", "--device", "cuda", "--model", str(tiny)]
    monkeypatch.setattr(sys, "argv", ["dream3d", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    record = json.loads((tmp_path / "a-fox.dream3d.json").read_text())
    assert record["device"].startswith("Pretended GPU") and (tmp_path / "a-fox.glb").stat().st_size > 0
    assert cuda.synchronized > 0  # before the clock was read


@pytest.mark.parametrize(
    ("kind", "loss"), [("stable_diffusion", "vsd"), ("sdxl", "sds"), ("deepfloyd", "x0")]
)
def test_checkpoints_in_bfloat16(cuda: PretendedDevice, kind: str, loss: str, tmp_path: Path) -> None:
    folder = getattr(checkpoints, kind)(tmp_path / "checkpoint")
    run = optimization("cuda", folder, "bfloat16", loss=loss)
    assert all(torch.tensor(list(step.values())).isfinite().all() for step in losses(run))
    trained = [value for name, value in run.state_dict().items() if ".down" in name or "exp_avg" in name]
    assert all(value.dtype == torch.float32 for value in trained)
    assert len(trained) > 10 or loss != "vsd"
