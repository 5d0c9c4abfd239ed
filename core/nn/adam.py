"""Adam without torch.optim's optimizer classes, which import torch's compiler."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from core.io.weights import first_misfit


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1): the numbers and the state of `torch.optim.Adam`.

    `torch.optim.Adam` imports torch._dynamo when it is made, which takes more than a second; its function
    `torch.optim.adam.adam` does not.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        """learning_rate: of the next step; it may be changed between steps."""
        self.parameters = list(parameters)
        self.learning_rate, self.betas, self.eps = learning_rate, betas, eps
        self.state: dict[int, dict[str, Tensor]] = {}  # step and moments by number of the parameter

    def zero_grad(self) -> None:
        """Drops all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Updates the parameters that have a gradient, in place."""
        numbers = [number for number, parameter in enumerate(self.parameters) if parameter.grad is not None]
        for number in numbers:
            self.state.setdefault(number, _initial_state(self.parameters[number]))
        steps, means, squares = (
            [self.state[number][name] for number in numbers] for name in ("step", "exp_avg", "exp_avg_sq")
        )
        adam(
            [self.parameters[number] for number in numbers],
            [gradient for number in numbers if (gradient := self.parameters[number].grad) is not None],
            means,
            squares,
            [],
            steps,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=self.eps,
            maximize=False,
        )

    def load_state(self, state: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Restores `state`, on the devices of the parameters. The tensors are copied.

        Raises ValueError for a state of other parameters.
        """
        for number, tensors in state.items():
            needed = _initial_state(self.parameters[number])
            if misfit := first_misfit(needed, tensors):
                raise ValueError(f"in the state of the optimizer {misfit} (parameter {number})")
        self.state = {
            number: {
                name: value.clone() if name == "step" else value.to(self.parameters[number], copy=True)
                for name, value in tensors.items()
            }
            for number, tensors in state.items()
        }


def _initial_state(parameter: nn.Parameter) -> dict[str, Tensor]:
    """Step 0 and zero moments. The step stays on the CPU, so that reading it does not wait for a GPU."""
    return {
        "step": torch.tensor(0.0),
        "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
    }
