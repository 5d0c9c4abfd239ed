"""Checkpoints whose numbers are not finite: no file is written, and sampled latents are kept."""

import shutil
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import UserError
from core.pretrained.image_model import load_image_model
from tests.pretrained.conftest import GenVideo
from video.record import RunRecord

SIZES = {"wan": (32, 5), "ltx": (64, 9), "modelscope": (32, 3)}
NETWORKS = {"wan": "transformer", "ltx": "transformer", "modelscope": "unet"}


def with_nan(folder: Path, part: str, target: Path) -> Path:
    """A copy of a checkpoint in which biases of a part are not numbers."""
    shutil.copytree(folder, target)
    (file,) = (target / part).glob("*.safetensors")
    tensors = load_file(file)
    for bias in (tensor for name, tensor in tensors.items() if name.endswith("bias")):
        bias[0] = float("nan")
    save_file(tensors, file, {"format": "pt"})
    return target


def arguments(name: str, model: Path) -> list[object]:
    width, frames = SIZES[name]
    words = ["a fox", "--model", model, "--steps", 2, "--frames", frames, "--width", width, "--height", 32]
    return [*words, "--device", "cpu", "--out", "fox.mp4", "--no-tiling", "--force"]


@pytest.mark.parametrize("name", SIZES)
def test_a_network_with_nan_stops_at_its_first_step(
    name: str, video_folder: Callable[[str], Path], tmp_path: Path, gen_video: GenVideo
) -> None:
    broken = with_nan(video_folder(name), NETWORKS[name], tmp_path / "broken")
    code, printed = gen_video(*arguments(name, broken))
    assert code == 2
    assert "gen-video: The sample is not finite after step 1 of 2: its weights are broken" in printed
    assert not list(tmp_path.glob("fox*"))


@pytest.mark.parametrize("name", SIZES)
def test_a_decoder_with_nan_writes_no_clip_and_keeps_the_latents(
    name: str, video_folder: Callable[[str], Path], tmp_path: Path, gen_video: GenVideo
) -> None:
    broken = with_nan(video_folder(name), "vae", tmp_path / "broken")
    code, printed = gen_video(*arguments(name, broken), "--no-preview")
    assert code == 2 and "The autoencoder's output is not finite: " in printed
    assert "The sampled latents are in fox.latents.safetensors: --resume decodes them." in printed
    assert [path.name for path in tmp_path.glob("fox*")] == ["fox.latents.safetensors"]


def test_the_latents_can_be_decoded_in_another_dtype(
    video_folder: Callable[[str], Path],
    tmp_path: Path,
    gen_video: GenVideo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = arguments("modelscope", video_folder("modelscope"))
    with monkeypatch.context() as broken:
        overflow = lambda self, x, **_: (torch.full((len(x), 3, 32, 32), float("inf")),)  # noqa: E731
        broken.setattr(diffusers.AutoencoderKL, "decode", overflow)
        broken.setattr(
            diffusers.TextToVideoSDPipeline, "decode_latents", lambda self, x: overflow(self, x)[0]
        )
        assert gen_video(*request, "--dtype", "bfloat16")[0] == 2
    code, printed = gen_video(*request, "--dtype", "float32", "--resume")
    assert code == 0, printed
    record = RunRecord.model_validate_json((tmp_path / "fox.gen-video.json").read_text())
    assert getattr(record.model, "dtype", None) == "bfloat16, decoded in float32"
    assert not (tmp_path / "fox.latents.safetensors").exists()
    code, printed = gen_video(*request, "--resume")
    assert code == 2 and "There is nothing to resume: no fox.latents.safetensors." in printed


def test_an_image_checkpoint_with_nan_in_its_decoder_is_refused(sd_eps: Path, tmp_path: Path) -> None:
    model = load_image_model(with_nan(sd_eps, "vae", tmp_path / "broken"))
    with pytest.raises(UserError, match="The first stage's output is not finite"):
        model.sample(["a fox"], steps=1)
