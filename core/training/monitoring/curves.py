"""Curves of a run, drawn from its log: training and validation loss, learning rate, gradient norm."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from core.io.atomic import atomic_write
from core.training.monitoring import run_log

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = "curves.png"
PANELS = {"loss": ("loss", "validation"), "learning rate": ("lr",), "gradient norm": ("gradient",)}
NAMES = {"loss": "training", "validation": "validation, averaged weights"}  # in the legend


def curves(lines: list[dict[str, float]]) -> Figure:
    """Figure of the log's values over the steps, a panel each for losses, learning rate and gradient norm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 9), layout="constrained")
    panels = figure.subplots(len(PANELS), sharex=True)
    for axes, (title, keys) in zip(panels, PANELS.items(), strict=True):
        for key in keys:
            points = [(line["step"], line[key]) for line in lines if key in line]
            if points:
                few = "." if len(points) < 50 else None
                axes.plot(*zip(*points, strict=True), marker=few, label=NAMES.get(key, title))
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
        if title != "learning rate":
            axes.set_yscale("log")
        if len(axes.lines) > 1:
            axes.legend()
    panels[-1].set_xlabel("step")
    return figure


def write_curves(run: Path) -> str:
    """Draws `curves.png` in a run folder; returns a sentence about it for the user, empty without a log."""
    lines = run_log.read(run)
    if not lines:
        return ""
    if not find_spec("matplotlib"):
        return f"{run / FILE} is left out: pip install matplotlib draws it."
    with atomic_write(run / FILE) as draft:
        curves(lines).savefig(draft, dpi=100)
    return f"{run / FILE}: loss, learning rate and gradient norm by step"
