"""The figures of a benchmark as they are stored in JSON, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from statistics import median
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from dreamlift.bench.rounds import Interval, median_interval

OURS = "ours"
NOT_INSTALLED = "not installed"
Relation = Literal["ratio", "ratio per GFLOP", "difference"]
Suite = Literal["core", "video", "dream3d", "start", "gpu"]

Figure = Annotated[float, AfterValidator(lambda value: float(f"{value:.4g}"))]
"""A number with four significant digits: no measurement here has more."""


class Stored(BaseModel):
    """A part of the JSON file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Work(Stored):
    """Arithmetic and memory traffic of one repeat."""

    gflop: Figure  # products, convolutions and attention
    gbytes: Figure  # tensors that operations read and write, whether or not caches hold them


class Measured(Stored):
    """One side of a comparison, by repeat."""

    seconds: list[Figure]
    peak_gb: Figure | None = None  # of its process
    output: Figure | None = None  # a scalar of the result: sides of equal work agree


class Comparison(Stored):
    """The same work, or the same kind of work, on several sides in turn; `ours` is one of them."""

    table: str
    name: str
    per: str  # what one repeat is, such as "step" or "call"
    sides: dict[str, Measured]
    missing: list[str] = []  # sides whose library is not installed
    work: dict[str, Work] = {}  # by side
    relation: Relation = "ratio"  # of ours to another side; per GFLOP where their work differs

    def relative(self, other: str) -> Interval:
        """Our seconds in relation to another side's of the same rounds, see `relation`."""
        pairs = [*zip(self.sides[OURS].seconds, self.sides[other].seconds, strict=True)]
        if self.relation == "difference":
            return median_interval([ours - theirs for ours, theirs in pairs])
        scale = 1.0
        if self.relation == "ratio per GFLOP":
            scale = self.work[other].gflop / self.work[OURS].gflop
        return median_interval([scale * ours / theirs for ours, theirs in pairs])


class CostPoint(Stored):
    """Repeats at one value of a parameter."""

    value: int
    seconds: list[Figure]
    work: Work | None = None


class Cost(Stored):
    """How seconds grow with a parameter."""

    name: str
    parameter: str  # such as "frames"
    points: list[CostPoint]

    @property
    def exponent(self) -> float:
        """Slope of the logarithm of the median seconds over that of the parameter, by least squares."""
        x = [log(point.value) for point in self.points]
        y = [log(median(point.seconds)) for point in self.points]
        return _slope(x, y)


class Part(Stored):
    """A part of some work, by repeat."""

    seconds: list[Figure]
    gflop: Figure | None = None


class Parts(Stored):
    """Work by its parts, which add up to it; the part `other` is the rest."""

    name: str
    per: str
    parts: dict[str, Part]

    @property
    def seconds(self) -> float:
        """The sum of the parts' medians."""
        return sum(median(part.seconds) for part in self.parts.values())

    def share(self, name: str) -> float:
        """Share of a part in the seconds of all."""
        return median(self.parts[name].seconds) / self.seconds


class Rates(Stored):
    """Rates of the machine, see `core.machine_rates.MachineRates`."""

    matmul: Figure
    convolution: Figure
    bfloat16: Figure
    memory: Figure


class Environment(Stored):
    """Where and when the figures were measured."""

    processor: str
    device: str
    threads: int
    clock: str
    load: list[Figure]  # before and after: processes that ran or waited, in the mean of a minute
    versions: dict[str, str]
    date: str


class BenchResult(Stored):
    """All figures of one run of one suite."""

    suite: Suite
    command: str
    quick: bool  # few repeats of small sizes: a trial, not a measurement
    environment: Environment
    rates: Rates
    comparisons: list[Comparison] = []
    costs: list[Cost] = []
    parts: list[Parts] = []
    not_run: dict[str, str] = {}  # titles of rows that could not be measured, and why

    @property
    def reference(self) -> tuple[str, float]:
        """Name and GFLOP/s of the rate by which rows are judged: of convolutions; on GPUs, of bfloat16."""
        if self.suite == "gpu":
            return "bfloat16 rate", self.rates.bfloat16
        return "convolution rate", self.rates.convolution


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of the line of least squares through points (x, y)."""
    center, level = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - center) ** 2 for a in x)
    return sum((a - center) * (b - level) for a, b in zip(x, y, strict=True)) / spread
