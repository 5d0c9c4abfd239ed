import pytest
import torch
from torch import nn

from core.attributes import CAMERA, WIDTH, encode_attributes
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from dream3d.optimization.view_conditioning import VIEW_WORDS, ViewPerpNeg, ViewTexts, camera_condition

AZIMUTHS = torch.tensor([0.0, 45.0, 90.0, -90.0, 135.0, 180.0, 405.0])


def text(batch, *values):
    tokens = torch.tensor(values, dtype=torch.float32).view(batch, 1, 1).expand(batch, 2, 3)
    return Condition(tokens, torch.ones(batch, 2, dtype=torch.bool), torch.zeros(batch, WIDTH))


TEXTS = ViewTexts(text(3, 1.0, 10.0, 100.0))


def test_conditions_have_the_camera_and_no_shadow():
    azimuth, elevation = torch.tensor([0.0, 90.0]), torch.tensor([10.0, -5.0])
    condition = camera_condition(text(1, 4.0), azimuth, elevation, phase=0.25)
    expected = encode_attributes(2, azimuth=azimuth, elevation=elevation, phase=0.25, shadow=False)
    assert torch.equal(condition.attributes, expected)
    assert condition.tokens.shape == (2, 2, 3)
    rows = camera_condition(text(2, 4.0, 5.0), azimuth, elevation)
    assert rows.tokens[:, 0, 0].tolist() == [4.0, 5.0]
    with pytest.raises(ValueError, match="length 3 for 2 views"):
        camera_condition(text(3, 1.0, 2.0, 3.0), azimuth, elevation)
    with pytest.raises(UserError, match="Elevation"):
        camera_condition(text(1, 1.0), azimuth, elevation * 10)


def test_texts_are_interpolated_from_front_to_side_to_back():
    positive = TEXTS.interpolate(AZIMUTHS)
    assert positive.tokens[:, 0, 0].tolist() == pytest.approx([1.0, 5.5, 10.0, 10.0, 55.0, 100.0, 5.5])
    assert not positive.attributes.any()


def test_the_words_of_each_view_follow_the_prompt():
    encoded = []

    def encode(prompts):
        encoded.extend(prompts)
        return text(3, 1.0, 2.0, 3.0)

    ViewTexts.from_prompt("a fox", encode)
    assert encoded == [f"a fox, {view}" for view in VIEW_WORDS]
    with pytest.raises(ValueError, match="three texts"):
        ViewTexts(text(2, 1.0, 2.0))


def test_a_view_has_negative_weights_for_the_others_but_not_itself():
    _, weights = TEXTS.negatives(AZIMUTHS)
    front, side = weights
    assert (weights >= 0).all()
    assert front[0] < 1e-3 and side[2] < 1e-3 and side[3] < 1e-3
    assert side[0] > 1.5 and front[2] > 1.5
    assert front.argmax() == 5  # most from behind
    _, around = TEXTS.negatives(torch.tensor([89.99, 90.0, 90.01]))
    assert around.diff(dim=1).abs().max() < 1e-2  # no jump


class Recorder(nn.Module):
    def forward(self, x, t, condition):
        self.condition = condition
        return x * condition.tokens.mean((1, 2))[:, None, None, None]


def test_perp_neg_replaces_the_camera_by_view_texts():
    recorder = Recorder()
    denoiser = Denoiser(recorder, NoiseSchedule.cosine(), Parameterization.EPS)
    guidance = ViewPerpNeg(denoiser, TEXTS, 7.5, text(1, 0.0))
    azimuth = torch.tensor([0.0, 135.0])
    condition = camera_condition(text(1, 50.0), azimuth, torch.zeros(2), phase=0.5)
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    guidance(x, torch.tensor([100, 500]), condition)
    # uncond, front, side, and the interpolated view
    values = [0.0, 0.0, 1.0, 1.0, 10.0, 10.0, 1.0, 55.0]
    assert recorder.condition.tokens[:, 0, 0].tolist() == pytest.approx(values)
    assert not recorder.condition.attributes[:, CAMERA].any()
    assert torch.equal(recorder.condition.attributes[-2:, 5:], condition.attributes[:, 5:])
    assert condition.attributes[:, CAMERA].any()  # the caller's own is left alone
    with pytest.raises(ValueError, match="camera of every row"):
        guidance(x, torch.tensor([100, 500]), text(2, 1.0, 2.0))
