"""Installs the wheel and the sdist in every way that docs/install.md names, and writes its tables.

    python -m installation.matrix --python 3.10 3.13=/opt/python3.13/bin/python3 --work /opt/matrix

Each cell is an environment of its own, which is deleted after its checks. Cells that are not run keep their
results of before. Needs uv, and several GB on the disk of `--work`, which other users must be able to enter.
Exits with 1 where a cell fails.
"""

import argparse
import datetime
import itertools
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from installation.checks import CHECKS, CheckFailedError, Installed, versions
from installation.environments import INSTALLERS, RESOLUTIONS, Cell, build, install
from installation.tables import RESULTS, read_results, write_tables


def main() -> int:
    """Runs the cells that the arguments select."""
    parser = argparse.ArgumentParser(prog="python -m installation.matrix", description=__doc__)
    parser.add_argument("--python", nargs="+", default=["3.10", "3.11", "3.12", "3.13"], metavar="3.N[=PATH]")
    parser.add_argument("--installer", nargs="+", choices=INSTALLERS, default=INSTALLERS)
    parser.add_argument("--resolution", nargs="+", choices=RESOLUTIONS, default=RESOLUTIONS)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    interpreters = dict(interpreter(given) for given in arguments.python)
    failures = 0
    with tempfile.TemporaryDirectory(dir=arguments.work) as temporary:
        work = Path(temporary)
        work.chmod(0o755)
        files = build(work / "dist")
        for cell in cells([*interpreters], arguments.installer, arguments.resolution):
            result = run_cell(cell, interpreters[cell.python], files[cell.package], work / cell.name)
            print(f"{cell.name}: {result['failed'] or 'passed'}", flush=True)
            failures += bool(result["failed"])
            results = read_results() | {cell.name: result}
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            write_tables(results)
    return int(failures > 0)


def interpreter(given: str) -> tuple[str, str]:
    """Version and path of `3.N`, searched in PATH, or `3.N=PATH`."""
    version, _, path = given.partition("=")
    found = path or shutil.which(f"python{version}")
    if found is None:
        sys.exit(f"There is no python{version} in PATH: give --python {version}=PATH, or leave it out.")
    return version, found


def cells(pythons: list[str], installers: list[str], resolutions: list[str]) -> Iterator[Cell]:
    """Cells with both installers and both files in each Python and each resolution."""
    for python, resolution, name in itertools.product(pythons, resolutions, installers):
        package = "sdist" if (name == "pip") == (resolution == "newest") else "wheel"
        yield Cell(python, name, package, resolution)


def run_cell(cell: Cell, python: str, file: Path, folder: Path) -> dict[str, Any]:
    """Installs, runs all checks, and deletes the environment. The result is a row of the table."""
    began = time.monotonic()
    result: dict[str, Any] = {"date": f"{datetime.date.today()}", "machine": machine(), "failed": []}
    try:
        folder.mkdir()
        environment = install(cell, python, file, folder)
        result["seconds"] = round(time.monotonic() - began)
        bytecode = open_folder(folder / "bytecode")
        for name, check in {"versions": versions, **CHECKS}.items():
            try:
                found = check(Installed(environment, open_folder(folder / name), bytecode))
            except (CheckFailedError, OSError) as error:
                print(f"{cell.name}, {name}: {error}", flush=True)
                result["failed"].append(name)
            else:
                result |= {name: found} if found else {}
    except subprocess.CalledProcessError as error:
        print(f"{cell.name}: {error}", flush=True)
        result["failed"].append("installation")
    shutil.rmtree(folder, ignore_errors=True)
    return result


def open_folder(path: Path) -> Path:
    """A new folder that every user may write into."""
    path.mkdir()
    path.chmod(0o777)
    return path


def machine() -> str:
    """Operating system and architecture."""
    return f"{platform.system()} {platform.machine()}"


if __name__ == "__main__":
    sys.exit(main())
