"""Temporal layers against PyTorch's Conv3d and MultiheadAttention."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from video.nn.temporal import (
    RelativePositionBias,
    TemporalAttention,
    TemporalBlock,
    TemporalConfig,
    TemporalConvolution,
)


@pytest.mark.parametrize("frames", [1, 2, 5])
@torch.no_grad()
def test_temporal_convolution_is_a_conv3d_with_replicate_padding(frames):
    torch.manual_seed(0)
    layer = TemporalConvolution(8)
    x = torch.randn(2 * frames, 8, 3, 4)
    clip = x.unflatten(0, (2, frames)).transpose(1, 2)
    weight = layer.neighbors.weight.view(8, 3, 8).transpose(1, 2)[..., None, None]
    padded = F.pad(clip, (0, 0, 0, 0, 1, 1), mode="replicate")
    expected = F.conv3d(padded, weight, layer.neighbors.bias).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(layer(x, frames), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_temporal_attention_is_multi_head_attention_over_frames():
    torch.manual_seed(0)
    frames, width, heads = 6, 32, 2
    layer = TemporalAttention(width, width, width // heads, max_offset=3)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2 * frames, width, 2, 3)

    peer = nn.MultiheadAttention(width, heads, batch_first=True)
    peer.in_proj_weight.copy_(torch.cat([layer.attention.query.weight, layer.attention.key_value.weight]))
    peer.in_proj_bias.zero_()
    peer.out_proj.load_state_dict(layer.attention.out.state_dict())
    bias = torch.empty(heads, frames, frames)
    for i in range(frames):
        for j in range(frames):
            bias[:, i, j] = layer.position.table[:, max(-3, min(3, j - i)) + 3]

    got = layer(x, frames)
    for clip in range(2):
        for row in range(2):
            for column in range(3):
                pixel = x[clip * frames : (clip + 1) * frames, :, row, column]
                normed = layer.norm(pixel)[None]
                expected = pixel + peer(normed, normed, normed, attn_mask=bias)[0][0]
                torch.testing.assert_close(
                    got[clip * frames : (clip + 1) * frames, :, row, column], expected, atol=1e-5, rtol=1e-5
                )


@pytest.mark.parametrize("frames", [1, 5, 16, 40])
def test_the_position_bias_depends_only_on_the_clipped_offset(frames):
    position = RelativePositionBias(2, max_offset=31)
    nn.init.normal_(position.table, generator=torch.Generator().manual_seed(0))
    bias = position(frames)
    assert bias.shape == (2, frames, frames)
    torch.testing.assert_close(bias[:, 1:, 1:], bias[:, :-1, :-1])
    if frames == 40:
        assert torch.equal(bias[:, 0, 31:], bias[:, 0, 31:32].expand(-1, 9))
        assert torch.equal(bias[:, 31:, 0], bias[:, 31:32, 0].expand(-1, 9))
    assert len(bias[0].unique()) == min(2 * frames - 1, 63), (
        "every offset, forward or back, has its own logit"
    )


@torch.no_grad()
def test_a_block_starts_as_the_identity():
    torch.manual_seed(0)
    x = torch.randn(10, 64, 4, 4)
    assert torch.equal(TemporalBlock(64, 24, TemporalConfig())(x, torch.randn(10, 24), 5), x)


def test_the_inner_width_is_a_multiple_of_the_head_width():
    config = TemporalConfig(ratio=0.5, head_width=32)
    assert [config.inner_width(width) for width in (16, 96, 160, 192, 256)] == [32, 32, 64, 96, 128]
    for wrong in ({"ratio": 0.0}, {"head_width": 12}, {"max_offset": 0}, {"heads": 2}):
        with pytest.raises(ValidationError):
            TemporalConfig.model_validate(wrong)
