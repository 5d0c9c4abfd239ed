"""Inflation: a space-time network is the image network until its temporal layers say otherwise."""

import pytest
import torch
from torch import nn

from core.condition import Condition
from core.nn.unet import UNet, UNetConfig
from video.nn.space_time_unet import SpaceTimeUNet, inflate
from video.nn.temporal import TemporalConfig

CONFIG = UNetConfig(widths=(32, 64), blocks=(1, 1), attention=(False, True), context_width=24)


def perturb(module: nn.Module, seed: int = 0) -> None:
    """Make every parameter random, those that start at zero among them."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)


@pytest.fixture
def network() -> SpaceTimeUNet:
    """Random image weights, fresh temporal layers."""
    unet = UNet(CONFIG).eval()
    perturb(unet)
    return inflate(unet, TemporalConfig(head_width=16)).eval()


def inputs(frames: int, per_frame: bool = False, seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    clip = torch.randn(2, 3, frames, 16, 16, generator=generator)
    tokens = torch.randn(2, 6, 24, generator=generator)
    shape = (2, frames, 10) if per_frame else (2, 10)
    attributes = torch.randn(shape, generator=generator)
    mask = torch.arange(6) < torch.tensor([[6], [3]])
    return clip, torch.tensor([300, 910]), Condition(tokens, mask, attributes)


def frame_by_frame(unet: UNet, clip, t, condition: Condition):
    frames = []
    for f in range(clip.shape[2]):
        attributes = condition.attributes[:, f] if condition.attributes.ndim == 3 else condition.attributes
        frames.append(unet(clip[:, :, f], t, Condition(condition.tokens, condition.mask, attributes)))
    return torch.stack(frames, dim=2)


@pytest.mark.parametrize("frames", [1, 5, 8, 16, 40])
@pytest.mark.parametrize("per_frame", [False, True])
@torch.no_grad()
def test_a_fresh_inflation_is_the_image_network_on_every_frame(network, frames, per_frame):
    clip, t, condition = inputs(frames, per_frame)
    expected = frame_by_frame(network.image, clip, t, condition)
    assert expected.std() > 0.1
    torch.testing.assert_close(network(clip, t, condition), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frames", [5, 8, 16, 40])
@torch.no_grad()
def test_trained_temporal_layers_make_every_frame_see_every_other(network, frames):
    perturb(network.temporal, seed=2)
    clip, t, condition = inputs(frames)
    before = network(clip, t, condition)
    assert not torch.allclose(before, frame_by_frame(network.image, clip, t, condition), atol=1e-2)
    changed = clip.clone()
    changed[0, :, 0] += 1
    change = (network(changed, t, condition) - before).abs().amax(dim=(1, 3, 4))
    assert bool((change[0] > 1e-5).all()), "a frame of the changed clip has not noticed"
    assert bool((change[1] < 1e-5).all()), "the other clip has noticed"


@torch.no_grad()
def test_independent_frames_bypass_the_temporal_layers(network):
    perturb(network.temporal, seed=2)
    for frames in (1, 5):
        clip, t, condition = inputs(frames)
        expected = frame_by_frame(network.image, clip, t, condition)
        got = network(clip, t, condition, independent_frames=True)
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(network(clip, t, condition), expected, atol=1e-2)


def each_frame(condition: Condition, frames: int) -> Condition:
    """The conditions of clips, one for each frame."""
    repeated = condition.repeat_interleave(frames)
    return Condition(repeated.tokens, repeated.mask, condition.attributes.flatten(0, 1))


@torch.no_grad()
def test_appended_images_are_clips_of_one_frame_and_leave_the_clip_alone(network):
    """Three frames and two images: as the network gives the clip and the images in calls of their own."""
    perturb(network.temporal, seed=2)
    clip, t, condition = inputs(5, per_frame=True)
    got = network(clip, t, each_frame(condition, 5), appended_images=2)
    for frames in (slice(0, 3), slice(3, 4), slice(4, 5)):
        part = Condition(condition.tokens, condition.mask, condition.attributes[:, frames])
        expected = network(clip[:, :, frames], t, part)
        torch.testing.assert_close(got[:, :, frames], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("changed", [0, 2, 3, 4])
def test_no_value_crosses_between_a_clip_and_its_appended_images(network, changed):
    perturb(network.temporal, seed=2)
    clip, t, condition = inputs(5, per_frame=True)
    condition = each_frame(condition, 5)
    before = network(clip, t, condition, appended_images=2)
    clip[:, :, changed] += 1
    equal = (network(clip, t, condition, appended_images=2) == before).all(dim=4).all(dim=3).all(dim=1)
    seen = range(3) if changed < 3 else [changed]
    assert equal.tolist() == [[frame not in seen for frame in range(5)]] * 2


@torch.no_grad()
def test_appended_images_of_a_fresh_inflation_are_those_of_the_image_network(network):
    clip, t, condition = inputs(4, per_frame=True)
    expected = frame_by_frame(network.image, clip, t, condition)
    got = network(clip, t, each_frame(condition, 4), appended_images=1)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_a_clip_needs_a_frame_of_its_own(network):
    clip, t, condition = inputs(4, per_frame=True)
    with pytest.raises(ValueError, match="4 of 4 frames are appended"):
        network(clip, t, each_frame(condition, 4), appended_images=4)


@torch.no_grad()
def test_temporal_layers_know_the_direction_of_time(network):
    perturb(network.temporal, seed=2)
    clip, t, condition = inputs(8)
    backwards = network(clip.flip(2), t, condition).flip(2)
    assert not torch.allclose(backwards, network(clip, t, condition), atol=1e-3)


def test_parameters_and_state_are_separable(network):
    spatial = {id(p) for p in network.spatial_parameters()}
    temporal = {id(p) for p in network.temporal_parameters()}
    assert spatial.isdisjoint(temporal) and spatial | temporal == {id(p) for p in network.parameters()}
    state = network.state_dict()
    image = {name.removeprefix("image."): value for name, value in state.items() if name.startswith("image.")}
    assert image.keys() == network.image.state_dict().keys()
    assert {name.split(".")[0] for name in state} == {"image", "temporal"}

    perturb(network.temporal, seed=2)
    delta = {name: value for name, value in network.state_dict().items() if name.startswith("temporal.")}
    unet = UNet(CONFIG).eval()
    unet.load_state_dict(image)
    again = inflate(unet, network.config).eval()
    missing, unexpected = again.load_state_dict(delta, strict=False)
    assert not unexpected and all(name.startswith("image.") for name in missing)
    with torch.no_grad():
        assert torch.equal(again(*inputs(5)), network(*inputs(5)))


def test_training_reaches_every_temporal_parameter_after_one_step(network):
    """Zero-initialized projections hold back the gradient of what lies before them for one step only."""
    optimizer = torch.optim.SGD(network.temporal_parameters(), lr=0.1)
    clip, t, condition = inputs(5)
    for _ in range(2):
        optimizer.zero_grad()
        (network(clip, t, condition) - clip).square().mean().backward()
        optimizer.step()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.temporal_parameters())


def test_it_compiles_without_graph_breaks(network):
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*inputs(5)), network(*inputs(5)))


def test_inputs_that_do_not_fit_are_refused(network):
    clip, t, condition = inputs(5, per_frame=True)
    for arguments, message in [
        ((clip[:, :, 0], t, condition), "clips must be"),
        ((clip, t[:1], condition), "one timestep per clip"),
        ((clip[:, :, :4], t, condition), "attributes for 5 frames, 4 frames given"),
        ((clip[..., :15], t, condition), "multiples of 8"),
    ]:
        with pytest.raises(ValueError, match=message):
            network(*arguments)


def test_checkpointed_activations_include_the_temporal_layers(network) -> None:
    perturb(network, seed=2)
    clip, t, condition = inputs(5)
    gradients = []
    for recompute in (False, True):
        network.image.checkpoint_activations = recompute
        network.zero_grad()
        network(clip, t, condition).square().mean().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    assert all(gradient.any() for gradient in gradients[0])
    torch.testing.assert_close(*gradients)
