"""A page of everything in a folder that has a record: `index.html`."""

import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from core.io.atomic import atomic_write

FILE = "index.html"
MARK = "<!-- made by Dreamlift -->"

PAGE = Template(
    """<!doctype html>
$mark
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
  body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color-scheme: light dark; }
  main { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 1.5rem; }
  figure { margin: 0; } img, video { width: 100%; border-radius: 8px; display: block; }
  figcaption { margin-top: .4rem; } small { opacity: .65; }
</style>
<h1>$title</h1>
<main>
$figures
</main>
</html>
"""
)


def write_gallery(folder: Path) -> Path | None:
    """Writes the page of a folder; returns its path, or None where an `index.html` is not one of ours."""
    path = folder / FILE
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        return None
    figures = [figure for record in sorted(folder.glob("*.json")) if (figure := _figure(record))]
    title = escape(folder.resolve().name)
    with atomic_write(path) as draft:
        page = PAGE.substitute(mark=MARK, title=title, figures="\n".join(figures))
        draft.write_text(page, encoding="utf-8")
    return path


def _figure(path: Path) -> str:
    """The figure of a record: its clip or its pictures, prompt and seed; empty for other files."""
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
        prompt, seed, files = str(record["prompt"]), record["seed"], [str(name) for name in record["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    shown = next((name for ending in SHOWN for name in files if name.lower().endswith(ending)), None)
    if shown is None or not (path.parent / shown).is_file():
        return ""
    source = quote(shown)
    if shown.lower().endswith(".mp4"):
        picture = f'<video src="{source}" autoplay loop muted playsinline></video>'
    else:
        picture = f'<img src="{source}" alt="{escape(prompt, quote=True)}" loading="lazy">'
    links = " ".join(f'<a href="{quote(name)}">{escape(Path(name).suffix)}</a>' for name in files)
    return (
        f"<figure>{picture}<figcaption>{escape(prompt)}<br><small>seed {seed} {links}</small></figcaption>"
        "</figure>"
    )


SHOWN = (".mp4", ".webp", ".gif", ".png")  # endings of what a page shows, the best first
