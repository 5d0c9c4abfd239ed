"""The compiled network and a CUDA graph of it have the numbers of eager calls."""

import torch

from core.condition import Condition
from core.nn.unet import UNet, UNetConfig


def network_and_inputs(device: torch.device) -> tuple[UNet, tuple[torch.Tensor, torch.Tensor, Condition]]:
    torch.manual_seed(0)
    network = UNet(UNetConfig(widths=(32, 64), blocks=(1, 1), attention=(False, True)))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    condition = Condition(torch.randn(2, 4, 384), torch.ones(2, 4) > 0, torch.zeros(2, 10)).to(device)
    return network.to(device).eval(), (
        torch.randn(2, 3, 32, 32, device=device),
        torch.tensor([10, 500], device=device),
        condition,
    )


@torch.no_grad()
def test_a_compiled_network(cuda: torch.device) -> None:
    network, inputs = network_and_inputs(cuda)
    torch.testing.assert_close(torch.compile(network)(*inputs), network(*inputs), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_a_graph_of_a_call(cuda: torch.device) -> None:
    network, inputs = network_and_inputs(cuda)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):  # the first calls choose kernels and fill caches, which cannot be recorded
            expected = network(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = network(*inputs)
    graph.replay()
    torch.testing.assert_close(recorded, expected)
