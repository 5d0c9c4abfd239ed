"""The inflated U-Net against the image network (new layers) and diffusers' UNetMotionModel (an adapter)."""

import copy

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from torch import nn

from core.condition import Condition
from core.errors import UserError
from tests.pretrained.motion_checkpoints import VERSIONS, adapter, random_weights, tiny_unet
from video.animatediff.inflated_unet import InflatedUNet, fresh_config
from video.animatediff.motion_format import MotionConfig
from video.animatediff.motion_layers import MotionLayers


class ImageNetwork(nn.Module):
    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x, t, condition):
        return self.unet(x, t, encoder_hidden_states=condition.tokens).sample


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return tiny_unet()


@pytest.fixture
def image(unet) -> ImageNetwork:
    return ImageNetwork(copy.deepcopy(unet)).eval()


def inflated(image: ImageNetwork, theirs: MotionAdapter | None = None) -> InflatedUNet:
    config = fresh_config(image.unet)
    if theirs:
        config = MotionConfig(**{k: v for k, v in theirs.config.items() if not k.startswith("_")})
    motion = MotionLayers(config)
    if theirs:
        motion.load_state_dict(theirs.state_dict())
    return InflatedUNet(image, image.unet, motion).eval()


def inputs(frames: int, batch: int = 2):
    generator = torch.Generator().manual_seed(1)
    clip = torch.randn(batch, 4, frames, 8, 8, generator=generator)
    tokens = torch.randn(batch, 7, 16, generator=generator)
    mask = torch.ones(batch, 7, dtype=torch.bool)
    return clip, torch.tensor([10, 900])[:batch], Condition(tokens, mask, torch.zeros(batch, 10))


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
@torch.no_grad()
def test_output_equals_the_motion_model_of_diffusers(unet, image, version) -> None:
    theirs = adapter(version, unet)
    network = inflated(image, theirs)
    reference = UNetMotionModel.from_unet2d(unet, theirs).eval()
    for frames in (1, 5, VERSIONS[version]["motion_max_seq_length"]):
        clip, t, condition = inputs(frames)
        expected = reference(clip, t, condition.tokens.repeat_interleave(frames, 0)).sample
        difference = (network(clip, t, condition) - expected).abs().max()
        assert difference < 1e-5 * expected.abs().max()


@torch.no_grad()
def test_new_layers_give_the_output_of_the_image_network(image) -> None:
    clip, t, condition = inputs(20)
    expected = torch.stack([image(clip[:, :, f], t, condition) for f in range(20)], dim=2)
    torch.testing.assert_close(inflated(image)(clip, t, condition), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_new_adapter_of_diffusers_is_not_the_identity(unet, image) -> None:
    clip, t, condition = inputs(4)
    plain = inflated(image)
    expected = plain(clip, t, condition)
    plain.deflate()
    theirs = MotionAdapter(block_out_channels=(32, 64), motion_num_attention_heads=8)
    random = inflated(image, theirs)
    assert (random(clip, t, condition) - expected).abs().max() > 1e-2
    torch.testing.assert_close(
        random(clip, t, condition, independent_frames=True), expected, rtol=0, atol=1e-5
    )


@torch.no_grad()
def test_the_group_norm_is_over_all_frames_as_in_diffusers(unet, image) -> None:
    """One frame changes the statistics that normalize the others, even without attention between frames."""
    theirs = adapter("v2", unet)
    network = inflated(image, theirs)
    for module in network.motion.modules():
        if hasattr(module, "attn1"):
            for attention in (module.attn1, module.attn2):
                attention.to_out[0].weight.zero_()
    clip, t, condition = inputs(3)
    before = network(clip, t, condition)
    clip[:, :, 0] *= 3
    assert (network(clip, t, condition) - before)[:, :, 1:].abs().max() > 1e-3


@torch.no_grad()
def test_more_frames_than_positions_raise(unet, image) -> None:
    network = inflated(image, adapter("v1", unet))
    with pytest.raises(ValueError, match="takes at most 24 frames per call, not 25"):
        network(*inputs(25))
    with pytest.raises(ValueError, match="expected clips"):
        network(*inputs(2)[:1], torch.tensor([1]), inputs(2)[2])


def test_an_adapter_for_another_network_raises(image) -> None:
    with pytest.raises(
        UserError, match="2 x 32, 2 x 64, 2 x 96 channels, and the image model's has 2 x 32, 2 x 64:"
    ):
        InflatedUNet(image, image.unet, MotionLayers(MotionConfig(block_out_channels=(32, 64, 96))))


@torch.no_grad()
def test_deflate_restores_the_image_network(unet, image) -> None:
    clip, t, condition = inputs(1)
    expected = image(clip[:, :, 0], t, condition)
    network = inflated(image, adapter("v2", unet))
    assert not torch.allclose(network(clip, t, condition)[:, :, 0], expected, atol=1e-2)
    assert torch.equal(network.deflate()(clip[:, :, 0], t, condition), expected)


@torch.no_grad()
def test_a_copy_has_its_own_hooks(unet, image) -> None:
    network = inflated(image, adapter("v2", unet))
    twin = copy.deepcopy(network)
    expected = twin(*inputs(3))
    random_weights(network.motion, seed=9)
    assert torch.equal(twin(*inputs(3)), expected)
    assert not torch.allclose(network(*inputs(3)), expected, atol=1e-2)


@torch.no_grad()
def test_it_compiles_without_graph_breaks(unet, image) -> None:
    torch._dynamo.reset()
    network = inflated(image, adapter("v3", unet))
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs(3)), network(*inputs(3)))
