"""Super-resolution: crops equal entire images, one step is the prediction, known pictures come back."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from core.condition import no_condition
from core.diffusion.parameterization import Parameterization
from core.errors import UserError
from core.models.super_resolution import (
    SuperResolution,
    SuperResolutionConfig,
    augment,
    enlarge,
    with_low_resolution,
)

SMALL = SuperResolutionConfig(size=64, widths=(8, 16), blocks=(1, 1))


def random_model(config: SuperResolutionConfig = SMALL) -> SuperResolution:
    torch.manual_seed(0)
    denoiser = config.denoiser()
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return SuperResolution(config, denoiser)


def test_an_untrained_model_enlarges_in_one_step() -> None:
    model = SuperResolution(SMALL, SMALL.denoiser())
    images = torch.rand(5, 3, 16, 16) * 2 - 1
    expected = F.interpolate(images, scale_factor=4, mode="bicubic").clamp(-1, 1)
    torch.testing.assert_close(model.sample(images, range(5)), expected)


def test_a_crop_gives_the_pixels_of_the_entire_image() -> None:
    model = random_model()
    low, x = torch.rand(1, 3, 32, 32) * 2 - 1, torch.randn(1, 3, 128, 128)
    t, level = torch.tensor([500]), torch.tensor([0.2])
    with torch.no_grad():
        entire = model.denoiser.network(x, t, low, level)
        crop = model.denoiser.network(x[..., 32:, 32:], t, low[..., 8:, 8:], level)
    # Of 96 pixels, the outermost see the crop's border instead of the picture.
    torch.testing.assert_close(crop[..., 60:, 60:], entire[..., 92:, 92:], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(crop[..., :4, :4], entire[..., 32:36, 32:36], atol=1e-3)


def test_each_seed_has_its_own_noise_whatever_is_drawn_with_it() -> None:
    model = random_model()
    images = (torch.rand(1, 3, 16, 16) * 2 - 1).expand(6, -1, -1, -1)
    together = model.sample(images, [3, 4, 5, 6, 7, 3], steps=2, level=0.1)
    torch.testing.assert_close(together[5], together[0])
    assert not torch.allclose(together[1], together[0], atol=1e-3)
    alone = model.sample(images[:1], [4], steps=2, level=0.1)
    torch.testing.assert_close(alone[0], together[1], atol=1e-5, rtol=1e-5)


def test_augmentation_keeps_the_variance_and_is_the_identity_at_level_zero() -> None:
    torch.manual_seed(1)
    low, noise = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64)
    mixed = augment(low, torch.tensor([0.0, 0.4]), noise)
    torch.testing.assert_close(mixed[0], low[0])
    assert mixed[1].std() == pytest.approx(1.0, abs=0.02)
    assert torch.corrcoef(torch.stack([mixed[1].flatten(), noise[1].flatten()]))[0, 1] == pytest.approx(
        0.4, abs=0.02
    )


@pytest.mark.parametrize("parameterization", [Parameterization.X0, Parameterization.V])
def test_one_denoiser_whatever_the_parameterization(parameterization: Parameterization) -> None:
    config = SMALL.model_copy(update={"parameterization": parameterization})
    low, x = torch.rand(2, 3, 16, 16) * 2 - 1, torch.randn(2, 3, 64, 64)
    bound = with_low_resolution(config.denoiser(), low, torch.zeros(2))
    t = torch.tensor([100, 900])
    prediction = bound(x, t, no_condition(2, "cpu"))
    alpha, sigma = bound.schedule.scales(t, x)
    torch.testing.assert_close(alpha * prediction.x0 + sigma * prediction.eps, x, atol=1e-4, rtol=1e-4)
    # A new network returns zeros: the enlarged picture for x0, and x0 = alpha x for v.
    expected = enlarge(low, 4) if parameterization is Parameterization.X0 else alpha * x
    torch.testing.assert_close(prediction.x0, expected, atol=1e-5, rtol=1e-5)


def test_it_is_stored_and_loaded(tmp_path: Path) -> None:
    model = random_model()
    model.save(tmp_path, {"samples": 3})
    loaded = SuperResolution.load(tmp_path)
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(loaded.sample(images, [0]), model.sample(images, [0]), atol=2e-3, rtol=2e-3)
    with pytest.raises(UserError, match="There is no model"):
        SuperResolution.load(tmp_path / "nowhere")


def test_impossible_requests_are_refused() -> None:
    model = SuperResolution(SMALL, SMALL.denoiser())
    with pytest.raises(UserError, match="multiples of 2 pixels, not 15x16"):
        model.sample(torch.zeros(1, 3, 16, 15), [0])
    with pytest.raises(UserError, match=r"from 0 to 0\.5, not 0\.7"):
        model.sample(torch.zeros(1, 3, 16, 16), [0], level=0.7)
    with pytest.raises(ValueError, match="multiple of 8"):
        SuperResolutionConfig(size=100, widths=(8, 16), blocks=(1, 1))
