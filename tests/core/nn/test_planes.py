"""Linear layers between planes and rows of channels, against the layer itself and a transposition."""

import pytest
import torch
from torch import nn

from core.nn.planes import planes_to_rows, rows_to_planes


@pytest.mark.parametrize(("inputs", "outputs", "count"), [(3, 5, 1), (32, 96, 70)])
def test_one_product_equals_a_layer_and_a_transposition(inputs: int, outputs: int, count: int) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(inputs, outputs, dtype=torch.float64)
    planes = torch.randn(4, inputs, count, dtype=torch.float64, requires_grad=True)
    wanted = layer(planes.mT)
    weights = torch.randn_like(wanted)
    parameters = (planes, layer.weight, layer.bias)
    gradients = torch.autograd.grad((wanted * weights).sum(), parameters)

    rows = planes_to_rows(layer, planes)
    planes_again = rows_to_planes(layer, planes.mT)
    assert rows.shape == (4, count, outputs) and planes_again.shape == (4, outputs, count)
    for found, weighted in ((rows, weights), (planes_again, weights.mT)):
        torch.testing.assert_close(found, wanted if found is rows else wanted.mT)
        for ours, true in zip(
            torch.autograd.grad((found * weighted).sum(), parameters), gradients, strict=True
        ):
            torch.testing.assert_close(ours, true)
