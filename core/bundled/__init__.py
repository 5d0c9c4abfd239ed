"""The weights that ship with the package: a folder for each stage of the cascade, and what judges them."""

import os
from pathlib import Path

BUNDLED = Path(__file__).parent
BUNDLED_VIDEO = BUNDLED / "video"


BUNDLED_NAME = "bundled"
OTHERS = ("emoji",)  # image models that ship besides the first, by their names
UNCLIP = "unclip"  # name of the one that also varies pictures


def bundled_model(name: str | Path, kind: str = "image") -> Path | None:
    """Folder of the model that ships under a name, if any; a folder of that name with a model comes first.

    name: "bundled", "unclip", or one of `OTHERS`; kind: of the first, the name of its folder, as "image" or
        "video".
    """
    own = any(os.path.isfile(Path(name, file)) for file in ("config.json", "preset.json"))
    if str(name) == BUNDLED_NAME and not own:
        return BUNDLED / kind
    return BUNDLED / name if str(name) in (*OTHERS, UNCLIP) and not own else None


def model_beside(folder: Path, name: str) -> Path | None:
    """The sibling of this name of the folder of an image or video model, if any."""
    beside = folder.parent / name
    return beside if beside.is_dir() else None


def weak_version(folder: Path) -> Path | None:
    """Folder of the weaker version that guides an image model: weak/NAME beside NAME, if any."""
    return model_beside(folder, f"weak/{folder.name}")
