"""Numbers of a GPU's kernels against those of the CPU."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.bundled import BUNDLED
from core.models.image_model import ImageModel
from core.nn import attention
from dream3d.nerf.cameras import orbit_cameras
from dream3d.nerf.radiance_fields import HashField, RadianceField, VoxelField
from dream3d.nerf.volume_rendering import render
from tests.pretrained.pipeline_checkpoints import VIDEO
from video.options import ClipOptions, ClipRequest
from video.pipelines.checkpoint_reference import checkpoint_reference
from video.video_model import VideoModel

PROMPT = ["a panda on a swing"]


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """Relative to the largest value."""
    ours, theirs = ours.detach().cpu().float(), theirs.detach().cpu().float()
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("model", [ImageModel, VideoModel])
def test_samples_are_those_of_the_cpu(cuda: torch.device, model: type[ImageModel] | type[VideoModel]) -> None:
    """A seed gives the same noise on every device."""
    folder = BUNDLED / ("image" if model is ImageModel else "video")
    frames = {} if model is ImageModel else {"frames": 4}
    clips = [model.load(folder, device).sample(PROMPT, steps=4, **frames) for device in ("cpu", cuda)]
    assert largest_difference(clips[1], clips[0]) < 0.02


@pytest.mark.parametrize("offload", [None, "model"])
def test_weights_in_int8(cuda: torch.device, tmp_path: Path, offload: str | None) -> None:
    pytest.importorskip("torchao")
    reference = checkpoint_reference(str(VIDEO["wan"](tmp_path)))
    options = ClipOptions(
        steps=2, guidance=3.0, frames=5, width=32, height=32, dtype="float32", fps=8, scale=1, storage="int8"
    )
    clips: list[Tensor] = []
    for device, changed in ((torch.device("cpu"), options), (cuda, options.with_changes(offload=offload))):
        model = reference.open(changed, device, force=True)
        clips.append(model.sample([ClipRequest("a fox", 3, changed)], lambda state: None))
    assert largest_difference(clips[1], clips[0]) < 1e-3


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("masked", [False, True])
def test_attention(cuda: torch.device, dtype: torch.dtype, tolerance: float, masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 6, 4, 77, 64, generator=generator)
    mask = torch.rand(6, 77, generator=generator) > 0.3
    mask[:, 0] = True
    given = {"mask": mask, "bias": torch.randn(4, 77, 77, generator=generator)} if masked else {}
    expected = attention.scaled_dot_product(q, k, v, **given)
    moved = {name: value.to(cuda) for name, value in given.items()}
    ours = attention.scaled_dot_product(*(each.to(cuda, dtype) for each in (q, k, v)), **moved)
    assert largest_difference(ours, expected) < tolerance


def test_attention_of_more_sequences_than_the_kernels_take(cuda: torch.device) -> None:
    q, k, v = torch.randn(3, attention.LARGEST_BATCH + 2, 1, 4, 8, device=cuda, dtype=torch.float16)
    ours = attention.scaled_dot_product(q, k, v)
    expected = attention.scaled_dot_product(q[-9:], k[-9:], v[-9:])
    torch.testing.assert_close(ours[-9:], expected)


def test_xformers_is_pytorchs_attention(cuda: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    if attention.memory_efficient_attention is None:
        pytest.skip("xFormers is not installed, or not for this CUDA")
    q, k, v = torch.randn(3, 6, 4, 77, 64, device=cuda, dtype=torch.float16)
    mask = torch.rand(6, 77, device=cuda) > 0.3
    mask[:, 0] = True
    theirs = attention.scaled_dot_product(q, k, v, mask=mask)
    monkeypatch.setattr(attention, "memory_efficient_attention", None)
    assert largest_difference(theirs, attention.scaled_dot_product(q, k, v, mask=mask)) < 2e-3


@pytest.mark.parametrize("make", [VoxelField, HashField])
def test_renders_and_their_gradients(cuda: torch.device, make: type[RadianceField]) -> None:
    torch.manual_seed(0)
    fields = [make().to("cpu"), make().to(cuda)]
    fields[1].load_state_dict(fields[0].state_dict())
    images: list[Tensor] = []
    gradients: list[Tensor] = []
    for field in fields:
        background = torch.ones(3, device=field.low.device)
        images.append(render(field, orbit_cameras(2), 32, 48, background).color)
        images[-1].square().mean().backward()
        gradients.append(next(field.parameters()).grad)
    assert largest_difference(images[1], images[0]) < 1e-4
    assert largest_difference(gradients[1], gradients[0]) < 1e-3
