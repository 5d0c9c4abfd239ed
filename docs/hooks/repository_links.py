"""mkdocs hook: files outside docs/ are included, or linked to in the repository."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://github.com/dreamlift/dreamlift/blob/main"
INCLUDED = re.compile(r"^<!-- (\S+\.md) -->$", re.MULTILINE)
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with `](../FILE)` as an address, and with the file of `<!-- FILE.md -->` without its title.

    Raises FileNotFoundError for a file that does not exist.
    """

    def link(match: re.Match[str]) -> str:
        file, heading = match[1], match[2] or ""
        if not (ROOT / file).exists():
            raise FileNotFoundError(f"docs/{page.file.src_uri} links to {file}, which does not exist")
        return f"]({REPOSITORY}/{file}{heading})"

    markdown = INCLUDED.sub(lambda match: (ROOT / match[1]).read_text("utf-8").partition("\n")[2], markdown)
    return OUTSIDE.sub(link, markdown) if "/" not in page.file.src_uri else markdown
