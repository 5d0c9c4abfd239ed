"""mkdocs hook: a site that loads anything from elsewhere is an error; links that lead away are listed."""

import re
from pathlib import Path
from typing import Any

ELSEWHERE = r"(?:https?:)?//[^\"'\s)>]+"
LOADED = re.compile(
    rf"<(?:script|img|source|video|iframe)\b[^>]*\bsrc=[\"']?({ELSEWHERE})"
    rf"|<link\b(?![^>]*\brel=[\"']?canonical)[^>]*\bhref=[\"']?({ELSEWHERE})"
)
IMPORTED = re.compile(rf"(?:url\(|@import )[\"']?({ELSEWHERE})")
LINK = re.compile(rf"<a\b[^>]*\bhref=[\"']?({ELSEWHERE})")


def on_post_build(config: Any) -> None:
    """Writes external-links.txt into the site. Raises RuntimeError where it loads from elsewhere."""
    site = Path(config["site_dir"])
    loaded: set[str] = set()
    links: set[str] = set()
    for path in sorted(site.rglob("*")):
        if path.suffix not in (".html", ".css"):
            continue
        text = path.read_text(encoding="utf-8")
        pattern = LOADED if path.suffix == ".html" else IMPORTED
        found = (next(filter(None, match.groups())) for match in pattern.finditer(text))
        loaded |= {f"{path.relative_to(site)}: {address}" for address in found}
        links |= set(LINK.findall(text))
    if loaded:
        raise RuntimeError("The site must load nothing from elsewhere: " + ", ".join(sorted(loaded)))
    (site / "external-links.txt").write_text("".join(f"{link}\n" for link in sorted(links)), encoding="utf-8")
