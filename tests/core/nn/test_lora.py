import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from core.attributes import WIDTH
from core.condition import Condition
from core.nn.lora import LoRANetwork, add_changes
from core.nn.unet import IMAGE_CONDITIONING, UNet, UNetConfig, with_image_conditioning


@pytest.fixture
def network():
    """Two levels, so that strided and sub-pixel convolutions are among the layers."""
    torch.manual_seed(0)
    unet = UNet(UNetConfig(widths=(32, 32), blocks=(1, 1), attention=(False, True), context_width=8))
    for parameter in unet.parameters():
        nn.init.normal_(parameter, std=0.1)
    return unet.eval()


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 16, 16, generator=generator)
    condition = Condition(
        torch.randn(2, 3, 8, generator=generator), torch.ones(2, 3, dtype=torch.bool), torch.ones(2, WIDTH)
    )
    return x, torch.tensor([100, 900]), condition


def adapted(network, rank=2):
    return LoRANetwork(network, rank, torch.Generator().manual_seed(2))


def test_the_initial_output_is_the_networks(network, inputs):
    assert torch.equal(adapted(network)(*inputs), network(*inputs))


def test_all_linear_and_convolution_layers_are_adapted_at_the_rank(network):
    lora = adapted(network, rank=4)
    layers = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    assert len(lora.adapted) == len(layers) and "stem.weight" in lora.adapted
    for up in lora.up:
        nn.init.normal_(up)
    for name, weight in lora.weights().items():
        change = (weight - network.get_parameter(name)).flatten(1) if weight.ndim > 1 else None
        if name in lora.adapted:
            assert torch.linalg.matrix_rank(change, rtol=1e-4) <= 4 and change.abs().max() > 0
        else:
            assert torch.equal(weight, network.get_parameter(name))


def test_training_changes_only_the_adapters(network, inputs):
    before, output = copy.deepcopy(network.state_dict()), network(*inputs)
    lora, target = adapted(network), torch.zeros_like(inputs[0])
    optimizer = torch.optim.Adam(lora.parameters(), lr=1e-2)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = (lora(*inputs) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert {id(p) for p in lora.parameters()} == {id(p) for p in [*lora.down, *lora.up]}
    assert all(p.grad is None for p in network.parameters())
    assert all(down.grad.abs().max() > 0 for down in lora.down)
    after = network.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(network(*inputs), output)


def test_a_failed_call_leaves_the_network_unchanged(network, inputs):
    before = dict(network.named_parameters())
    x, t, condition = inputs
    with pytest.raises(ValueError, match="images must be"):
        adapted(network)(x[:, :2], t, condition)
    assert all(parameter is before[name] for name, parameter in network.named_parameters())


def test_invalid_ranks_and_networks_are_refused(network):
    with pytest.raises(ValueError, match="rank"):
        adapted(network, rank=0)
    with pytest.raises(ValueError, match="no Linear"):
        LoRANetwork(nn.GroupNorm(1, 8), 2, torch.Generator())


def test_a_new_module_is_trained_itself_and_added_to_the_changes(network, inputs):
    config = network.config.model_copy(update={"image_width": 4})
    wider = UNet(config)
    wider.load_state_dict(with_image_conditioning(wider, network.state_dict()))
    lora = LoRANetwork(wider, 2, torch.Generator().manual_seed(2), IMAGE_CONDITIONING)
    own = {name for name, _ in wider.named_parameters() if name.startswith("image.")}
    assert own == set(lora.new) and not own & set(lora.adapted)
    x, t, condition = inputs
    condition = replace(condition, image=torch.ones(2, 4))
    for parameter in [*lora.up, *lora.added]:
        nn.init.normal_(parameter, std=0.1)
    lora(x, t, condition).square().mean().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in [*lora.down, *lora.up, *lora.added])
    merged = UNet(config)
    merged.load_state_dict(add_changes(network.state_dict(), lora.changes()))
    torch.testing.assert_close(merged(x, t, condition), lora(x, t, condition))
