"""Makes the section on speed of docs/benchmarks.md, and its charts, from docs/figures/bench-*.json.

    dreamlift bench core --out docs/figures/bench-core.json
    python -m benchmarks.speed_docs

A suite without figures has its rows with "not run".
"""

import re
from pathlib import Path
from typing import get_args

from core.io.atomic import atomic_write
from dreamlift.bench.chart import draw_chart
from dreamlift.bench.results import BenchResult, Suite
from dreamlift.bench.run import rows_of
from dreamlift.bench.tables import as_markdown, markdown_table

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "benchmarks.md"
FIGURES, CHARTS = DOCS / "figures", DOCS / "pictures"
BEGIN, END = "<!-- speed -->\n", "<!-- end of speed -->"
SUITES: tuple[Suite, ...] = get_args(Suite)


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for suite in SUITES:
        if result := read_figures(suite):
            draw_chart(result, CHARTS / chart_name(suite))
    with atomic_write(PAGE) as draft:
        draft.write_text(with_speed(page), encoding="utf-8")


def with_speed(page: str) -> str:
    """A page whose section between the comments `BEGIN` and `END` is made from the figures."""
    section = "\n".join(suite_text(suite, read_figures(suite)) for suite in SUITES)
    return re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{section}\n{END}", page, flags=re.DOTALL)


def read_figures(suite: Suite) -> BenchResult | None:
    """The stored figures of a suite, if there are any. Raises ValueError for those of a trial."""
    path = FIGURES / f"bench-{suite}.json"
    if not path.is_file():
        return None
    result = BenchResult.model_validate_json(path.read_text(encoding="utf-8"))
    if result.quick:
        raise ValueError(f"{path} is of --quick, which is no measurement")
    return result


def suite_text(suite: Suite, result: BenchResult | None) -> str:
    """The part of the section on one suite."""
    heading = f"### `dreamlift bench {suite}`\n\n"
    if not result:
        return heading + markdown_table(("", "result"), [(row.title, "not run") for row in rows_of(suite)])
    chart = f"![ratios, parts and growth of the cost: {suite}](pictures/{chart_name(suite)})\n\n"
    return heading + chart + as_markdown(result)


def chart_name(suite: Suite) -> str:
    """File of the chart of a suite."""
    return f"bench-{suite}.png"


if __name__ == "__main__":
    main()
