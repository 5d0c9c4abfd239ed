"""Options of `dreamlift evaluate image` and `video`, validated before heavy modules are imported."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.io.values import SEEDS
from core.sampling_options import SamplerName
from core.tiers import Tier

REPORT = "report.json"
IMAGE_FILES = (REPORT, "samples.png", "renders.png")  # what an evaluation writes into its folder
CLIP_FILES = (*IMAGE_FILES, "swings-samples.png", "swings-renders.png")
SHEET = "{:03d}.views.png"  # by the number of an object


class EvaluationOptions(BaseModel):
    """Options of `dreamlift evaluate image` and `video`; the field names are those of the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path
    judge: Path | None  # the bundled one of the pictures' size
    eyes: Path | None = None  # the bundled detector, if there is one
    contrastive: Path | None = None  # for R-Precision; by default that of an unCLIP model; images only
    super_resolution: Path | None = None  # enlarges the samples; by default the model's own stage
    size: Literal[64, 256] | None = None  # pixels at which samples and renders are compared; as drawn
    out: Path
    overwrite: bool = False  # replace files of the report's names, whoever has made them
    count: int = Field(ge=1, le=100_000)
    held_out: bool
    steps: int = Field(ge=1, le=1000)
    sampler: SamplerName = "dpm-solver++"
    guidance: float = Field(ge=0, le=100)  # diffusers' scale; 1 disables guidance
    tier: Tier = "exact"  # draft: the distilled model in its own steps; video only
    weak: bool = True  # guide by the weaker version of the model, where there is one
    seed: int = Field(ge=0, lt=SEEDS)
    batch: int = Field(ge=1, le=1024)
    device: str
    swings: int = Field(default=0, ge=0, le=100_000)  # additional clips of swings; video only
