"""`dreamlift bench`: speed of this suite and of its peers, measured in turn in one run."""

from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from core.errors import UserError
from core.io.files.listed import own_files, write_listed
from core.io.resources import GIB, free_disk, gib
from core.io.values import check_range
from dreamlift.bench.results import Suite

REPEATS = (5, 1000)
WRITE_CHECKPOINTS = ("core", "video", "gpu")  # suites
DISK = 4  # GiB for these checkpoints


def bench(
    suite: Annotated[
        Suite,
        typer.Argument(
            help="core: sampling loops and networks; video: clips; dream3d: rendering and objects; "
            "start: start of the commands; gpu: checkpoints on a CUDA GPU."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="JSON file of the figures; a chart of the same name is a .png.",
            show_default="bench-SUITE.json",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Rounds in which all sides are measured in turn.")] = 5,
    threads: Annotated[
        int,
        typer.Option(help="Threads of PyTorch; with one, seconds are processor time."),
    ] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Two rounds of small sizes, to try it out.")] = False,
    peers: Annotated[
        bool, typer.Option(help="Measure other libraries too, where they are installed.")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files, whoever has made them.")
    ] = False,
) -> None:
    """Compares speed with other libraries, in turn in one run; writes figures as JSON, and a chart.

    The extra `peers` installs the others, and the extra `bench` what draws the chart.
    """
    target = out or Path(f"bench-{suite}.json")
    if target.suffix != ".json":
        raise UserError(f"--out names the JSON file of the figures, not {target}: let it end in .json.")
    check_range(repeats, *REPEATS, "--repeats")
    check_range(threads, 1, 1024, "--threads")
    _check_machine(suite, quick)
    chart = target.with_suffix(".png")
    with own_files(target.parent, [target.name, chart.name], overwrite):
        _measure(suite, target, chart, repeats, threads, quick, peers)


def _check_machine(suite: Suite, quick: bool) -> None:
    """Raises UserError on a machine without the GPU, or the disk for checkpoints at full size."""
    if suite == "gpu":
        import torch

        if not torch.cuda.is_available():
            raise UserError("`dreamlift bench gpu` needs a CUDA GPU, and PyTorch finds none on this machine.")
    if quick or suite not in WRITE_CHECKPOINTS:
        return
    with TemporaryDirectory() as folder:
        if (disk := free_disk(Path(folder))) < DISK * GIB:
            raise UserError(
                f"`dreamlift bench {suite}` writes checkpoints of {DISK} GiB, and {gib(disk)} are free in "
                f"{Path(folder).parent}: set TMPDIR to another folder, or give --quick."
            )


def _measure(
    suite: Suite, target: Path, chart: Path, repeats: int, threads: int, quick: bool, peers: bool
) -> None:
    """Runs a suite and writes its figures and its chart."""
    import torch

    from core.command_line.reporting import report_made, status_console
    from dreamlift.bench.chart import draw_chart
    from dreamlift.bench.plan import QUICK_REPEATS, Settings
    from dreamlift.bench.run import rows_of, run_rows

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    console = status_console()
    command = f"dreamlift bench {suite}" + (f" --threads {threads}" if threads != 1 else "")
    with TemporaryDirectory() as folder:
        settings = Settings(
            device=torch.device("cuda" if suite == "gpu" else "cpu"),
            folder=Path(folder),
            repeats=QUICK_REPEATS if quick else repeats,
            quick=quick,
            peers=peers,
        )
        result = run_rows(suite, rows_of(suite), settings, console, command)
    made = [target]
    with write_listed(target) as draft:
        draft.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    if find_spec("matplotlib"):
        with write_listed(chart) as draft:
            draw_chart(result, draft)
        made.append(chart)
    else:
        console.print("There is no chart: matplotlib is not installed; the extra `bench` has it.")
    report_made(made, "the figures", {"suite": suite, "quick": quick})
