"""What an evaluation found: shares with their intervals, samples beside renders; as a table and as JSON."""

from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel, Field, computed_field
from rich.table import Table
from torch import Tensor

from core.io.atomic import atomic_write
from dreamlift.evaluation.video_metrics import wilson


class Share(BaseModel):
    """How many answers were right."""

    right: int
    count: int

    @computed_field
    @property
    def share(self) -> float:
        return self.right / self.count

    @computed_field
    @property
    def interval(self) -> tuple[float, float]:
        """95%, Wilson's."""
        return wilson(self.right, self.count)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.1%}  [{low:.1%}, {high:.1%}]"


class Accuracy(BaseModel):
    """The judge's accuracy on samples, and on the renders of the very same scenes."""

    samples: Share
    renders: Share


class LevelComparison(BaseModel):
    """A measure's mean over samples, and over the renders of the very same scenes."""

    unit: str
    samples: float
    renders: float

    @computed_field
    @property
    def ratio(self) -> float | None:
        return self.samples / self.renders if self.renders else None


class SampleReport(BaseModel):
    """One prompt, and what the judge saw where it should have seen `truth`."""

    prompt: str
    seed: int
    azimuth: float
    phase: float
    truth: dict[str, str]
    sample: dict[str, str]
    render: dict[str, str]


class Report(BaseModel):
    """An evaluation of one model."""

    kind: str  # image or video
    model: str
    model_sha256: str
    judge_sha256: str
    held_out: bool
    steps: int
    guidance: float
    seed: int
    device: str
    seconds: float  # of sampling
    accuracy: dict[str, Accuracy]
    levels: dict[str, LevelComparison] = {}
    swings: int = 0  # clips behind the levels that speak of swings
    items: list[SampleReport]
    created: datetime = Field(default_factory=lambda: datetime.now(timezone.utc))

    def table(self) -> Table:
        """For the terminal."""
        pairs = "held-out" if self.held_out else "trained"
        count = len(self.items)
        seconds = f"{self.seconds / max(1, count + self.swings):.2f} s each"
        table = Table(title=f"{self.model}: {count} prompts of {pairs} pairs, {self.steps} steps, {seconds}")
        table.add_column("")
        for column in ("samples", "renders", "ratio"):
            table.add_column(column, justify="right")
        for name, accuracy in self.accuracy.items():
            table.add_row(name, str(accuracy.samples), str(accuracy.renders))
        for name, level in self.levels.items():
            ratio = "" if level.ratio is None else f"{level.ratio:.2f}"
            unit = f", {level.unit}" if level.unit else ""
            table.add_row(name + unit, f"{level.samples:.3f}", f"{level.renders:.3f}", ratio)
        return table

    def write(self, path: Path) -> None:
        """Writes the report as JSON. Raises UserError in an unwritable folder."""
        with atomic_write(path) as draft:
            draft.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def score(truth: Tensor, samples: Tensor, renders: Tensor) -> Accuracy | None:
    """Of chosen labels (N,) beside the right ones, -1 where there is none; None when there is none at all."""
    asked = truth >= 0
    count = int(asked.sum())
    if not count:
        return None

    def share(chosen: Tensor) -> Share:
        return Share(right=int((chosen == truth)[asked].sum()), count=count)

    return Accuracy(samples=share(samples), renders=share(renders))
