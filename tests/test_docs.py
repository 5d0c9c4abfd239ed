"""What docs/methods.md names is there."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
METHODS = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line.replace(r" \mid ", " "))[1:-1]]
    for line in METHODS.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| method |"))
]
LINK = re.compile(r"\[(.+?)\]\(\.\./(.+?)\)")


@cache
def defined(file: str) -> set[str]:
    """Functions, classes and methods of a file, these as Class.method."""
    names = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
            inner = node.body if isinstance(node, ast.ClassDef) else []
            names |= {f"{node.name}.{method.name}" for method in inner if isinstance(method, ast.FunctionDef)}
    return names


@cache
def headings(notebook: str) -> list[str]:
    cells = json.loads((ROOT / notebook).read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "markdown" for line in cell["source"]]
    return [line.lstrip("# ").strip() for line in lines if line.startswith("#")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_method_has_its_code_its_test_and_its_notebook(row: list[str]) -> None:
    method, paper, code, tests, shown = row
    functions, checks = (re.findall(r"`(.+?)`", cell) for cell in (code, tests))
    assert method and paper and functions and checks
    for name in functions:
        file, _, function = name.partition(":")
        assert function in defined(file), f"{file} has no {function}"
    for name in checks:
        file, _, test = name.partition("::")
        assert test.startswith("test_") and test in defined(file), f"{file} has no {test}"
    for words, file in LINK.findall(shown):
        assert (ROOT / file).is_file()
        if file.endswith(".ipynb"):
            assert any(heading.startswith(words) for heading in headings(file)), f"{file}: {words}"


def test_the_table_is_read_whole() -> None:
    assert len(ROWS) > 45 and all(len(row) == 5 for row in ROWS)
