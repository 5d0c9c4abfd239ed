"""The blocks of the U-Net against diffusers, PyTorch's attention, and NumPy."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from core.nn.attention import MultiHeadAttention
from core.nn.blocks import (
    GROUP_WIDTH,
    AdaptiveGroupNorm,
    AdaptiveLayerNorm,
    AddedGroupNorm,
    ConvNeXtBlock,
    ResidualBlock,
    SelfAttentionBlock,
    downsample_2x,
    upsample_2x,
)
from core.nn.convolutional_unet import ModulatedResidual

EMBEDDING = 24


def randomize(module):
    """The module with random parameters, so that each of them affects the output."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def inputs(width, batch=2, side=6):
    """Random x (B,width,side,side) and embedding."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(batch, width, side, side, generator=generator)
    return x, torch.randn(batch, EMBEDDING, generator=generator)


NAMES = {
    "norm1": "in_norm",
    "conv1": "in_conv",
    "time_emb_proj": "out_norm.modulation",
    "norm2": "out_norm.norm",
    "conv2": "out_conv",
    "conv_shortcut": "skip",
}


@pytest.mark.parametrize("widths", [(16, 16), (16, 32)])
@pytest.mark.parametrize("resample", [None, downsample_2x, upsample_2x])
@pytest.mark.parametrize("kernel", ["sde_vp", None])
@pytest.mark.parametrize(
    ("activation", "norm", "name"),
    [
        (F.silu, AdaptiveGroupNorm, "scale_shift"),
        (F.gelu, AdaptiveGroupNorm, "scale_shift"),
        (F.silu, AddedGroupNorm, "default"),
    ],
)
@torch.no_grad()
def test_residual_block_is_that_of_diffusers(widths, resample, kernel, activation, norm, name):
    """With AdaGN's scale and shift and BigGAN's resampling, as in guided-diffusion; or an added embedding."""
    in_width, width = widths
    ours = randomize(
        ResidualBlock(in_width, width, EMBEDDING, activation=activation, resample=resample, norm=norm)
    )
    theirs = ResnetBlock2D(
        in_channels=in_width,
        out_channels=width,
        temb_channels=EMBEDDING,
        groups=in_width // GROUP_WIDTH,
        groups_out=width // GROUP_WIDTH,
        eps=1e-5,
        non_linearity=activation.__name__,
        time_embedding_norm=name,
        kernel=kernel,
        down=resample is downsample_2x,
        up=resample is upsample_2x,
    ).eval()
    names = NAMES if name == "scale_shift" else NAMES | {"time_emb_proj": "out_norm.shift"}
    for their_name, our_name in names.items():
        if (part := getattr(theirs, their_name)) is not None:
            part.load_state_dict(ours.get_submodule(our_name).state_dict())
    x, embedding = inputs(in_width)
    out = ours(x, embedding)
    side = {None: 6, downsample_2x: 3, upsample_2x: 12}[resample]
    assert out.shape == (2, width, side, side)
    torch.testing.assert_close(out, theirs(x, embedding), rtol=1e-5, atol=1e-5)


def convnext_by_hand(block, x, embedding):
    """The ConvNeXt block in float64 NumPy, position by position, from the papers."""
    p = {name: value.double().numpy() for name, value in block.state_dict().items()}
    x, embedding = x.double().numpy(), embedding.double().numpy()
    if "skip.weight" in p:
        x = np.einsum("oi,bihw->bohw", p["skip.weight"][:, :, 0, 0], x) + p["skip.bias"][:, None, None]
    batch, width, height, breadth = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (3, 3), (3, 3)))
    activated = embedding / (1 + np.exp(-embedding))
    modulation = activated @ p["norm.modulation.weight"].T + p["norm.modulation.bias"]
    erf = np.vectorize(math.erf)
    out = x.copy()
    for b in range(batch):
        scale, shift = modulation[b, :width], modulation[b, width:]
        for i in range(height):
            for j in range(breadth):
                window = padded[b, :, i : i + 7, j : j + 7]
                h = (window * p["depthwise.weight"][:, 0]).sum((1, 2)) + p["depthwise.bias"]
                h = (h - h.mean()) / np.sqrt(h.var() + 1e-5) * (1 + scale) + shift
                h = p["expand.weight"] @ h + p["expand.bias"]
                h = h * 0.5 * (1 + erf(h / math.sqrt(2)))
                h = p["contract.weight"] @ h + p["contract.bias"]
                out[b, :, i, j] += h * p.get("gain", 1.0)
    return out


@pytest.mark.parametrize("layer_scale", [None, 1e-6])
@pytest.mark.parametrize("in_width", [16, 24])
@torch.no_grad()
def test_convnext_block_matches_its_formula(in_width, layer_scale):
    block = randomize(ConvNeXtBlock(in_width, 16, EMBEDDING, layer_scale=layer_scale))
    x, embedding = inputs(in_width)
    expected = convnext_by_hand(block, x, embedding)
    np.testing.assert_allclose(block(x, embedding).numpy(), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_new_convnext_block_is_nearly_the_identity():
    x, embedding = inputs(16)
    assert torch.equal(ConvNeXtBlock(16, 16, EMBEDDING)(x, embedding), x)
    scaled = ConvNeXtBlock(16, 16, EMBEDDING, layer_scale=1e-6)
    change = (scaled(x, embedding) - x).abs().max()
    assert 0 < change < 1e-5
    assert scaled.gain is not None and torch.equal(scaled.gain, torch.full((16,), 1e-6))


BLOCKS = {
    "residual": lambda axes: ResidualBlock(16, 16, EMBEDDING, axes=axes),
    "residual to another width": lambda axes: ResidualBlock(24, 16, EMBEDDING, axes=axes),
    "ConvNeXt": lambda axes: ConvNeXtBlock(16, 16, EMBEDDING, axes=axes),
    "ConvNeXt to another width": lambda axes: ConvNeXtBlock(24, 16, EMBEDDING, axes=axes),
    "modulated": lambda axes: ModulatedResidual(16, EMBEDDING, axes=axes, kernel=5),
}


@pytest.mark.parametrize("name", BLOCKS)
@torch.no_grad()
def test_a_block_of_sequences_is_that_of_images_one_pixel_high(name):
    """Zero padding leaves of each square kernel its middle row alone."""
    image, sequence = (randomize(BLOCKS[name](axes)) for axes in (2, 1))
    rows = {
        name: value[:, :, value.shape[2] // 2]
        for name, value in image.state_dict().items()
        if value.ndim == 4
    }
    sequence.load_state_dict(image.state_dict() | rows)
    x, embedding = inputs(24 if "another" in name else 16)
    x = x[:, :, 0]
    torch.testing.assert_close(sequence(x, embedding), image(x[:, :, None], embedding)[:, :, 0])


def test_blocks_have_one_to_three_axes():
    with pytest.raises(ValueError, match="1, 2 or 3 axes, not 4"):
        ResidualBlock(16, 16, EMBEDDING, axes=4)


@torch.no_grad()
def test_adaptive_layer_norm_without_modulation_is_layer_norm():
    norm = AdaptiveLayerNorm(16, EMBEDDING)
    nn.init.zeros_(norm.modulation.weight)
    nn.init.zeros_(norm.modulation.bias)
    x, embedding = inputs(16)
    x = 5 + 3 * x.permute(0, 2, 3, 1)
    torch.testing.assert_close(norm(x, embedding), nn.LayerNorm(16, elementwise_affine=False)(x))


def torch_attention(layer, width, heads, context_width):
    """PyTorch's multi-head attention with the weights of a `MultiHeadAttention`."""
    theirs = nn.MultiheadAttention(width, heads, kdim=context_width, vdim=context_width, batch_first=True)
    query, (key, value) = layer.query.weight, layer.key_value.weight.chunk(2)
    if context_width == width:
        theirs.in_proj_weight.copy_(torch.cat([query, key, value]))
    else:
        for name, weight in (("q", query), ("k", key), ("v", value)):
            getattr(theirs, f"{name}_proj_weight").copy_(weight)
    nn.init.zeros_(theirs.in_proj_bias)
    theirs.out_proj.load_state_dict(layer.out.state_dict())
    return theirs.eval()


@pytest.mark.parametrize("heads", [1, 2, 6])
@pytest.mark.parametrize("context_width", [None, 20])
@torch.no_grad()
def test_attention_of_so_many_heads_is_that_of_torch(heads, context_width):
    layer = randomize(MultiHeadAttention(24, 24 // heads, context_width))
    theirs = torch_attention(layer, 24, heads, context_width or 24)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 24, generator=generator)
    context = x if context_width is None else torch.randn(2, 7, context_width, generator=generator)
    mask = torch.arange(context.shape[1]) < torch.tensor([[5], [2]])
    expected, _ = theirs(x, context, context, key_padding_mask=~mask, need_weights=False)
    context_argument = None if context_width is None else context
    torch.testing.assert_close(layer(x, context_argument, mask=mask), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_self_attention_block_is_pre_norm_attention_over_positions():
    block = randomize(SelfAttentionBlock(24, 8))
    x, _ = inputs(24, side=3)
    h = x.permute(0, 2, 3, 1).reshape(2, 9, 24)
    normed = F.layer_norm(h, (24,), block.norm.weight, block.norm.bias)
    theirs = torch_attention(block.attention, 24, 3, 24)
    h = h + theirs(normed, normed, normed, need_weights=False)[0]
    expected = h.reshape(2, 3, 3, 24).permute(0, 3, 1, 2)
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)
