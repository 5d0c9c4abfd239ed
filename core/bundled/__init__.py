"""The weights that ship with the package, one folder a model: image, video, judge."""

from pathlib import Path

BUNDLED = Path(__file__).parent


def super_resolution_beside(model: Path) -> Path | None:
    """Folder of the super-resolution model that lies beside the folder of an image or video model, if any."""
    folder = model.parent / "super_resolution"
    return folder if folder.is_dir() else None
