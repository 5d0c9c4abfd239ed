"""Griffe extension: lines `name: description` of a docstring become a list in the API pages.

Griffe parses docstrings with an `Args:` section; there, `key, value: ...` becomes one line for each name.
"""

import re
from typing import Any

import griffe

SHARED = re.compile(r"^(?P<indent> +)(?P<names>\*{0,2}\w+(, \*{0,2}\w+)+): (?P<text>\S.*)$")
ARGUMENT = re.compile(r"^(?P<name>[a-z_][\w]*(, [a-z_]\w*)*): (?P<text>\S.*)$")


class ArgumentLists(griffe.Extension):
    """Markdown lists in place of the argument lines of this project's docstrings."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrites the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = argument_list(obj.docstring.value)


def argument_list(docstring: str) -> str:
    """The docstring with its argument lines as list items; their continuation lines are indented already."""
    if "\nArgs:\n" in docstring:
        return "\n".join(line for shared in docstring.splitlines() for line in one_name_each(shared))
    lines: list[str] = []
    listed = False  # whether the previous line belongs to an item
    for number, line in enumerate(docstring.splitlines()):
        match = ARGUMENT.match(line) if number else None  # the first line is the summary
        if match:
            if not listed:
                lines.append("")
            lines.append(f"- `{match['name']}`: {match['text']}")
            listed = True
            continue
        if listed and line and not line.startswith(" "):
            lines.append("")
        listed = listed and line.startswith(" ")
        lines.append(line)
    return "\n".join(lines)


def one_name_each(line: str) -> list[str]:
    """`key, value: text` as two lines with the same text; any other line as it is."""
    match = SHARED.match(line)
    if not match:
        return [line]
    return [f"{match['indent']}{name}: {match['text']}" for name in match["names"].split(", ")]
