"""What the start of a command does not do: random initializations, and imports for later."""

from pathlib import Path

import torch
from torch import nn

from core.bundled import BUNDLED, BUNDLED_VIDEO
from core.io.weights import NoInitialization, load_weights
from core.models.super_resolution import SuperResolution
from core.models.text_encoder import TextEncoder
from video.video_model import VideoModel


def test_loading_the_bundled_models_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    models = [VideoModel.load(BUNDLED_VIDEO), SuperResolution.load(BUNDLED / "super_resolution")]
    assert TextEncoder().bert
    assert torch.equal(torch.get_rng_state(), before)
    for model in models:
        for name, parameter in model.denoiser.named_parameters():
            assert parameter.isfinite().all(), name


def test_networks_are_initialized_outside_of_the_context() -> None:
    torch.manual_seed(0)
    expected = nn.Linear(3, 3)
    torch.manual_seed(0)
    with NoInitialization():
        empty = nn.Conv2d(3, 3, 3)
    assert empty.weight.shape == (3, 3, 3, 3)
    assert torch.equal(nn.Linear(3, 3).weight, expected.weight)


def test_assigned_weights_are_the_tensors_themselves() -> None:
    layer = nn.Linear(2, 2).requires_grad_(False)
    tensors = {"weight": torch.eye(2), "bias": torch.ones(2)}
    load_weights(layer, tensors, Path())
    assert layer.weight.data_ptr() != tensors["weight"].data_ptr()
    load_weights(layer, tensors, Path(), assign=True)
    assert layer.weight.data_ptr() == tensors["weight"].data_ptr() and not layer.weight.requires_grad
    assert torch.equal(layer(torch.zeros(1, 2)), torch.ones(1, 2))
