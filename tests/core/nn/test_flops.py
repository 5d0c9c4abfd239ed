"""Counted operations against closed forms and against torch's own counter."""

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from core.condition import Condition
from core.nn.flops import FlopCounter
from core.nn.unet import UNet, UNetConfig


def test_products_convolutions_and_attention_are_counted() -> None:
    q = torch.randn(2, 4, 24, 32)
    with FlopCounter() as counter, torch.no_grad():
        torch.randn(5, 7) @ torch.randn(7, 11)
        F.conv2d(torch.randn(2, 3, 8, 8), torch.randn(6, 3, 3, 3), padding=1)
        F.scaled_dot_product_attention(q, q, q, attn_mask=torch.ones(2, 1, 1, 24, dtype=torch.bool))
    product = 2 * 5 * 7 * 11
    convolution = 2 * (2 * 6 * 8 * 8) * (3 * 3 * 3)
    attention = 2 * (2 * 2 * 4 * 24 * 24 * 32)  # q k^T, then weights v
    assert counter.total == product + convolution + attention


def test_composite_operations_are_counted_in_inference_mode() -> None:
    x, weight = torch.randn(5, 7), torch.randn(11, 7)
    with torch.inference_mode(), FlopCounter() as counter:
        F.linear(x, weight)
    assert counter.total == 2 * 5 * 7 * 11


def test_a_network_and_its_gradient_count_as_by_torchs_counter() -> None:
    """Without attention: torch does not count a CPU's fused kernel."""
    network = UNet(UNetConfig(widths=(32, 64), blocks=(1, 1), attention=(False, False)))
    condition = Condition(torch.zeros(2, 4, 384), torch.ones(2, 4) > 0, torch.zeros(2, 10))
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([0, 500])
    totals = []
    for counter in (FlopCounter(), FlopCounterMode(display=False)):
        with counter:
            network(x, t, condition).square().mean().backward()
        totals.append(counter.total if isinstance(counter, FlopCounter) else counter.get_total_flops())
    assert totals[0] == totals[1] > 1e6
