"""Stored latents: returned for their request only, and refused where they are damaged."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import UserError
from core.io.files.record import MadeBy
from video.sampling.latent_cache import LatentCache

REQUEST = {"prompt": "a fox", "dtype": "float16"}
MADE = MadeBy("a fox", 0)


def test_latents_return_with_the_request_they_were_sampled_for(tmp_path: Path) -> None:
    file, latents = tmp_path / "fox.safetensors", torch.randn(1, 4, 3, 2, 2)
    assert LatentCache(file, REQUEST, MADE).load() is None
    LatentCache(file, REQUEST, MADE).save(latents)
    found = LatentCache(file, REQUEST | {"dtype": "float32"}, MADE, {"dtype"}).load()
    assert found and torch.equal(found[0], latents) and found[1] == REQUEST
    with pytest.raises(UserError, match="were made with another prompt"):
        LatentCache(file, REQUEST | {"prompt": "a panda"}, MADE).load()


@pytest.mark.parametrize("request_text", ["[]", "3", "null", "{", "[" * 100_000])
def test_a_request_that_is_no_object_is_refused(tmp_path: Path, request_text: str) -> None:
    metadata = {"request": request_text, "shape": "[1, 2]"}
    save_file({"latents": torch.zeros(1, 2)}, tmp_path / "fox.safetensors", metadata)
    with pytest.raises(UserError, match="are damaged: sample again, without --resume"):
        LatentCache(tmp_path / "fox.safetensors", REQUEST, MADE).load()


@pytest.mark.parametrize("latents", [torch.zeros(1, 3), torch.tensor([[1.0, float("nan")]])])
def test_other_lengths_and_numbers_that_are_not_finite_are_refused(
    tmp_path: Path, latents: torch.Tensor
) -> None:
    metadata = {"request": json.dumps(REQUEST), "shape": "[1, 2]"}
    save_file({"latents": latents}, tmp_path / "fox.safetensors", metadata)
    with pytest.raises(UserError, match="are damaged: sample again, without --resume"):
        LatentCache(tmp_path / "fox.safetensors", REQUEST, MADE).load()
