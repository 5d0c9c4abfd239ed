"""Attention against softmax attention in float64; embeddings against diffusers."""

import math

import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding

from core.nn import attention
from core.nn.attention import MultiHeadAttention, scaled_dot_product
from core.nn.embeddings import ConditionEmbedding, timestep_embedding


def reference(query, key, value, mask=None, bias=None):
    """Softmax attention in float64, one query at a time over its unmasked keys."""
    out = torch.zeros(query.shape, dtype=torch.float64)
    query, key, value = query.double(), key.double(), value.double()
    batch, heads, count, width = query.shape
    for b in range(batch):
        allowed = slice(None) if mask is None else mask[b].nonzero()[:, 0]
        for h in range(heads):
            for n in range(count):
                logits = (key[b, h, allowed] * query[b, h, n]).sum(-1) / math.sqrt(width)
                if bias is not None:
                    logits = logits + bias[h, n, allowed].double()
                weights = logits.exp() / logits.exp().sum()
                out[b, h, n] = (weights[:, None] * value[b, h, allowed]).sum(0)
    return out


@pytest.fixture
def case():
    """Query, key, value, mask and bias."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 3, 5, 16, generator=generator)
    key, value = torch.randn(2, 2, 3, 7, 16, generator=generator)
    mask = torch.tensor([[1, 1, 1, 0, 1, 0, 0], [0, 0, 0, 1, 0, 0, 0]], dtype=torch.bool)
    bias = torch.randn(3, 5, 7, generator=generator)
    return query, key, value, mask, bias


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_scaled_dot_product_is_softmax_attention(case, with_mask, with_bias):
    query, key, value, mask, bias = case
    extra = {"mask": mask if with_mask else None, "bias": bias if with_bias else None}
    torch.testing.assert_close(
        scaled_dot_product(query, key, value, **extra).double(),
        reference(query, key, value, **extra),
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_xformers_gets_its_layout(case, with_mask, with_bias, monkeypatch):
    """xFormers requires (B,N,heads,width) and a (B,heads,N,L) bias with rows aligned to eight elements."""
    query, key, value, mask, bias = case

    def kernel(q, k, v, attn_bias=None):
        assert q.shape == (2, 5, 3, 16) and k.shape == v.shape == (2, 7, 3, 16)
        logits = torch.einsum("bnhw,blhw->bhnl", q, k) / 4
        if attn_bias is not None:
            assert attn_bias.shape == (2, 3, 5, 7) and attn_bias.stride(-2) % 8 == 0
            assert attn_bias.dtype == q.dtype
            logits = logits + attn_bias
        return torch.einsum("bhnl,blhw->bnhw", logits.softmax(-1), v)

    class OnCuda(torch.Tensor):
        is_cuda = True  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]

    monkeypatch.setattr(attention, "memory_efficient_attention", kernel)
    extra = {"mask": mask if with_mask else None, "bias": bias if with_bias else None}
    result = scaled_dot_product(query.as_subclass(OnCuda), key, value, **extra).as_subclass(torch.Tensor)
    torch.testing.assert_close(result.double(), reference(query, key, value, **extra), atol=1e-5, rtol=1e-5)


def test_masked_keys_have_no_influence(case):
    query, key, value, mask, bias = case
    before = scaled_dot_product(query, key, value, mask=mask, bias=bias)
    hidden = ~mask[:, None, :, None]
    after = scaled_dot_product(
        query, key.masked_fill(hidden, 50.0), value.masked_fill(hidden, -50.0), mask=mask, bias=bias
    )
    assert torch.equal(before, after)


def test_one_context_is_shared_by_consecutive_rows():
    torch.manual_seed(0)
    layer = MultiHeadAttention(32, 16, context_width=24)
    torch.nn.init.normal_(layer.out.weight)
    x, context = torch.randn(6, 5, 32), torch.randn(2, 7, 24)
    mask = torch.arange(7) < torch.tensor([[7], [3]])
    repeated = layer(x, context.repeat_interleave(3, dim=0), mask=mask.repeat_interleave(3, dim=0))
    torch.testing.assert_close(layer(x, context, mask=mask), repeated)


def test_new_attention_returns_zeros_and_checks_its_widths():
    assert MultiHeadAttention(32, 16)(torch.randn(2, 5, 32)).count_nonzero() == 0
    with pytest.raises(ValueError, match="multiple of head width"):
        MultiHeadAttention(40, 16)


@pytest.mark.parametrize("t", [torch.tensor([0, 1, 500, 999]), torch.tensor([0.25, 17.5, 998.75])])
def test_timestep_embedding_matches_diffusers(t):
    expected = get_timestep_embedding(t, 96, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(timestep_embedding(t, 96), expected, atol=1e-6, rtol=0)


def test_an_odd_width_of_timestep_embedding_raises_value_error():
    with pytest.raises(ValueError, match="even"):
        timestep_embedding(torch.tensor([1]), 7)


def test_condition_embedding_pools_real_tokens_only():
    torch.manual_seed(0)
    embed = ConditionEmbedding(32, 64, 24, 10)
    t, tokens, attributes = torch.tensor([5, 900]), torch.randn(2, 6, 24), torch.randn(2, 10)
    mask = torch.arange(6) < torch.tensor([[6], [2]])
    full = embed(t, tokens, mask, attributes)
    short = embed(t[1:], tokens[1:, :2], mask[1:, :2], attributes[1:])
    torch.testing.assert_close(full[1:], short)
    per_frame = embed(t, tokens, mask, attributes[:, None].expand(-1, 3, -1))
    assert per_frame.shape == (2, 3, 64)
    torch.testing.assert_close(per_frame[:, 2], full)


def test_a_trained_gate_makes_the_effect_of_attributes_depend_on_the_text():
    torch.manual_seed(0)
    embed = ConditionEmbedding(32, 64, 24, 10)
    t, tokens, mask = torch.tensor([5, 5]), torch.randn(2, 6, 24), torch.ones(2, 6, dtype=torch.bool)
    attributes = torch.randn(1, 10).expand(2, -1)

    def effect():
        return embed(t, tokens, mask, attributes) - embed(t, tokens, mask, torch.zeros(2, 10))

    plain = effect()
    torch.testing.assert_close(plain[0], plain[1])
    torch.nn.init.normal_(embed.gate.weight)
    gated = effect()
    assert (gated[0] - gated[1]).norm() > plain[0].norm()
