"""Low-rank adaptation (LoRA) of a network whose own weights do not change."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from core.condition import Condition

PARTS = ("down", "up")  # A and B


def add_changes(weights: Mapping[str, Tensor], changes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by name with B A added where `changes` has NAME.down, (r,inputs), and NAME.up, (outputs,r).

    What `changes` has by other names are weights themselves, of layers that were added to the network.

    Raises KeyError for a change of a weight that there is not, and RuntimeError for one of another shape.
    """
    pairs = [key for key in changes if key.rpartition(".")[2] in PARTS]
    changed = {**weights, **{key: value for key, value in changes.items() if key not in pairs}}
    for name in dict.fromkeys(key.rpartition(".")[0] for key in pairs):
        down, up = (changes[f"{name}.{part}"] for part in PARTS)
        weight = weights[name]
        changed[name] = weight + (up @ down).view_as(weight).to(weight.dtype)
    return changed


class LoRANetwork(nn.Module):
    """A network with W + B A in place of the weight W of every Linear and Conv2d (Hu et al. 2021, "LoRA").

    B is initialized with zeros, so the initial output is the network's. Only A and B, and copies of what is
    new in the network, are parameters of this module. `torch.func.functional_call` substitutes the weights
    during each call; the network itself is never modified.

    A and B are float32 whatever the dtype of W: in bfloat16 most steps of an optimizer would be rounded away.
    """

    def __init__(
        self, network: nn.Module, rank: int, generator: torch.Generator, added: str | None = None
    ) -> None:
        """rank: of each B A, at most the layer's own; generator: samples A ~ N(0, 1 / inputs of a unit).

        added: name of a module of the network that is new, so that its weights are parameters themselves.

        Raises ValueError when rank is below 1 or the network has no such layers.
        """
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank must be at least 1, not {rank}")
        new = {n: value for n, value in network.named_parameters() if added and n.startswith(f"{added}.")}
        layers = {
            f"{name}.weight".lstrip("."): module.weight
            for name, module in network.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d) and f"{name}.weight" not in new
        }
        if not layers:
            raise ValueError("the network has no Linear or Conv2d to adapt")
        self._network = (network,)  # a tuple: its parameters must not be registered in this module
        self.adapted, self.new = tuple(layers), tuple(new)
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        self.added = nn.ParameterList(nn.Parameter(value.detach().clone()) for value in new.values())
        for weight in layers.values():
            outputs, inputs = weight.flatten(1).shape
            width = min(rank, outputs, inputs)
            noise = torch.randn(width, inputs, generator=generator, device=generator.device)
            self.down.append(nn.Parameter(noise.to(weight.device) / inputs**0.5))
            self.up.append(nn.Parameter(torch.zeros(outputs, width, device=weight.device)))

    @property
    def network(self) -> nn.Module:
        """The unmodified network."""
        return self._network[0]

    def weights(self) -> dict[str, Tensor]:
        """All weights of the adapted network by name; gradients reach A, B and the new weights only."""
        weights = {name: weight.detach() for name, weight in self.network.named_parameters()}
        return add_changes(weights, self.changes())

    def changes(self) -> dict[str, Tensor]:
        """A and B of every adapted weight NAME, as NAME.down and NAME.up, and new ones, for `add_changes`."""
        pairs = zip(self.adapted, self.down, self.up, strict=True)
        changes = {
            f"{name}.{part}": each for name, *both in pairs for part, each in zip(PARTS, both, strict=True)
        }
        return changes | dict(zip(self.new, self.added, strict=True))

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The output of the adapted network; arguments as for the network."""
        return functional_call(self.network, self.weights(), (x, t, condition))
