"""What `pip install .` installs: the packages, the presets, the bundled weights and the commands."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_all_that_the_commands_need(tmp_path: Path) -> None:
    build = "from hatchling.build import build_wheel; import sys; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("dreamlift-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        commands = archive.read(entry_points).decode()
    for package in ("core", "video", "dream3d", "dreamlift"):
        sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        assert sources and sources <= names
        assert f"{package}/py.typed" in names
    presets = {f"core/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert "core/configs/gen-video/standard.yaml" in presets <= names
    files = [path for path in (ROOT / "core" / "bundled").rglob("*.*") if path.suffix != ".pyc"]
    assert {path.relative_to(ROOT).as_posix() for path in files} <= names
    assert {"dream3d/meshing/viewer.html", "dreamlift/studio/page/studio.css"} <= names
    for command, package in (("gen-video", "video"), ("dream3d", "dream3d"), ("dreamlift", "dreamlift")):
        assert f"{command} = {package}.cli:main" in commands


def test_the_metadata_has_classifiers_of_the_supported_pythons_and_project_urls() -> None:
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "Typing :: Typed" in metadata
    assert all(f'Python :: 3.{minor}"' in metadata for minor in (10, 11, 12, 13))
    for label in ("Repository", "Documentation", "Changelog"):
        assert re.search(rf'^{label} = "https://', metadata, re.M)


def test_every_requirement_states_its_purpose() -> None:
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    requirements = re.findall(r'^    "[\w\[\],-]+>=[^"]+",.*$', metadata, re.M)
    assert len(requirements) > 30
    assert [line for line in requirements if "#" not in line] == []
