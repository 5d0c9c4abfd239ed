"""Low-rank adaptation of a network that itself is never touched."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from core.condition import Condition


class LoRANetwork(nn.Module):
    """A network with W + B A in place of the weight W of every Linear and Conv2d (Hu et al. 2021, "LoRA").

    B starts at zero, so that the copy starts as the network. Only A and B are its parameters. The network
    is called with other weights for as long as a call takes (`torch.func.functional_call`), so there is
    nothing to undo: drop the copy, and the network is as it was.
    """

    def __init__(self, network: nn.Module, rank: int, generator: torch.Generator) -> None:
        """rank: of every B A, at most the layer's own; generator: draws A ~ N(0, 1 / inputs of a unit).

        Raises ValueError when rank is below 1 or the network has no such layers.
        """
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank must be at least 1, not {rank}")
        layers = {
            f"{name}.weight".lstrip("."): module.weight
            for name, module in network.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)
        }
        if not layers:
            raise ValueError("the network has no Linear or Conv2d to adapt")
        self._network = (network,)  # in a tuple, so that its parameters do not become this module's
        self.adapted = tuple(layers)
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        for weight in layers.values():
            outputs, inputs = weight.flatten(1).shape
            width = min(rank, outputs, inputs)
            drawn = torch.randn(width, inputs, generator=generator, device=generator.device)
            self.down.append(nn.Parameter(drawn.to(weight) / inputs**0.5))
            self.up.append(nn.Parameter(weight.new_zeros(outputs, width)))

    @property
    def network(self) -> nn.Module:
        """The network that is adapted, unchanged."""
        return self._network[0]

    def weights(self) -> dict[str, Tensor]:
        """All weights of the adapted network by name; the gradient reaches A and B alone."""
        weights = {name: weight.detach() for name, weight in self.network.named_parameters()}
        for name, down, up in zip(self.adapted, self.down, self.up, strict=True):
            weights[name] = weights[name] + (up @ down).view_as(weights[name])
        return weights

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """As the network's."""
        return functional_call(self.network, self.weights(), (x, t, condition))
