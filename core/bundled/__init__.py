"""The weights that ship with the package, one folder a model: image, video, judge."""

from pathlib import Path

BUNDLED = Path(__file__).parent
