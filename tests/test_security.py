"""What SECURITY.md promises of names, pages and pickles."""

import ast
import re
from pathlib import Path

import pytest

from core.errors import UserError
from core.pretrained.hub import is_hub_name, resolve_checkpoint
from dream3d.job import OBJECT
from dream3d.meshing.viewer import TEMPLATE

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "video", "dream3d", "dreamlift")


@pytest.mark.parametrize(
    "name",
    [
        "owner/..",
        "../owner",
        "owner/.",
        "..\\..\\x/y",
        "owner/x\\..\\..",
        "owner/a b",
        "owner/x\n",
        "%2e%2e/x",
    ],
)
def test_names_of_the_hub_cannot_leave_its_cache(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "cache"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        resolve_checkpoint(name)
    assert {path.name for path in tmp_path.rglob("*")} <= {"home", "cache"}


def test_paths_are_no_names_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_name("owner/name")
    assert not any(map(is_hub_name, ("/owner", "./name", "../name", "~/name", "a/b/c", "name")))


def test_the_viewer_may_request_nothing() -> None:
    page = TEMPLATE.read_text(encoding="utf-8")
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', page)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";") if rule.strip())
    assert rules == {
        "default-src": "'none'", "script-src": "'unsafe-inline'", "style-src": "'unsafe-inline'",
    }  # fmt: skip
    assert not re.search(r"https?://|//cdn|@import|\bfetch\(|XMLHttpRequest|\beval\(", page)


def test_names_of_objects_cannot_add_lines() -> None:
    for stem in ("fox\nnewmtl evil", "fox\r\nmtllib evil", "fox usemtl", "fox\u2028x", "fox\x00", "fox\tx"):
        for path in OBJECT.files(Path(f"{stem}.obj")).companions[:2]:
            assert len(path.name.split()) == 1 and path.name.isprintable()


def test_nothing_is_unpickled() -> None:
    """Of all functions that unpickle, one is called, in one place, for tensors alone."""
    unpickling = {
        "torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler", "np.load", "numpy.load",
        "shelve.open", "marshal.load", "marshal.loads",
        "joblib.load", "dill.load", "yaml.unsafe_load", "yaml.full_load",
    }  # fmt: skip
    found: list[tuple[str, str, dict[str | None, str]]] = []
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in unpickling:
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                found.append((path.name, name, keywords))
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert ast.unparse(node.value) == "False", path
    assert [(file, name) for file, name, _ in found] == [("motion_format.py", "torch.load")]
    assert found[0][2]["weights_only"] == "True"
