"""The pretended devices have the rules of CUDA and of MPS."""

import copy

import pytest
import torch
from torch import nn

from tests.pretended.device import PretendedDevice

ON_CUDA = pytest.mark.usefixtures("cuda")


@ON_CUDA
def test_tensors_of_two_devices_do_not_mix() -> None:
    here, there = torch.ones(3, device="cuda"), torch.ones(3)
    assert here.device == torch.device("cuda:0") and here.is_cuda and not there.is_cuda
    for mixed in (
        lambda: here + there,
        lambda: there + here,
        lambda: torch.where(there > 0, here, here),
        lambda: torch.stack([here.sum(), torch.tensor(1.0)]),
        lambda: here.index_select(0, torch.tensor([0])),
        lambda: nn.functional.mse_loss(there, here),
        lambda: there[torch.tensor([0], device="cuda")],
        lambda: nn.Linear(3, 3)(here),
        lambda: nn.Linear(3, 3).to("cuda")(there),
    ):
        with pytest.raises(RuntimeError, match="device"):
            mixed()


@ON_CUDA
def test_numbers_and_indices_of_the_cpu_are_taken() -> None:
    here = torch.arange(4.0, device="cuda")
    for result in (here * torch.tensor(2.0), here[torch.tensor([1, 2])], here.masked_fill(here > 1, 0.0)):
        assert result.is_cuda
    here[torch.tensor([0])] = torch.tensor([7.0], device="cuda")
    assert here.tolist() == [7, 1, 2, 3]
    here.copy_(torch.zeros(4))
    assert here.sum().item() == 0


@ON_CUDA
def test_copies_between_devices_share_no_memory() -> None:
    there = torch.zeros(2)
    here = there.to("cuda")
    back = here.cpu()
    here += 1
    assert here.is_cuda and not back.is_cuda and there.sum() == back.sum() == 0
    assert torch.zeros(1).to(here).is_cuda and here.to(torch.float64).is_cuda
    assert here.numel() == 2 and here.to("cuda") is here
    with pytest.raises(TypeError, match="numpy"):
        here.numpy()


@ON_CUDA
def test_generators_are_of_one_device() -> None:
    ours, theirs = torch.Generator(), torch.Generator("cuda")
    assert torch.randn(2, generator=theirs, device="cuda").is_cuda
    for generator, device in ((ours, "cuda"), (theirs, "cpu")):
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(2, generator=generator, device=device)
    with pytest.raises(RuntimeError, match="generator"):
        torch.zeros(2, device="cuda").normal_(generator=ours)


@ON_CUDA
def test_integer_products_and_other_devices_are_refused() -> None:
    whole = torch.ones(2, 2, dtype=torch.long, device="cuda")
    with pytest.raises(RuntimeError, match="not implemented"):
        whole @ whole
    with pytest.raises(RuntimeError, match="ordinal"):
        torch.zeros(1, device="cuda:1")


@ON_CUDA
def test_a_moved_network_learns_as_on_the_cpu() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    moved, x = copy.deepcopy(network).to("cuda"), torch.randn(5, 3)
    assert all(isinstance(each, nn.Parameter) and each.is_cuda for each in moved.parameters())
    for each, inputs in ((network, x), (moved, x.to("cuda"))):
        optimizer = torch.optim.AdamW(each.parameters(), lr=0.1, fused=True)
        for _ in range(3):
            optimizer.zero_grad()
            each(inputs).square().mean().backward()
            optimizer.step()
    ours, theirs = network.state_dict(), copy.deepcopy(moved).state_dict()
    assert all(theirs[name].is_cuda for name in ours)
    assert all(torch.equal(value, theirs[name].cpu()) for name, value in ours.items())
    assert not any(each.is_cuda for each in moved.cpu().parameters())


def test_mps_has_no_float64(mps: PretendedDevice) -> None:
    here = torch.ones(2, device="mps")
    assert here.device == torch.device("mps:0") and here.half().dtype == torch.float16 and not here.is_cuda
    assert here.cpu().double().sum() == 2
    for refused in (here.double, lambda: torch.zeros(1, dtype=torch.float64).to("mps")):
        with pytest.raises(TypeError, match="float64"):
            refused()
