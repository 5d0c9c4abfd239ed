"""The notebooks run as they stand, on less; what is committed of their outputs is whole and small."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
FIGURE, ALL = 60_000, 1_200_000  # bytes: of one figure, and of all in eight notebooks


def outputs(path: Path) -> list[list[str]]:
    """The kinds of output of each code cell."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [[o["output_type"] for o in cell["outputs"]] for cell in cells if cell["cell_type"] == "code"]


def figures(path: Path) -> list[bytes]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return [base64.b64decode(shown["image/png"]) for shown in data if "image/png" in shown]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_what_is_committed(notebook: Path, tmp_path: Path) -> None:
    """Other numbers and pictures, for it trains less; but of the same kinds, cell by cell."""
    copy = Path(shutil.copy(notebook, tmp_path))
    cells = json.loads(copy.read_text(encoding="utf-8"))
    for cell in cells["cells"]:
        cell.update({"outputs": []} if cell["cell_type"] == "code" else {})
    copy.write_text(json.dumps(cells), encoding="utf-8")
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "execute.py"), str(copy)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "FAST": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stderr
    assert outputs(copy) == outputs(notebook)
    assert len(figures(copy)) >= 4


def test_committed_figures_are_whole_and_small() -> None:
    pictures = [png for notebook in NOTEBOOKS for png in figures(notebook)]
    assert len(NOTEBOOKS) == 8 and pictures
    for png in pictures:
        Image.open(io.BytesIO(png)).load()  # raises where bytes were changed
    sizes = [*map(len, pictures)]
    assert max(sizes) <= FIGURE and sum(sizes) <= ALL
