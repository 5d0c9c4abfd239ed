"""The training loss of clips, against its closed form for constant and alternating errors."""

import pytest
import torch
from torch import nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.losses import detail_weights, simple_loss
from video.training.clips import clip_loss


class ZeroNetwork(nn.Module):
    """A network that returns zeros."""

    def forward(self, x, t, condition):
        return torch.zeros_like(x)


def test_clip_loss_multiplies_the_error_that_changes_between_frames_by_the_motion_weight():
    x0 = torch.randn((2, 3, 5, 4, 4), generator=torch.Generator().manual_seed(0))
    t = torch.tensor([50, 500])
    empty = Condition(torch.zeros(2, 1, 1), torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 10))
    denoiser = Denoiser(ZeroNetwork(), NoiseSchedule.cosine(), Parameterization.X0)
    torch.testing.assert_close(clip_loss(denoiser, x0, t, empty, x0), simple_loss(denoiser, x0, t, empty, x0))
    # The error is x0 itself: 3 in every frame of `static`, alternately -1 and 1 in those of `moving`.
    static, moving = torch.full_like(x0[:, :, :4], 3.0), torch.ones_like(x0[:, :, :4])
    moving[:, :, ::2] = -1
    for weight in (1.0, 4.0):
        of_static, of_moving, of_both = (
            clip_loss(denoiser, x, t, empty, x, weight) for x in (static, moving, static + moving)
        )
        assert (of_moving[0] / of_static[0]).item() == pytest.approx(weight / 9)
        torch.testing.assert_close(of_both, of_static + of_moving)


def test_clip_loss_weights_positions_by_the_mean_detail_of_the_frames():
    x0 = torch.randn((2, 3, 5, 8, 8), generator=torch.Generator().manual_seed(0))
    t = torch.tensor([50, 500])
    empty = Condition(torch.zeros(2, 1, 1), torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 10))
    denoiser = Denoiser(ZeroNetwork(), NoiseSchedule.cosine(), Parameterization.X0)
    weights = torch.stack([detail_weights(frame, 4.0) for frame in x0.unbind(2)], dim=2).mean(2, keepdim=True)
    expected = (weights * x0.square()).mean((1, 2, 3, 4))
    torch.testing.assert_close(clip_loss(denoiser, x0, t, empty, x0, detail_weight=4.0), expected)
