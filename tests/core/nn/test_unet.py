"""The U-Net: which inputs influence its output, its options, and its errors."""

import pytest
import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from core.condition import Condition
from core.nn.attention import MultiHeadAttention
from core.nn.unet import UNet, UNetConfig

SMALL = UNetConfig(widths=(32, 64), blocks=(1, 2), attention=(True, True), context_width=24)


def random_unet(options):
    """A small network with random weights in every layer."""
    torch.manual_seed(0)
    network = UNet(SMALL.model_copy(update=options)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.fixture(scope="module")
def unet():
    """A small network with random weights."""
    return random_unet({})


def inputs(batch=2, size=32, seed=1):
    """Random images, timesteps and conditions."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 3, size, size, generator=generator)
    tokens = torch.randn(batch, 6, 24, generator=generator)
    mask = torch.arange(6) < torch.tensor([6, 3, 1, 4])[:batch, None]
    attributes = torch.randn(batch, 10, generator=generator)
    return x, torch.tensor([7, 900, 500, 0])[:batch], Condition(tokens, mask, attributes)


@torch.no_grad()
def test_a_new_network_returns_zeros():
    x, t, condition = inputs()
    out = UNet(SMALL)(x, t, condition)
    assert out.shape == x.shape and out.count_nonzero() == 0


@torch.no_grad()
def test_rows_of_a_batch_are_independent(unet):
    x, t, condition = inputs(batch=4)
    singles = torch.cat([unet(x[i : i + 1], t[i : i + 1], condition[i]) for i in range(4)])
    torch.testing.assert_close(unet(x, t, condition), singles, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_network_is_deterministic(unet):
    assert torch.equal(unet(*inputs()), unet(*inputs()))


@torch.no_grad()
def test_padding_tokens_have_no_influence(unet):
    x, t, condition = inputs()
    before = unet(x, t, condition)
    noisy = torch.where(condition.mask[..., None], condition.tokens, torch.full_like(condition.tokens, 9.0))
    assert torch.equal(unet(x, t, Condition(noisy, condition.mask, condition.attributes)), before)
    longer_text = Condition(torch.zeros(1, 9, 24), torch.ones(1, 9) > 0, torch.zeros(1, 10))
    longer = Condition.cat([condition, longer_text])
    torch.testing.assert_close(unet(x, t, longer[:2]), before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("what", ["x", "t", "tokens", "attributes"])
@torch.no_grad()
def test_everything_said_has_influence(unet, what):
    x, t, condition = inputs()
    before = unet(x, t, condition)
    if what == "x":
        x = x + 0.1 * torch.eye(32)
    elif what == "t":
        t = t + 50
    elif what == "tokens":
        condition = Condition(condition.tokens.flip(-1), condition.mask, condition.attributes)
    else:
        condition = Condition(condition.tokens, condition.mask, condition.attributes + 1)
    change = (unet(x, t, condition) - before).abs().amax(dim=(1, 2, 3))
    assert bool((change > 1e-3).all())


@torch.no_grad()
def test_the_order_of_token_states_has_no_influence(unet):
    """Cross-attention has no position embedding: the token states of the text encoder include the order."""
    x, t, condition = inputs(batch=1)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    shuffled = Condition(condition.tokens[:, order], condition.mask, condition.attributes)
    torch.testing.assert_close(unet(x, t, shuffled), unet(x, t, condition), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_consecutive_images_share_one_condition(unet):
    """Sharing a condition equals repeating it, with attributes per condition and per image."""
    _, t, condition = inputs()
    frames = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    repeated = unet(frames, t.repeat_interleave(3), condition.repeat_interleave(3))
    torch.testing.assert_close(unet(frames, t, condition), repeated, atol=1e-4, rtol=1e-4)
    attributes = torch.randn(2, 3, 10, generator=torch.Generator().manual_seed(4))
    per_frame = condition.repeat_interleave(3)
    per_frame = Condition(per_frame.tokens, per_frame.mask, attributes.flatten(0, 1))
    torch.testing.assert_close(
        unet(frames, t, Condition(condition.tokens, condition.mask, attributes)),
        unet(frames, t.repeat_interleave(3), per_frame),
        atol=1e-4,
        rtol=1e-4,
    )


@torch.no_grad()
def test_block_hook_is_called_once_per_block_in_order(unet):
    x, t, condition = inputs()
    calls = []

    def record(index, h, embedding):
        assert embedding.shape == (2, 128)
        calls.append((index, h.shape[1]))
        return h

    torch.testing.assert_close(unet(x, t, condition, record), unet(x, t, condition))
    assert calls == list(enumerate(unet.block_widths)) and unet.block_widths == [32, 64, 64, 64, 64, 64, 32]
    zeroed = unet(x, t, condition, lambda index, h, _: h * 0 if index == len(calls) - 1 else h)
    assert not torch.allclose(zeroed, unet(x, t, condition))


@torch.no_grad()
def test_rectangular_images_without_attention():
    torch.manual_seed(0)
    network = UNet(UNetConfig(widths=(32, 40), blocks=(1, 1), attention=(False, False), context_width=24))
    x, t, condition = inputs()
    wide = torch.cat([x, x], dim=3)
    assert network(wide, t, condition).shape == wide.shape


def test_gradients_reach_every_parameter(unet):
    x, t, condition = inputs()
    unet(x, t, condition).square().mean().backward()
    missing = [name for name, p in unet.named_parameters() if p.grad is None or not p.grad.any()]
    unet.zero_grad()
    assert not missing


def test_checkpointed_activations_give_the_same_gradients_and_keep_less():
    """With dropout, whose masks the backward pass draws again."""
    x, t, condition = inputs()
    results = []
    for network in (random_unet({"dropout": 0.2}).train() for _ in range(2)):
        network.checkpoint_activations = bool(results)
        kept = 0

        def pack(tensor):
            nonlocal kept
            kept += tensor.nbytes
            return tensor

        torch.manual_seed(3)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = network(x, t, condition).square().mean()
        loss.backward()
        results.append((loss, [p.grad for p in network.parameters()], kept))
    (loss, gradients, kept), (again, recomputed, less) = results
    assert loss == again
    torch.testing.assert_close(recomputed, gradients)
    assert less < kept / 4


def test_size_and_cost_of_the_default_network():
    """Under 10 million parameters and 0.8 GFLOP per image of 64x64, so that two CPU cores can train it."""
    network = UNet(UNetConfig())
    condition = Condition(torch.zeros(1, 16, 384), torch.ones(1, 16) > 0, torch.zeros(1, 10))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 64, 64), torch.tensor([0]), condition)
    assert sum(p.numel() for p in network.parameters()) < 10e6
    assert 0.6e9 < counter.get_total_flops() < 0.8e9


VARIANTS = [
    {"resampling": "residual"},
    {"block": "convnext"},
    {"block": "convnext", "layer_scale": 1e-6, "resampling": "residual", "activation": "gelu", "heads": 4},
]


@pytest.mark.parametrize("options", [{}, VARIANTS[-1]])
def test_the_network_compiles_without_graph_breaks(options):
    torch._dynamo.reset()
    network = random_unet(options)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*inputs()), network(*inputs()))


@pytest.mark.parametrize("options", VARIANTS)
def test_other_blocks_use_every_parameter_and_share_conditions(options):
    """Every parameter has a gradient, images can share a condition, and a new network returns zeros."""
    x, t, condition = inputs()
    assert UNet(SMALL.model_copy(update=options))(x, t, condition).count_nonzero() == 0
    network = random_unet(options)
    network(x, t, condition).square().mean().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    with torch.no_grad():
        folded = network(torch.cat([x, x]), t, condition)
        repeated = network(torch.cat([x, x]), t.repeat_interleave(2), condition.repeat_interleave(2))
    torch.testing.assert_close(folded, repeated, atol=1e-4, rtol=1e-4)


def test_residual_resampling_goes_from_level_to_level():
    network = random_unet({"resampling": "residual"})
    x, t, condition = inputs()
    calls = []
    for layer in (network.downsample[0], network.upsample[0]):
        layer.register_forward_hook(lambda module, given, out: calls.append((given[0].shape, out.shape)))
    network(x, t, condition)
    assert [tuple(shape) for pair in calls for shape in pair] == [
        (2, 32, 8, 8),
        (2, 64, 4, 4),
        (2, 64, 4, 4),
        (2, 32, 8, 8),
    ]


@torch.no_grad()
def test_the_number_of_heads_replaces_the_head_width():
    """Widths (32, 64) are divided into 4 heads of 8 and of 16 channels, which changes the result."""
    network = random_unet({"heads": 4})
    attentions = [m for m in network.modules() if isinstance(m, MultiHeadAttention)]
    assert {m.query.out_features // m.head_width for m in attentions} == {4}
    assert {m.head_width for m in attentions} == {8, 16}
    assert not torch.equal(network(*inputs()), random_unet({})(*inputs()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"widths": (32, 60)}, "multiple of 8"),
        ({"widths": (32, 72)}, "head_width"),
        ({"widths": (32,)}, "one entry per level"),
        ({"blocks": (0, 1)}, "at least 1"),
        ({"attention": (True,)}, "one entry per level"),
        ({"heads": 5}, "number of heads, 5"),
        ({"layer_scale": 1e-6}, "set block to convnext"),
        ({"activation": "relu"}, "activation"),
        ({"patches": 4}, "patches"),
    ],
)
def test_invalid_configurations_raise_validation_error(wrong, message):
    with pytest.raises(ValidationError, match=message):
        UNetConfig(**{**SMALL.model_dump(), **wrong})


def test_inputs_of_wrong_shape_raise_value_error(unet):
    x, t, condition = inputs()
    narrow = Condition(condition.tokens[..., :8], condition.mask, condition.attributes)
    for arguments, message in [
        ((x[:, :2], t, condition), "images must be"),
        ((x[:, :, :30], t, condition), "multiples of 8"),
        ((x, t[:1], condition), "agree"),
        ((x[:1], t, condition), "agree"),
        ((x, t, narrow), "this network requires 24 and 10"),
        ((x, t, Condition(condition.tokens, condition.mask, torch.zeros(2, 3, 10))), "3 frames"),
    ]:
        with pytest.raises(ValueError, match=message):
            unet(*arguments)


def test_out_channels_may_differ_from_in_channels():
    """As for a learned variance. With duplicated output weights both halves equal the usual output."""
    torch.manual_seed(0)
    plain = UNet(SMALL).eval()
    torch.nn.init.normal_(plain.out.weight)
    double = UNet(SMALL.model_copy(update={"out_channels": 6})).eval()
    weights = plain.state_dict()
    weights |= {f"out.{name}": torch.cat([weights[f"out.{name}"]] * 2) for name in ("weight", "bias")}
    double.load_state_dict(weights)
    x, t, condition = inputs()
    with torch.no_grad():
        expected = plain(x, t, condition)
        assert expected.any()
        torch.testing.assert_close(double(x, t, condition), torch.cat([expected] * 2, dim=1))
