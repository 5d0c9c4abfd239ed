"""Hyperparameters and length of a training run."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from core.errors import UserError
from core.io.values import SEEDS, check_range

MOST_STEPS, A_YEAR = 10**9, 525_600  # steps and minutes of a run
Share = Annotated[float, Field(ge=0, lt=1)]


class TrainingConfig(BaseModel):
    """Hyperparameters of a training run: the `training` section of a preset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(default=64, ge=1, le=2**20, description="samples per step over all processes")
    accumulation: int = Field(
        default=1,
        ge=1,
        le=2**20,
        description="parts in which a process takes its share of a batch, to need less memory",
    )
    learning_rate: float = Field(default=5e-4, gt=0, le=10)
    warmup_steps: int = Field(default=200, ge=0, le=MOST_STEPS)
    decay: float = Field(
        default=0.3, ge=0, le=1, description="last fraction of the run, over which the rate falls to 0"
    )
    betas: tuple[Share, Share] = (0.9, 0.99)
    weight_decay: float = Field(
        default=0.01, ge=0, le=1, description="decay of weight matrices; biases and gains have none"
    )
    gradient_clip: float = Field(default=1.0, gt=0, description="maximum norm of the gradient")
    ema_width: float = Field(
        default=0.05, gt=0, le=0.25, description="relative width of the weight average, see EMA"
    )
    checkpoint_minutes: float = Field(default=5.0, ge=0, le=A_YEAR)
    log_steps: int = Field(default=20, ge=1, le=MOST_STEPS)
    compile: bool = Field(default=True, description="torch.compile the network")
    channels_last: bool = Field(default=True, description="memory layout of convolutions")
    bfloat16: bool = Field(default=True, description="autocast to bfloat16 on devices where it is fast")
    checkpoint_activations: bool = Field(
        default=False, description="recompute activations in the backward pass, to need less memory"
    )
    seed: int = Field(default=0, ge=0, lt=SEEDS)


class MonitoringConfig(BaseModel):
    """What is watched during a run: the `monitoring` section of a preset. It does not change the training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    validation: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of the examples that is held back; null: 0.05 of one's own pictures and clips "
        "where there are 100, and none of prepared shards",
    )
    validation_steps: int = Field(default=250, ge=1, description="steps from one validation to the next")
    sample_steps: int = Field(default=500, ge=1, description="steps from one sheet of samples to the next")


@dataclass(frozen=True)
class Budget:
    """Length of a run in steps or minutes; the first limit reached ends it. Raises UserError without one."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.steps, self.minutes) if limit is not None]
        if not limits or min(limits) <= 0:
            raise UserError("Training needs a number of steps or of minutes above zero.")
        for limit, most, label in ((self.steps, MOST_STEPS, "--steps"), (self.minutes, A_YEAR, "--minutes")):
            if limit is not None:
                check_range(limit, 0, most, label)

    def is_spent(self, step: int, seconds: float) -> float:
        """Completed fraction of the run; the run ends at 1 or more. seconds: time trained so far."""
        by_steps = step / self.steps if self.steps else 0.0
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        return max(by_steps, by_time)
