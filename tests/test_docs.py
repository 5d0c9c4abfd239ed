"""docs/methods.md names existing code and tests; the site has every page and module, and needs no network."""

import ast
import json
import re
import runpy
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
ROOT_PAGES = {path.name for path in ROOT.glob("*.md")} | {"core/bundled/README.md"}
PAGES = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
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


def test_all_rows_of_the_table_are_read() -> None:
    assert len(ROWS) > 45 and all(len(row) == 5 for row in ROWS)


def test_the_navigation_lists_every_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    assert sorted(re.findall(r": (\S+\.md)$", navigation, re.M)) == sorted(PAGES)


@pytest.mark.parametrize("page", [*sorted(f"docs/{page}" for page in PAGES), *sorted(ROOT_PAGES)])
def test_every_link_of_a_page_leads_to_a_file(page: str) -> None:
    path = ROOT / page
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8"))
    assert [
        target
        for target in targets
        if not target.startswith("https://") and not (path.parent / target).exists()
    ] == []


def test_pictures_are_small_and_shown() -> None:
    pages = "".join((ROOT / page).read_text("utf-8") for page in [*ROOT_PAGES, *(f"docs/{p}" for p in PAGES)])
    for picture in (ROOT / "docs/pictures").iterdir():
        assert picture.stat().st_size < 300_000 and f"pictures/{picture.name}" in pages, picture


def test_a_site_that_loads_from_elsewhere_is_refused(tmp_path: Path) -> None:
    on_post_build = runpy.run_path(str(ROOT / "docs/hooks/offline.py"))["on_post_build"]
    page = tmp_path / "index.html"
    page.write_text('<script src="assets/a.js"></script><a href="https://example.org/x">x</a>')
    on_post_build({"site_dir": str(tmp_path)})
    assert (tmp_path / "external-links.txt").read_text() == "https://example.org/x\n"
    for loading in (
        '<script async src="https://unpkg.com/mermaid.js"></script>',
        "<link rel=preconnect href=//fonts.gstatic.com>",
        '<img alt="" src=http://example.org/a.png>',
    ):
        page.write_text(loading)
        with pytest.raises(RuntimeError, match=r"index\.html: (https?:)?//"):
            on_post_build({"site_dir": str(tmp_path)})
    page.unlink()
    (tmp_path / "a.css").write_text("@font-face { src: url(https://fonts.gstatic.com/a.woff2) }")
    with pytest.raises(RuntimeError, match=r"a\.css"):
        on_post_build({"site_dir": str(tmp_path)})


@pytest.mark.parametrize("package", ["core", "video", "dream3d", "dreamlift"])
def test_the_api_pages_have_every_module(package: str) -> None:
    pages = "\n".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in PAGES if "api/" in page)
    documented = re.findall(r"^::: (\S+)$", pages, re.M)  # with their submodules
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / package).rglob("*.py")
    ]
    left_out = [name for name in modules if not any(f"{name}.".startswith(f"{top}.") for top in documented)]
    assert left_out in (
        [],
        ["core"],
    )  # `core` alone has no page of its own: three pages share its subpackages
