"""Report of an evaluation: accuracies with confidence intervals on samples and renders, as table and JSON."""

from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel, Field, computed_field
from rich.table import Table
from torch import Tensor

from core.io.files.listed import write_listed
from core.io.text import count_of
from core.tiers import Tier
from dreamlift.evaluation.judge import LABELS
from dreamlift.evaluation.measuring import EYES, EvaluationResult
from dreamlift.evaluation.prompt_set import PromptSet
from dreamlift.evaluation.video_metrics import wilson


class Share(BaseModel):
    """Share of correct predictions: `right` of `count`."""

    right: int
    count: int

    @computed_field
    @property
    def share(self) -> float:
        """`right / count`, in [0, 1]."""
        return self.right / self.count

    @computed_field
    @property
    def interval(self) -> tuple[float, float]:
        """95% confidence interval (Wilson)."""
        return wilson(self.right, self.count)

    def __str__(self) -> str:
        """Share and interval in percent."""
        low, high = self.interval
        return f"{self.share:.1%}  [{low:.1%}, {high:.1%}]"


class Accuracy(BaseModel):
    """Accuracy of the judge on samples, and on renders of the same scenes."""

    samples: Share
    renders: Share


class LevelComparison(BaseModel):
    """Mean of a measure over samples, and over renders of the same scenes."""

    unit: str
    samples: float
    renders: float

    @computed_field
    @property
    def ratio(self) -> float | None:
        """Samples over renders; None where the renders' mean is 0."""
        return self.samples / self.renders if self.renders else None


class SampleReport(BaseModel):
    """One prompt with its true labels and the judge's predictions for the sample and for the render."""

    prompt: str
    seed: int
    azimuth: float
    phase: float
    truth: dict[str, str]
    sample: dict[str, str]
    render: dict[str, str]


class Report(BaseModel):
    """Report of the evaluation of one model."""

    kind: str  # image or video
    size: int  # side of the compared pictures in pixels
    model: str
    model_sha256: str
    judge_sha256: str
    eyes_sha256: str | None = None  # of the detector of eyes
    held_out: bool
    steps: int
    sampler: str
    guidance: float
    tier: Tier = "exact"
    weak: bool = False  # whether a weaker version of the model guided the samples
    seed: int
    device: str
    seconds: float  # of sampling
    accuracy: dict[str, Accuracy]
    levels: dict[str, LevelComparison] = {}
    swings: int = 0  # number of clips behind the levels of swings
    items: list[SampleReport]
    created: datetime = Field(default_factory=lambda: datetime.now(timezone.utc))

    def table(self) -> Table:
        """The report as a table for the terminal."""
        pairs = "held-out" if self.held_out else "trained"
        count = len(self.items)
        seconds = f"{self.seconds / max(1, count + self.swings):.2f} s each"
        prompts, steps = count_of(count, "prompt"), count_of(self.steps, "step")
        title = f"{self.model}: {prompts} of {pairs} pairs, {steps}, {self.tier}, {self.size} pixels"
        table = Table(title=f"{title}, {seconds}")
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
        """Writes the report as JSON, by `write_listed`. Raises UserError in an unwritable folder."""
        with write_listed(path) as draft:
            draft.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def score(truth: Tensor, samples: Tensor, renders: Tensor) -> Accuracy | None:
    """Accuracy of predicted labels (N,) against true labels (N,), -1 for unlabeled rows, which do not count.

    None when no row is labeled.
    """
    labeled = truth >= 0
    count = int(labeled.sum())
    if not count:
        return None

    def share(predicted: Tensor) -> Share:
        return Share(right=int((predicted == truth)[labeled].sum()), count=count)

    return Accuracy(samples=share(samples), renders=share(renders))


def accuracies(
    kind: str, prompt_set: PromptSet, results: tuple[EvaluationResult, EvaluationResult]
) -> dict[str, Accuracy]:
    """Shares of right labels, and of pairs of eyes that are found."""
    samples, renders = results
    truth = prompt_set.true_labels()
    accuracy: dict[str, Accuracy] = {}
    names = {"action, by motion alone": "motion"} if kind == "video" else {}
    for title, name in (names | {name: name for name in LABELS}).items():
        scored = score(
            truth["action" if name == "motion" else name], samples.labels[name], renders.labels[name]
        )
        if scored:
            accuracy[title] = scored
    if EYES in samples.measures and not samples.measures[EYES].isnan().all():
        accuracy[EYES] = Accuracy(
            samples=share_of(samples.measures[EYES]), renders=share_of(renders.measures[EYES])
        )
    return accuracy


def sample_items(
    prompt_set: PromptSet, results: tuple[EvaluationResult, EvaluationResult]
) -> list[SampleReport]:
    """The true and predicted labels of every prompt."""
    samples, renders = results
    truth = prompt_set.true_labels()

    def words(labels: dict[str, Tensor], row: int) -> dict[str, str]:
        return {name: _word(name, int(values[row])) for name, values in labels.items()}

    return [
        SampleReport(
            prompt=prompt,
            seed=prompt_set.seeds[row],
            azimuth=round(prompt_set.azimuth[row].item(), 1),
            phase=round(prompt_set.phase[row].item(), 3),
            truth=words(truth, row),
            sample=words(samples.labels, row),
            render=words(renders.labels, row),
        )
        for row, prompt in enumerate(prompt_set.prompts)
    ]


def share_of(values: Tensor) -> Share:
    """Share of pictures, of those whose value is not NaN. A clip counts where most of its frames do."""
    known = values[~values.isnan()]
    return Share(right=int((known > 0.5).sum()), count=len(known))


def _word(head: str, label: int) -> str:
    """Name of a label, "none" where there is none."""
    words = LABELS["action" if head == "motion" else head]
    return words[label] if 0 <= label < len(words) else "none"


def level_of(
    results: tuple[EvaluationResult, EvaluationResult], name: str, unit: str, rows: Tensor | None = None
) -> LevelComparison:
    """Means of one measure over samples and renders, over all rows or those of a mask (N,)."""
    samples, renders = (
        (part.measures[name] if rows is None else part.measures[name][rows]).mean().item() for part in results
    )
    return LevelComparison(unit=unit, samples=samples, renders=renders)
