"""The weights that ship with the package: a folder for each stage of the cascade, and what judges them."""

from pathlib import Path

BUNDLED = Path(__file__).parent
BUNDLED_VIDEO = BUNDLED / "video"


def model_beside(folder: Path, name: str) -> Path | None:
    """The sibling of this name of the folder of an image or video model, if any."""
    beside = folder.parent / name
    return beside if beside.is_dir() else None


def weak_version(folder: Path) -> Path | None:
    """Folder of the weaker version that guides an image model: weak/NAME beside NAME, if any."""
    return model_beside(folder, f"weak/{folder.name}")
