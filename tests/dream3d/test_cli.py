"""The `dream3d` command: errors, written files, resuming after kill -9, interruption."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trimesh
import yaml

from dream3d.cli import main

Command = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parents[2]
SLOW_IMPORTS = ("torch._dynamo", "diffusers", "transformers")  # that a run has no need of
TINY = {
    "iterations": 6,
    "views": 2,
    "learning_rate": 0.2,
    "texture": 64,
    "faces": 2000,
    "turn": 4,
    "target_buffer": {"size": 4, "refresh_every": 2, "views_per_step": 3, "pixel_stride": 2},
    "stages": [
        {"share": 0.5, "size": 16, "samples": 16, "grid": 16, "guidance": 2.0},
        {"share": 0.5, "size": 24, "samples": 24, "grid": 24, "guidance": 2.0, "steps": 2},
    ],
}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give either a prompt"),
        (["a fox", "--prompts", "x.csv"], "Give either a prompt"),
        (["--prompts", "x.csv"], "Cannot read the prompts of x.csv: No such file"),
        ([" "], "The prompt is empty."),
        (["a fox", "--iterations", "0"], "--iterations cannot be 0"),
        (["a fox", "--loss", "magic"], "--loss cannot be 'magic'"),
        (["a fox", "--field", "clay"], "--field cannot be 'clay'"),
        (["a fox", "--guidance", "-1"], "--guidance cannot be -1.0"),
        (["a fox", "--sampler", "ddpm"], "--sampler cannot be 'ddpm'"),
        (["a fox", "--timesteps", "backwards"], "--timesteps cannot be 'backwards'"),
        (["a fox", "--loss", "csd", "--guidance", "5"], "The loss csd has no scale: leave out --guidance"),
        (["a fox", "--loss", "csd", "--guidance-rescale", "0.5"], "The loss csd has no scale: leave out"),
        (["a fox", "--model", "emoji", "--complete"], "--complete is for the bundled model"),
        (["a fox", "--model", "emoji", "--lora", "x"], "--lora, --dtype and --offload are for checkpoints"),
        (["a fox", "--negative", "red", "--guidance", "1"], "--negative has no effect at guidance scale 1"),
        (["a fox", "--loss", "sds", "--sampler", "heun"], "the loss sds samples no targets"),
        (["a fox", "--loss", "csd", "--guidance-interval", "0", "5"], "the loss csd needs both branches"),
        (["a fox", "--guidance-interval", "5", "1"], "guidance_interval must be (low, high)"),
        (["a fox", "--guidance-rescale", "2"], "--guidance-rescale cannot be 2.0"),
        (["a fox", "--num", "0"], "--num cannot be 0: there must be at least one object."),
        (["a fox", "--out", "fox.fbx"], "fox.fbx: its name must end in .obj, .glb, .ply, .stl or .usdz."),
        (["a fox", "--out", "fox.glb", "--up", "z"], "--up z is not for .glb"),
        (["a fox", "--up", "x"], "--up cannot be 'x'"),
        (["a fox", "--height", "80"], "--height is that of an .stl in millimeters, and a-fox.obj is"),
        (["a fox", "--out", "fox.stl", "--height", "0"], "--height cannot be 0.0"),
        (["a fox", "--faces", "99"], "--faces cannot be 99"),
        (["a fox", "--texture", "5000"], "--texture cannot be 5000"),
        (["a fox", "--background", "blu"], "There is no color 'blu'"),
        (["a fox", "--out", "/dev/null/fox.obj"], "Cannot write into the folder /dev/null"),
        (["a fox", "--preset", "best"], "There is no preset 'dream3d/best'"),
        (["a fox", "--tier", "best"], "--tier cannot be 'best'"),
        (["a fox", "--tier", "draft", "--preset", "fine"], "--tier draft is the preset draft: leave out"),
        (["a fox", "--model", "someone/model", "--tier", "fast"], "--tier is for models in this project's"),
        (["a fox", "--resume"], "There is nothing to resume: no a-fox.checkpoint.safetensors."),
        (["a fox", "--device", "abacus"], "There is no device 'abacus' here"),
        (["a fox", "--model", "nowhere"], "There is no folder nowhere: give an existing folder"),
    ],
)  # fmt: skip
def test_errors_are_one_sentence_and_exit_code_2(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dream3d", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    output = capsys.readouterr()
    assert stop.value.code == 2
    assert sentence in output.err and output.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_prompt_gives_all_files_of_an_object(command: Command, tmp_path: Path, tiny: Path) -> None:
    result = command(
        "dream3d", "a fox holding a controller", "--out", "fox.obj", "--preset", tiny, without=SLOW_IMPORTS
    )
    assert result.returncode == 0, result.stderr
    files = sorted(path.name for path in tmp_path.iterdir())
    endings = (
        ".dream3d.json", ".glb", ".html", ".mtl", ".obj", ".texture.png", ".turntable.mp4", ".views.png",
    )  # fmt: skip
    assert files == [*(f"fox{ending}" for ending in endings), "tiny.yaml"]
    record = json.loads((tmp_path / "fox.dream3d.json").read_text())
    assert record["prompt"] == "a fox holding a controller" and record["iterations"] == 6
    assert "controller" in record["completed"] and record["surface"]["faces"] <= 2000
    meshes = [trimesh.load(tmp_path / name, force="mesh") for name in ("fox.obj", "fox.glb")]
    assert len(meshes[0].faces) == len(meshes[1].faces) == record["surface"]["faces"]
    again = command("dream3d", "--replay", "fox.dream3d.json")
    assert again.returncode == 0, again.stderr
    for ending in (".glb", ".texture.png", ".turntable.mp4"):
        assert (tmp_path / f"fox-replay{ending}").read_bytes() == (tmp_path / f"fox{ending}").read_bytes()


def test_resuming_after_kill_9_gives_the_same_bytes(command: Command, tmp_path: Path, tiny: Path) -> None:
    slow = tiny.with_name("slow.yaml")
    slow.write_text(yaml.safe_dump(TINY | {"iterations": 24}))
    options = ("a fox", "--preset", slow, "--no-preview")
    full = command("dream3d", *options, "--out", "full.ply")
    assert full.returncode == 0, full.stderr
    code = (
        "import sys; sys.argv[0] = 'dream3d'; import dream3d.generate as g; g.SAVE_EVERY = 0.0; "
        "from dream3d.cli import main; main()"
    )
    arguments = [sys.executable, "-c", code, *map(str, options), "--out", "cut.ply"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(arguments, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    checkpoint, deadline = tmp_path / "cut.checkpoint.safetensors", time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists() and not (tmp_path / "cut.ply").exists()

    other = command("dream3d", "a panda", *options[1:], "--out", "cut.ply", "--resume")
    assert other.returncode == 2 and "is of another prompt" in other.stderr
    resumed = command("dream3d", *options, "--out", "cut.ply", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "cut.ply").read_bytes() == (tmp_path / "full.ply").read_bytes()
    assert not checkpoint.exists()


def test_ctrl_c_exports_the_current_object(tmp_path: Path, tiny: Path) -> None:
    long = tiny.with_name("long.yaml")
    long.write_text(yaml.safe_dump(TINY | {"iterations": 100000}))
    code = "import sys; sys.argv[0] = 'dream3d'; from dream3d.cli import main; main()"
    arguments = [sys.executable, "-c", code, "a fox", "--out", "fox.glb", "--preset", str(long)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(arguments, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    preview, deadline = tmp_path / "fox.views.preview.png", time.monotonic() + 120
    while not preview.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=120)
    assert process.returncode == 130, output
    record = json.loads((tmp_path / "fox.dream3d.json").read_text())
    assert 0 < record["iterations"] < 100000 and (tmp_path / "fox.glb").exists()


def test_objects_of_a_file_of_prompts(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "prompts.csv"
    arguments = ["--prompts", table.name, "--preset", str(tiny), "--no-preview", "--out", "objects/"]
    monkeypatch.setattr(sys, "argv", ["dream3d", *arguments, "--skip-existing"])

    def made(rows: str) -> list[str]:
        table.write_text(f"prompt,seed,out,iterations\n{rows}")
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "objects").glob("*.json")}
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0, capsys.readouterr().err
        after = {path: path.stat().st_mtime_ns for path in (tmp_path / "objects").glob("*.json")}
        return sorted(path.name.split(".")[0] for path in after if after[path] != before.get(path))

    assert made("a fox,,,\na red cat,3,cat.glb,4\n") == ["a-fox", "cat"]
    records = [
        json.loads((tmp_path / "objects" / f"{name}.dream3d.json").read_text()) for name in ("a-fox", "cat")
    ]
    assert [(record["seed"], record["iterations"]) for record in records] == [(0, 6), (3, 4)]
    assert made("a fox,,,\na red cat,3,cat.glb,5\n") == ["cat"]
    printed = re.sub(r"\s*│\s*", " | ", capsys.readouterr().err)
    assert " | 1 | 1 | 0 | " in printed  # made, already there, failed
    assert (tmp_path / "objects" / "index.html").read_text().count("<figure>") == 2
