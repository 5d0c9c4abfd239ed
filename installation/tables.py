"""The tables of docs/install.md, from installation/results.json."""

import json
import re
from typing import Any

from installation.environments import ROOT

RESULTS = ROOT / "installation" / "results.json"
PAGE = ROOT / "docs" / "install.md"
SHOWN = ("torch", "transformers", "gradio")  # their versions have a column each

Results = dict[str, dict[str, Any]]


def read_results() -> Results:
    """Results of the cells by their names: date, machine, failed checks, versions, seconds to install."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}


def write_tables(results: Results) -> None:
    """Replaces what is between the comments `<!-- NAME -->` and `<!-- end of NAME -->`."""
    page = PAGE.read_text(encoding="utf-8")
    for name, table in (("matrix", matrix_table(results)), ("versions", versions_table(results))):
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        page = re.sub(f"{begin}.*?{end}", lambda _: begin + table + end, page, flags=re.DOTALL)  # noqa: B023
    PAGE.write_text(page, encoding="utf-8")


def matrix_table(results: Results) -> str:
    """A row of each cell."""
    columns = ("Python", "installer", "file", "versions", *SHOWN, "checks", "date, machine")
    rows = [columns, ("---",) * len(columns)]
    for name, result in sorted(results.items(), key=lambda item: order(item[0])):
        failed = ", ".join(result["failed"])
        shown = (result.get("versions", {}).get(package, "") for package in SHOWN)
        checked = f"failed: {failed}" if failed else "passed"
        rows.append((*name.split("-"), *shown, checked, f"{result['date']}, {result['machine']}"))
    return as_markdown(rows)


def versions_table(results: Results) -> str:
    """The lowest and the highest version of each direct dependency, among the cells that passed."""
    rows = [("package", "lowest", "highest"), ("---",) * 3]
    passed = [result["versions"] for result in results.values() if not result["failed"]]
    for package in sorted({name for found in passed for name in found}):
        found = sorted({versions[package] for versions in passed if package in versions}, key=version_key)
        rows.append((package, found[0], found[-1]))
    return as_markdown(rows)


def as_markdown(rows: list[tuple[str, ...]]) -> str:
    """Rows of a table, the first two of them its head."""
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def order(name: str) -> list[Any]:
    """By Python, then by the other words of a cell's name."""
    python, *words = name.split("-")
    return [version_key(python), words]


def version_key(version: str) -> list[int]:
    """Numbers of a version, to compare them: 3.10 comes after 3.9."""
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])]
