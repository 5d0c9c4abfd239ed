"""Tests of the installed commands: start-up imports, help, exit codes and error output."""

import subprocess
import sys
from collections.abc import Callable

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("module", ["video.cli", "dreamlift.cli", "dream3d.cli"])
def test_commands_start_without_heavy_imports(module: str) -> None:
    heavy = ("torch", "transformers", "diffusers", "accelerate", "trimesh", "numpy", "PIL", "scipy")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_an_object_is_optimized_without_the_imports_of_its_mesh() -> None:
    code = (
        "import sys, dream3d.generate; print([n for n in ('torch', 'trimesh', 'scipy') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['torch']"


@pytest.mark.parametrize("name", ["gen-video", "dream3d", "dreamlift"])
def test_help_prints_the_usage(command: Command, name: str) -> None:
    result = command(name, "--help")
    assert result.returncode == 0 and f"Usage: {name}" in result.stdout and not result.stderr


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("dreamlift", ["paint"], "dreamlift: No such command 'paint'."),
        ("dreamlift", ["doctor", "--device", "abacus"], "There is no device 'abacus' here"),
        ("dream3d", [], "dream3d: Give either a prompt"),
    ],
)
def test_invalid_input_prints_one_line_and_exits_with_code_2(
    command: Command, name: str, arguments: list[str], sentence: str
) -> None:
    result = command(name, *arguments)
    assert result.returncode == 2
    assert sentence in result.stderr and result.stderr.count("\n") == 1
