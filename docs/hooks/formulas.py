"""mkdocs hook: formulas between dollar signs become MathML, which browsers show without a script."""

import re
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(r"(?<![\\$\w])\$(?=\S)([^$\n]+?)(?<=\S)\$(?![\w$])")
PRE = re.compile(r"(^```.*?^```$|`[^`\n]+`|^ {4}.*$)", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with `$...$` replaced, except in code."""
    parts = PRE.split(markdown)
    parts[::2] = [FORMULA.sub(lambda match: convert(match[1]), part) for part in parts[::2]]
    return "".join(parts)
