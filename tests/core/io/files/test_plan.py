"""What a run writes over: only what an earlier run has made, and never what it reads."""

import json
import os
import re
from pathlib import Path

import pytest

from core.errors import UserError
from core.io.files.locks import lock
from core.io.files.names import OutputFiles, OutputKind
from core.io.files.output_set import claim
from core.io.files.plan import NOTHING, OutputRequest, Replacing, plan_outputs
from core.io.files.record import digests
from core.io.files.saving import save_output
from core.io.pictures import PICTURE
from dream3d.job import OBJECT
from video.job import CLIP

ROOT = Path(__file__).parents[4]
OVERWRITE, AGAIN = Replacing(overwrite=True), Replacing(again=True)


def make(files: OutputFiles, prompt: str = "a fox", seed: int = 0) -> None:
    """What a run of the command leaves."""
    for path in files.lasting[:-1]:
        path.write_text(f"{prompt}, {seed}: {path.name}")
    record = {"prompt": prompt, "seed": seed, "files": digests(files.lasting[:-1])}
    files.record.write_text(json.dumps(record))


def plan(folder: Path, name: str = "", replacing: Replacing = NOTHING, kind: OutputKind = CLIP) -> str:
    """Name of the one output that is planned; name: of --out inside the folder."""
    out = f"{folder}/{name}"
    return plan_outputs([OutputRequest("a fox")], 1, 0, out, kind, replacing)[0].file.name


def test_the_files_of_two_commands_never_meet() -> None:
    clip, mesh = CLIP.files(Path("fox.gif")), OBJECT.files(Path("fox.obj"))
    assert not {*clip.lasting, *clip.passing} & {*mesh.lasting, *mesh.passing}
    names = [path.name for path in clip.lasting]
    assert names == ["fox.gif", "fox.sheet.png", "fox.gen-video.json"]
    assert {path.name for path in mesh.lasting} == {
        "fox.obj", "fox.mtl", "fox.texture.png", "fox.glb", "fox.turntable.mp4", "fox.turntable.webp",
        "fox.views.png", "fox.html", "fox.dream3d.json",
    }  # fmt: skip


@pytest.mark.parametrize("stem", ["a fox", "a\tfox", "fox\nnewmtl x", "  ", "#1"])
def test_names_inside_other_files_have_no_white_space(stem: str) -> None:
    for ending in (".mtl", ".texture.png"):
        name = OBJECT.files(Path("folder") / f"{stem}.obj").beside(ending).name
        assert name == name.split()[0] and name.endswith(ending) and not name.startswith((".", "#"))


@pytest.mark.parametrize("ending", [".mp4", ".sheet.png", ".gen-video.json"])
def test_automatic_names_are_numbered_past_any_file_of_an_output(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"a-fox{ending}").write_text("mine")
    assert plan(tmp_path) == "a-fox-2.mp4"
    (tmp_path / f"a-fox-2{ending}").symlink_to("nowhere")
    assert plan(tmp_path) == plan(tmp_path, replacing=OVERWRITE) == "a-fox-3.mp4"


def test_automatic_names_are_numbered_past_earlier_outputs_unless_a_run_is_repeated(tmp_path: Path) -> None:
    make(CLIP.files(tmp_path / "a-fox.mp4"), "a fox!", seed=0)
    make(CLIP.files(tmp_path / "a-fox-2.mp4"), "a fox", seed=1)
    make(CLIP.files(tmp_path / "a-fox-3.mp4"), "a fox", seed=0)
    assert plan(tmp_path) == "a-fox-4.mp4" and plan(tmp_path, replacing=AGAIN) == "a-fox-3.mp4"
    assert plan(tmp_path, kind=OBJECT) == "a-fox.obj"
    planned = plan_outputs([OutputRequest("a fox"), OutputRequest("a fox")], 2, 0, str(tmp_path), CLIP, AGAIN)
    assert [output.file.name for output in planned] == [
        "a-fox-3.mp4", "a-fox-2.mp4", "a-fox-4.mp4", "a-fox-5.mp4",
    ]  # fmt: skip


def test_what_another_process_writes_now_is_nobody_elses(tmp_path: Path) -> None:
    files = CLIP.files(tmp_path / "fox.mp4")
    files.output.write_text("the record comes last")
    with pytest.raises(UserError, match="does not list it as made by this command"):
        plan(tmp_path, "fox.mp4", AGAIN)
    with lock(files.lock, wait=False):
        assert plan(tmp_path, "fox.mp4", AGAIN) == "fox.mp4"
        with pytest.raises(UserError, match="Another process"):
            plan(tmp_path, "fox.mp4")
    with pytest.raises(UserError, match="does not list it as made by this command"):
        plan(tmp_path, "fox.mp4", AGAIN)


def test_an_output_is_replaced_where_its_record_lists_it(tmp_path: Path) -> None:
    files = CLIP.files(tmp_path / "fox.mp4")
    make(files, "a bear", 7)
    assert plan(tmp_path, "fox.mp4") == "fox.mp4"
    for path in files.lasting[:-1]:
        before = path.read_text()
        path.write_text("mine")
        with pytest.raises(UserError, match=f"{path.name} exists, and fox.gen-video.json does not list it"):
            plan(tmp_path, "fox.mp4")
        assert plan(tmp_path, "fox.mp4", OVERWRITE) == "fox.mp4"
        path.write_text(before)
    # The record is that of another clip.
    with pytest.raises(UserError, match=r"fox\.sheet\.png exists"):
        plan(tmp_path, "fox.gif")
    files.record.unlink()
    with pytest.raises(UserError, match=r"fox\.mp4 exists.*--overwrite"):
        plan(tmp_path, "fox.mp4")


def test_an_object_beside_its_glb_is_not_the_object_of_that_glb(tmp_path: Path) -> None:
    make(OBJECT.files(tmp_path / "fox.obj"))
    assert plan(tmp_path, "fox.obj", kind=OBJECT) == "fox.obj"
    with pytest.raises(UserError, match=r"fox\.glb exists"):
        plan(tmp_path, "fox.glb", kind=OBJECT)


def test_what_a_run_reads_is_never_replaced(tmp_path: Path) -> None:
    for number, name in enumerate(("q.mp4", "q.sheet.png", "q.preview.png", "q.gen-video.json")):
        given = tmp_path / f"given {number}"
        given.write_text("mine")
        (tmp_path / name).hardlink_to(given)
        with pytest.raises(UserError, match=f"given {number} is read by this run"):
            plan(tmp_path, "q.mp4", Replacing(overwrite=True, inputs=(given,)))
        (tmp_path / name).unlink()
        (tmp_path / name).symlink_to(given)
        with pytest.raises(UserError, match="is read by this run"):
            plan(tmp_path, "q.mp4", Replacing(overwrite=True, inputs=(given,)))
        assert given.read_text() == "mine"
        (tmp_path / name).unlink()
    assert plan(tmp_path, "q.mp4", Replacing(inputs=(tmp_path / "given 0", tmp_path / "none"))) == "q.mp4"


def test_a_folder_in_the_place_of_a_companion(tmp_path: Path) -> None:
    (tmp_path / "fox.sheet.png").mkdir()
    with pytest.raises(UserError, match=r"fox\.sheet\.png is a folder"):
        plan(tmp_path, "fox.mp4", OVERWRITE)
    (tmp_path / "a-fox.html").mkdir()
    assert plan(tmp_path, kind=OBJECT) == "a-fox-2.obj"


def test_names_that_file_systems_refuse(tmp_path: Path) -> None:
    longest = 255 - len(".gen-video.failed.txt") - 20
    assert plan(tmp_path, "x" * longest + ".mp4")
    with pytest.raises(UserError, match=r"is too long: shorten --out by 1 letters"):
        plan(tmp_path, "x" * longest + "x.mp4")
    with pytest.raises(UserError, match="a name has at most 255 bytes, and this has 258"):
        plan(tmp_path, "ä" * 127 + ".mp4")
    for name in ("a\nb.obj", "a\x1bb.obj", "\udcff.obj"):
        with pytest.raises(UserError, match="control characters"):
            plan(tmp_path, name, kind=OBJECT)
    assert not os.listdir(tmp_path)


def test_a_process_that_shares_a_batch_sees_the_preview_of_another(tmp_path: Path) -> None:
    files = CLIP.files(tmp_path / "fox.mp4")
    with claim(files, wait=False):
        files.preview.write_text("so far")
        assert plan(tmp_path, "fox.mp4", replacing=AGAIN)
        with pytest.raises(UserError, match="Another process is making"):
            plan(tmp_path, "fox.mp4")
    files.preview.write_text("mine")
    with pytest.raises(UserError, match=r"fox\.preview\.png exists"):
        plan(tmp_path, "fox.mp4", replacing=AGAIN)


def save(files: OutputFiles, overwrite: bool = False) -> None:
    with save_output(files, overwrite) as drafts:
        make(drafts)


def test_saving_replaces_what_the_caller_names_and_nothing_else(tmp_path: Path) -> None:
    files, sheet = CLIP.files(tmp_path / "fox.mp4"), tmp_path / "fox.sheet.png"
    files.output.write_text("mine")
    sheet.write_text("mine")
    with pytest.raises(UserError, match=r"fox\.sheet\.png exists.*overwrite=True"):
        save(files)
    assert files.output.read_text() == sheet.read_text() == "mine"
    sheet.unlink()
    save(files)
    assert digests(files.lasting[:-1]) == json.loads(files.record.read_text())["files"]
    save(files)
    sheet.write_text("mine")
    with pytest.raises(UserError, match=r"fox\.sheet\.png exists"):
        save(files)
    save(files, overwrite=True)
    assert sheet.read_text() != "mine" and len(os.listdir(tmp_path)) == 3


def test_the_documentation_lists_every_name() -> None:
    """The table of docs/files.md, by command."""
    documented: dict[str, set[str]] = {}
    for line in (ROOT / "docs" / "files.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `fox"):
            names, command, _ = line.strip("|").split(" | ")
            documented.setdefault(command.strip("` "), set()).update(re.findall(r"`fox(.+?)`", names))
    for command, kind in {"gen-video": CLIP, "dream3d": OBJECT, "dreamlift image": PICTURE}.items():
        outputs = [kind.files(Path(f"fox{extension}")) for extension in kind.extensions]
        names = {path.name for files in outputs for path in (*files.lasting, *files.passing)}
        assert documented.pop(command) == {name.removeprefix("fox") for name in names}
    assert not documented
