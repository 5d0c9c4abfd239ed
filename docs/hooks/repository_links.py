"""mkdocs hook: links of the pages to files outside docs/ lead to the repository."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://github.com/dreamlift/dreamlift/blob/main"
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with `](../FILE)` replaced. Raises FileNotFoundError for a file that does not exist."""

    def link(match: re.Match[str]) -> str:
        file, heading = match[1], match[2] or ""
        if not (ROOT / file).exists():
            raise FileNotFoundError(f"docs/{page.file.src_uri} links to {file}, which does not exist")
        return f"]({REPOSITORY}/{file}{heading})"

    return OUTSIDE.sub(link, markdown) if "/" not in page.file.src_uri else markdown
