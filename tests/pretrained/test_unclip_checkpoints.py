"""Karlo and Kandinsky 2.2 against diffusers' own pipelines, on tiny random weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import UserError
from core.pretrained.hub import INDEX
from core.pretrained.image_model import load_image_model
from core.pretrained.unclip.unclip_checkpoint import UnclipCheckpoint, load_unclip_checkpoint
from dreamlift.text_to_image import TextToImage
from tests.pretrained import unclip_checkpoints

PROMPTS = ["a fox", "a panda on a swing"]


@pytest.fixture(scope="module", params=["karlo", "kandinsky"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A pipeline of diffusers, and its folder in the layout that is published."""
    pipeline = getattr(unclip_checkpoints, request.param)()
    pipeline.set_progress_bar_config(disable=True)
    folder = tmp_path_factory.mktemp(request.param)
    pipeline.save_pretrained(folder)
    index = json.loads((folder / INDEX).read_text())
    if "text_proj" in index:  # as Karlo's index names it
        index["text_proj"] = ["unclip", "UnCLIPTextProjModel"]
        (folder / INDEX).write_text(json.dumps(index))
    return pipeline, folder


def of_diffusers(pipeline: Any, steps: int, guidance: float, **options: Any) -> torch.Tensor:
    """The images (2,3,H,W) in [-1, 1] of the pipeline itself."""
    if type(pipeline).__name__ == "UnCLIPPipeline":
        options |= {"decoder_num_inference_steps": steps, "decoder_guidance_scale": guidance}
    else:
        options |= {"num_inference_steps": steps, "guidance_scale": guidance, "height": 16, "width": 16}
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    images = pipeline(prompt=PROMPTS, generator=generators, output_type="np", **options).images
    return torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1


def test_images_are_those_of_diffusers(saved: tuple[Any, Path]) -> None:
    pipeline, folder = saved
    model = load_unclip_checkpoint(folder)
    drawn = model.sample(PROMPTS, steps=3, guidance=2.0, seeds=[3, 4])
    assert drawn.std() > 0.01
    torch.testing.assert_close(drawn, of_diffusers(pipeline, 3, 2.0), atol=1e-4, rtol=1e-4)


def test_the_command_line_finds_it_and_names_what_it_cannot(saved: tuple[Any, Path]) -> None:
    _, folder = saved
    draws = TextToImage.from_pretrained(folder, device="cpu")
    assert isinstance(draws.model, UnclipCheckpoint)
    picture = draws("a fox", seed=3, num_inference_steps=2)
    assert picture.image.size[0] == picture.image.size[1] >= 16
    with pytest.raises(UserError, match="schedulers of its own: leave out a sampler"):
        draws("a fox", seed=3, sampler="ddim")
    with pytest.raises(UserError, match="takes no LoRA weights"):
        TextToImage.from_pretrained(folder, device="cpu", lora=["x"])
    with pytest.raises(UserError, match="which is not supported"):
        load_image_model(folder)  # of clips and of objects
    if draws.model.name == "UnCLIPPipeline":
        with pytest.raises(UserError, match="takes no negative prompt"):
            draws("a fox", seed=3, negative_prompt="snow")


def test_a_decoder_finds_the_prior_by_its_name(tmp_path: Path) -> None:
    pipeline = unclip_checkpoints.kandinsky()
    pipeline.set_progress_bar_config(disable=True)
    pipeline.prior_pipe.save_pretrained(tmp_path / "k-prior")
    pipeline.decoder_pipe.save_pretrained(tmp_path / "k-decoder")
    drawn = load_unclip_checkpoint(tmp_path / "k-decoder").sample(
        PROMPTS[:1], steps=2, guidance=2.0, seeds=[3], negative="snow"
    )
    options = {"num_inference_steps": 2, "guidance_scale": 2.0, "height": 16, "width": 16}
    generator = torch.Generator().manual_seed(3)
    expected = pipeline(PROMPTS[0], "snow", generator=generator, output_type="np", **options).images
    torch.testing.assert_close(drawn.permute(0, 2, 3, 1), torch.from_numpy(expected) * 2 - 1)
    (tmp_path / "k-decoder").rename(tmp_path / "other")
    with pytest.raises(UserError, match="without its prior"):
        load_unclip_checkpoint(tmp_path / "other")
