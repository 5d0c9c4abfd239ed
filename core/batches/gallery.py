"""A page of everything in a folder that has a record: `index.html`."""

import base64
import hashlib
import json
import re
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from core.io.atomic import atomic_write

FILE = "index.html"
MARK = "<!-- made by Dreamlift -->"
TEMPLATE = Path(__file__).with_name("gallery.html")
SHOWN = (".mp4", ".webm", ".webp", ".gif", ".apng", ".png")  # endings of what a page shows, the best first
VIDEOS = (".mp4", ".webm")
FURTHER = re.compile(r"\.(?!0001\.)\d{4,}\.png$")  # numbered pictures after the first


def write_gallery(folder: Path) -> Path | None:
    """Writes the page of a folder; returns its path, or None where an `index.html` is not one of ours.

    Prompts and names are text on it. Its content security policy runs no script but its own, by the hash.
    """
    path = folder / FILE
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        return None
    figures = [figure for record in sorted(folder.glob("*.json")) if (figure := _figure(record))]
    values = {"HASH": script_hash(), "TITLE": escape(folder.resolve().name), "FIGURES": "\n".join(figures)}
    page = re.sub("@([A-Z]+)@", lambda name: values[name[1]], TEMPLATE.read_text(encoding="utf-8"))
    with atomic_write(path) as draft:
        draft.write_text(page, encoding="utf-8")
    return path


def script_hash() -> str:
    """The page's script as a content security policy names it."""
    _, script = TEMPLATE.read_text(encoding="utf-8").split("<script>")
    digest = hashlib.sha256(script.partition("</script>")[0].encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _figure(path: Path) -> str:
    """The figure of a record: its clip or its pictures, prompt and seed; empty for other files."""
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
        prompt, seed, files = (
            str(record["prompt"]),
            str(record["seed"]),
            [str(name) for name in record["files"]],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    shown = next((name for ending in SHOWN for name in files if name.lower().endswith(ending)), None)
    if shown is None or not (path.parent / shown).is_file():
        return ""
    source = quote(shown)
    if shown.lower().endswith(VIDEOS):
        picture = f'<video src="{source}" loop muted playsinline preload="metadata"></video>'
    else:
        picture = f'<img src="{source}" alt="" loading="lazy">'
    stem = re.sub(r"\.\d{4,}$", "", Path(files[0]).stem) + "."
    links = " ".join(_link(name, name.removeprefix(stem)) for name in files if not FURTHER.search(name))
    return (
        f'<figure><button class="shown" aria-label="enlarge: {escape(prompt)}">{picture}</button>'
        f"<figcaption>{escape(prompt)}"
        f'<p class="of">seed {escape(seed)} {links}</p></figcaption></figure>'
    )


def _link(name: str, text: str) -> str:
    """A link to a file: a page opens, and others are saved."""
    if name.lower().endswith(".html"):
        return f'<a href="{quote(name)}">turn it</a>'
    return f'<a href="{quote(name)}" download aria-label="save {escape(name)}">{escape(text)}</a>'
