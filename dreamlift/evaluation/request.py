"""What an evaluation is asked for, checked before anything heavy is imported."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class EvaluationOptions(BaseModel):
    """The options of `dreamlift evaluate`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path
    judge: Path
    out: Path
    count: int = Field(ge=1)
    held_out: bool
    steps: int = Field(ge=1, le=1000)
    guidance: float = Field(ge=0, le=100)  # diffusers' scale: 1 is none
    seed: int = Field(ge=0)
    batch: int = Field(ge=1)
    device: str
    swings: int = Field(default=0, ge=0)  # clips only
