"""Runs notebooks without Jupyter and writes what their cells print and draw back into them.

python examples/execute.py examples/1_ddpm.ipynb ...        FAST=1 for a try on less
"""

import base64
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from PIL import Image

COLORS = 128  # of a figure's palette: a third of the size, and no eye sees it


def run(notebook: dict[str, Any]) -> None:
    """Runs the code cells in order, as one program, and puts their outputs in place of the old ones."""
    plt.switch_backend("agg")
    names = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for count, cell in enumerate(cells, start=1):
        print(f"\rcell {count} of {len(cells)}", end="", file=sys.stderr, flush=True)
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile("".join(cell["source"]), f"cell {count}", "exec"), names)
        lines = printed.getvalue().splitlines(keepends=True)
        text = [{"output_type": "stream", "name": "stdout", "text": lines}] if lines else []
        cell["execution_count"] = count
        cell["outputs"] = text + [_display(_png(number)) for number in plt.get_fignums()]
        plt.close("all")
    print(file=sys.stderr)


def _png(number: int) -> bytes:
    drawn, small = io.BytesIO(), io.BytesIO()
    plt.figure(number).savefig(drawn, format="png", bbox_inches="tight", facecolor="white")
    palette = Image.open(drawn).convert("RGB").quantize(COLORS, kmeans=4, dither=Image.Dither.NONE)
    palette.save(small, format="PNG", optimize=True)
    return small.getvalue()


def _display(png: bytes) -> dict[str, Any]:
    data = {"image/png": base64.b64encode(png).decode(), "text/plain": ["<Figure>"]}
    return {"output_type": "display_data", "metadata": {}, "data": data}


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for path in map(Path, sys.argv[1:]):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        run(notebook)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
