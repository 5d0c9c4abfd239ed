"""Environments outside of the repository into which the wheel or the sdist is installed."""

import dataclasses
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRA = "studio"
INSTALLERS = ("pip", "uv")
RESOLUTIONS = ("lowest", "newest", "tested")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One way to install: a minor version of Python, pip or uv, a file, and which versions are allowed.

    resolution: "lowest" of what pyproject.toml allows, "newest", or "tested" (constraints-cpu.txt).
    """

    python: str
    installer: str
    package: str
    resolution: str

    @property
    def name(self) -> str:
        """Name of its row, and of its folder."""
        return f"{self.python}-{self.installer}-{self.package}-{self.resolution}"


def build(folder: Path) -> dict[str, Path]:
    """Builds `folder`/dreamlift-VERSION.tar.gz, and from it the wheel; by "sdist" and "wheel"."""
    subprocess.run(["uv", "build", "--quiet", "--out-dir", folder, ROOT], check=True)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return {"sdist": sdist, "wheel": wheel}


def install(cell: Cell, interpreter: str, file: Path, folder: Path) -> Path:
    """Creates an environment with the file and the extra of the studio, and returns its folder.

    PyTorch is put there first, as docs/install.md says, and by uv, which links to what pip copies.
    Raises subprocess.CalledProcessError where an installer fails.
    """
    environment = folder / "environment"
    python = environment / "bin/python"
    constraints = constraint_arguments(cell.resolution, interpreter, folder)
    run(["uv", "venv", "--quiet", "--seed", "--python", interpreter, environment])
    by_uv = ["uv", "pip", "install", "--quiet", "--python", python, *constraints]
    by_pip = [python, "-m", "pip", "install", "--quiet", "--no-compile", *constraints]
    run([*by_uv, "torch"])
    run([*(by_pip if cell.installer == "pip" else by_uv), f"dreamlift[{EXTRA}] @ {file.as_uri()}"])
    return environment


def constraint_arguments(resolution: str, interpreter: str, folder: Path) -> list[Path | str]:
    """`-c FILE`, with the lowest versions that have wheels for this interpreter, or with the tested ones."""
    if resolution == "newest":
        return []
    if resolution == "tested":
        return ["-c", ROOT / "constraints-cpu.txt"]
    lowest = folder / "lowest.txt"
    lowest_first = ["--resolution", "lowest-direct", "--no-build"]
    project = [ROOT / "pyproject.toml", "--extra", EXTRA, "--output-file", lowest]
    run(["uv", "pip", "compile", "--quiet", "--python", interpreter, *lowest_first, *project])
    return ["-c", lowest]


def run(arguments: Sequence[Path | str]) -> None:
    """Runs an installer; raises subprocess.CalledProcessError where it fails."""
    subprocess.run(arguments, check=True, cwd="/", env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
