"""Adam against torch's own, bit for bit."""

import torch
from torch import Tensor, nn

from core.nn.adam import Adam

RATES = (0.1, 0.03, 0.01, 0.003)


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 4), (5,), (2, 2))]


def loss(values: list[nn.Parameter], step: int) -> Tensor:
    """The second parameter takes part in the later steps only, the third in none."""
    used = values[: 1 + (step > 1)]
    return sum(((value - 1).pow(4).sum() for value in used), torch.tensor(0.0))


def test_steps_and_state_are_those_of_torch() -> None:
    ours, theirs = parameters(), parameters()
    adam = Adam(ours, RATES[0], betas=(0.9, 0.99), eps=1e-15)
    reference = torch.optim.Adam(theirs, RATES[0], betas=(0.9, 0.99), eps=1e-15)
    for step, rate in enumerate(RATES):
        adam.learning_rate = reference.param_groups[0]["lr"] = rate
        for values, optimizer in ((ours, adam), (theirs, reference)):
            optimizer.zero_grad()
            loss(values, step).backward()
            optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    state = reference.state_dict()["state"]
    assert adam.state.keys() == state.keys() == {0, 1}
    for number, tensors in state.items():
        assert tensors.keys() == adam.state[number].keys()
        assert all(torch.equal(value, adam.state[number][name]) for name, value in tensors.items())


def test_a_restored_state_continues_as_without_interruption() -> None:
    full, half = parameters(), parameters()
    whole, first = Adam(full, 0.1), Adam(half, 0.1)
    for optimizer, values, steps in ((whole, full, range(4)), (first, half, range(2))):
        for step in steps:
            optimizer.zero_grad()
            loss(values, step).backward()
            optimizer.step()
    second = Adam(half, 0.1)
    second.load_state(first.state)
    for step in (2, 3):
        second.zero_grad()
        loss(half, step).backward()
        second.step()
    assert all(torch.equal(one, other) for one, other in zip(full, half, strict=True))
    assert first.state[0]["step"] == 2  # copied, not shared
