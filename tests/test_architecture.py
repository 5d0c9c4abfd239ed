"""The layers of docs/architecture.md, which pyproject.toml states as import contracts."""

from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "video", "dream3d", "dreamlift")
MOST_MODULES = 12


def test_no_module_imports_from_a_layer_above_or_in_a_circle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(cache_dir=str(tmp_path)) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_has_more_modules_than_a_reader_can_take_in(package: str) -> None:
    toybox = ROOT / "core" / "toybox"  # one long list of subjects, actions and props
    folders = {path.parent for path in (ROOT / package).rglob("*.py")} - {toybox}
    modules = {
        str(folder.relative_to(ROOT)): len([path for path in folder.glob("*.py") if path.stem != "__init__"])
        for folder in folders
    }
    assert {name: count for name, count in modules.items() if count > MOST_MODULES} == {}
