"""docs/options.md: every cell is what the commands do, and what a model accepts it also looks at."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image

import dream3d.cli
import video.cli
from core.bundled import bundled_model
from core.errors import UserError
from core.io.presets import load_preset
from dream3d.options import ImageModelReference, ObjectOptions, check_model_reference
from dream3d.presets import load_object_preset
from video.find_model import find_model
from video.model_reference import ModelReference, settle
from video.options import ClipOptions, ClipRequest
from video.pipelines.checkpoint_reference import CheckpointReference

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/options.md").read_text(encoding="utf-8")
CPU = torch.device("cpu")

# What every family of gen-video takes: the run's options, and those of writing.
EVERYWHERE = {"prompt", "prompts", "out", "num", "batch", "seed", "preset", "model", "device"}
EVERYWHERE |= {"skip_existing", "overwrite", "preview", "replay", "force"}
EVERYWHERE |= {"quiet", "json", "list_models", "dry_run"}
# Options that are looked at before the model samples, or after.
AROUND = {"frames", "seconds", "fps", "scale", "resampling", "motion", "offload", "context_parallel", "tier"}
FRAMES = {
    "bundled": 16,
    "own models": 16,
    "AnimateDiff": 4,
    "Wan": 5,
    "LTX": 9,
    "CogVideoX": 9,
    "ModelScope": 3,
}
FOLDERS = {
    "Wan": ["wan", "wan-2.2"],
    "LTX": ["ltx"],
    "CogVideoX": ["cogvideox", "cogvideox-image"],
    "ModelScope": ["modelscope"],
}


def table(title: str) -> dict[str, dict[str, str]]:
    """Cells of a table by option and family."""
    part = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line] for line in lines]
    return {row[0].strip("`-").replace("-", "_"): dict(zip(head[1:], row[1:], strict=True)) for row in rows}


CLIPS, OBJECTS = table("gen-video"), table("dream3d")


def parameters(app: typer.Typer) -> set[str]:
    names = {parameter.name or "" for parameter in typer.main.get_command(app).params}
    return names - {"help", "install_completion", "show_completion"}


def test_the_tables_have_every_option_once() -> None:
    assert CLIPS.keys() | EVERYWHERE == parameters(video.cli.app) and not CLIPS.keys() & EVERYWHERE
    everywhere = {"prompt", "prompts", "out", "num", "seed", "preset", "model", "device", "preview"}
    everywhere |= {
        "skip_existing",
        "overwrite",
        "resume",
        "replay",
        "force",
        "quiet",
        "json",
        "list_models",
        "dry_run",
    }
    assert OBJECTS.keys() | everywhere == parameters(dream3d.cli.app) and not OBJECTS.keys() & everywhere
    assert {cell for row in (*CLIPS.values(), *OBJECTS.values()) for cell in row.values()} == {"yes", "no"}
    named = set(re.findall(r"`--([a-z-]+)`", PAGE.partition("## gen-video")[0]))
    assert {name.replace("_", "-") for name in EVERYWHERE - {"prompt"}} <= named


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("given")
    Image.new("RGBA", (40, 32), (255, 0, 0, 90)).save(folder / "picture.png")
    frames = [Image.new("RGB", (32, 32), (8 * i, 0, 0)) for i in range(30)]
    frames[0].save(folder / "clip.gif", save_all=True, append_images=frames[1:], duration=100)
    return {"picture": folder / "picture.png", "clip": folder / "clip.gif"}


def values(option: str, family: str, given: dict[str, Path]) -> dict[str, Any]:
    """A value of an option, with the others that it needs where the family takes it."""
    picture, own = given["picture"], family in ("bundled", "own models")
    camera = {"azimuth": 20.0, "elevation": 10.0}
    size = {"width": 64, "height": 32}
    return {
        "steps": {"steps": 3},
        "guidance": {"guidance": 4.0},
        "negative": {"negative": "rain"},
        "sampler": {"sampler": "heun"},
        "eta": {"eta": 0.5} | ({"sampler": "ddim"} if own else {}),
        "guidance_interval": {"guidance_interval": (0.1, 5.0)},
        "guidance_rescale": {"guidance_rescale": 0.5},
        "frames": {"frames": FRAMES[family]},
        "fps": {"fps": 12.0},
        "seconds": {"seconds": 0.7},
        "super_resolution": {"super_resolution": 2},
        "scale": {"scale": 2},
        "resampling": {"resampling": "nearest", "scale": 2},
        "azimuth": camera,
        "elevation": camera,
        "phase": {"phase": 0.2},
        "last_phase": {"last_phase": 0.2, "interpolate": (picture, picture)},
        "motion": {"motion": "none"},
        "image": {"image": picture},
        "interpolate": {"interpolate": (picture, picture)},
        "background": {"background": "red", "image": picture},
        "video": {"video": given["clip"]},
        "strength": {"video": given["clip"], "strength": 0.5},
        "loop": {"loop": True},
        "extension": {"extension": "replacement", "frames": 24},
        "width": size,
        "height": size,
        "lora": {"lora": ("style.safetensors",)},
        "dtype": {"dtype": "bfloat16"},
        "offload": {"offload": "model"},
        "tiling": {"tiling": True},
        "storage": {"storage": "float8"},
        "cache": {"cache": "first-block"},
        "attention": {"attention": "native"},
        "context_parallel": {"context_parallel": 2},
        "tier": {"tier": "exact"},
    }[option]


@pytest.fixture(scope="module")
def references(video_folder: Callable[[str], Path], sd_eps: Path) -> Callable[[str], list[ModelReference]]:
    """Models of a family."""

    def found(family: str) -> list[ModelReference]:
        if family == "bundled":
            return [find_model(None)]
        if family == "own models":
            return [find_model("emoji")]
        folders = [sd_eps] if family == "AnimateDiff" else [video_folder(name) for name in FOLDERS[family]]
        return [find_model(str(folder)) for folder in folders]

    return found


def base(reference: ModelReference, family: str, given: dict[str, Path]) -> ClipOptions:
    """The preset of a model, with what it cannot do without."""
    changes: dict[str, Any] = {"frames": FRAMES[family]}
    if family == "AnimateDiff":
        changes["motion"] = "none"
    if isinstance(reference, CheckpointReference):
        changes |= {"width": {"LTX": 64, "CogVideoX": 48}.get(family, 32), "height": 32}
        if not reference.family.pipeline:
            changes["image"] = given["picture"]
    return load_preset(f"gen-video/{reference.preset}", ClipOptions).with_changes(**changes)


def refusal(reference: ModelReference, family: str, option: str, given: dict[str, Path]) -> str | None:
    """The sentence with which a model refuses an option; None where it takes it."""
    try:
        if option == "resume":
            reference.check_run(resume=True)
        elif option == "complete":
            assert reference.bundled, "--complete"  # which the command refuses, see tests/video/test_cli.py
        else:
            script = option == "script"
            changes = {} if script else values(option, family, given)
            prompt = "0: a fox | 1: a fox waving" if script else "a fox"
            options = base(reference, family, given).with_changes(**changes)
            settle(reference, options, [prompt], changes.keys() | {"frames"})
    except (UserError, AssertionError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("family", FRAMES)
def test_each_cell_is_taken_or_refused_by_its_name(
    family: str, references: Callable[[str], list[ModelReference]], given: dict[str, Path]
) -> None:
    for option, cells in CLIPS.items():
        refusals = [refusal(reference, family, option, given) for reference in references(family)]
        assert ("yes" if None in refusals else "no") == cells[family], f"{option}, {family}: {refusals}"
        words = "changes over time" if option == "script" else "--"
        assert all(words in sentence for sentence in refusals if sentence), f"{option}: {refusals}"


class Watched(ClipOptions):
    """Options that note which of them are looked at."""

    def __getattribute__(self, name: str) -> Any:
        SEEN.add(name)
        return super().__getattribute__(name)


SEEN: set[str] = set()


@pytest.mark.parametrize("family", ["bundled", "AnimateDiff", "Wan", "LTX", "CogVideoX", "ModelScope"])
def test_what_a_model_takes_it_looks_at(
    family: str, references: Callable[[str], list[ModelReference]], given: dict[str, Path]
) -> None:
    seen: set[str] = set()
    for reference in references(family):
        takes = [option for option, cells in CLIPS.items() if cells[family] == "yes"]
        options = base(reference, family, given).with_changes(
            tiling=False if family not in ("bundled", "own models") else None,  # the frames are too small
            steps=1 if family == "bundled" else 2,
            frames=3 if family == "bundled" else None,
        )
        sources = {"image": given["picture"], "video": given["clip"]}
        for changes in ({}, *({name: file} for name, file in sources.items() if name in takes)):
            if refusal(reference, family, next(iter(changes), "steps"), given):
                continue
            watched = Watched(**options.with_changes(**changes).model_dump())
            SEEN.clear()
            model = reference.open(watched, CPU, force=True)
            model.sample([ClipRequest("a fox", 0, watched)], lambda state: None)
            seen |= SEEN
        assert takes
    expected = {o for o, cells in CLIPS.items() if cells[family] == "yes"} & ClipOptions.model_fields.keys()
    assert expected - AROUND <= seen


@pytest.mark.parametrize("family", ["bundled", "own models", "checkpoints"])
def test_each_cell_of_objects_is_taken_or_refused(family: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "tier": {"tier": "fast"},
        "iterations": {"iterations": 3},
        "loss": {"loss": "sds"},
        "field": {"field": "hash"},
        "guidance": {"guidance": 4.0},
        "negative": {"negative": "rain"},
        "sampler": {"sampler": "heun"},
        "timesteps": {"timesteps": "dreamtime"},
        "guidance_interval": {"guidance_interval": (0.1, 5.0)},
        "guidance_rescale": {"rescale": 0.5},
        "faces": {"faces": 500},
        "texture": {"texture": 256},
        "up": {"up": "z"},
        "height": {"height": 80.0},
        "background": {"background": "transparent"},
    }
    name = {"bundled": "bundled", "own models": str(bundled_model("emoji")), "checkpoints": "someone/model"}
    for option, cells in OBJECTS.items():
        loading: dict[str, Any] = {"lora": {"lora": ("x",)}, "dtype": {"dtype": "bfloat16"}}.get(option, {})
        loading |= {"offload": True} if option == "offload" else {}
        reference = ImageModelReference(name[family], bundled=family == "bundled", **loading)
        try:
            if option == "complete":
                assert reference.bundled
            options = load_preset("dream3d/standard", ObjectOptions).with_changes(**changes.get(option, {}))
            check_model_reference(reference, options, {*changes.get(option, {})})
            found = "yes"
        except (UserError, AssertionError):
            found = "no"
        assert found == cells[family], f"{option}, {family}"
    assert load_object_preset(None, ImageModelReference("bundled", bundled=True))
