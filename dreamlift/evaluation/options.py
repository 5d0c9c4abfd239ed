"""Options of `dreamlift evaluate image` and `video`, validated before heavy modules are imported."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class EvaluationOptions(BaseModel):
    """Options of `dreamlift evaluate image` and `video`; the field names are those of the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path
    judge: Path
    out: Path
    count: int = Field(ge=1)
    held_out: bool
    steps: int = Field(ge=1, le=1000)
    guidance: float = Field(ge=0, le=100)  # diffusers' scale; 1 disables guidance
    seed: int = Field(ge=0)
    batch: int = Field(ge=1)
    device: str
    swings: int = Field(default=0, ge=0)  # additional clips of swings; video only
