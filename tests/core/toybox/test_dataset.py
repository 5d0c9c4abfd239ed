"""Prepared shards: layout, seeding, and resuming an interrupted preparation."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.errors import UserError
from core.toybox import dataset
from core.toybox.backdrops import BACKDROPS
from core.toybox.camera import Camera
from core.toybox.dataset import FRAMES, VIEWS, DatasetPlan, draw_cameras, render_shard, write_dataset
from core.toybox.scenes import COLOR_NAMES, render_scenes

SHARD = 32  # images instead of thousands: 4 image records of 8 views, or 2 clips


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "SHARD", SHARD)


def run(plan: DatasetPlan) -> list[tuple[int, int]]:
    return list(write_dataset(plan))


def test_shards_have_the_documented_layout(tmp_path: Path) -> None:
    assert run(DatasetPlan(tmp_path, images=40, clips=1)) == [(0, 3), (1, 3), (2, 3), (3, 3)]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "captions.txt",
        "clips-00000.safetensors",
        "images-00000.safetensors",
        "images-00001.safetensors",
    ]
    lines = (tmp_path / "captions.txt").read_text().splitlines()
    assert len(lines) == 2 * 4 + 2
    for kind, count, shape in (("images", 32, (32, 3, 64, 64)), ("clips", 2, (2, 16, 3, 64, 64))):
        shard = load_file(tmp_path / f"{kind}-00000.safetensors")
        assert shard["pixels"].shape == shape and shard["pixels"].dtype == torch.uint8
        for name in ("azimuth", "elevation", "phase"):
            assert shard[name].shape == (count,) and shard[name].dtype == torch.float32
        assert shard["shadow"].shape == (count,) and shard["shadow"].dtype == torch.uint8
        for name in ("caption", "subject", "action", "color", "background"):
            assert shard[name].shape == (count,) and shard[name].dtype == torch.int64
        assert len(shard) == 10
        assert shard["azimuth"].min() >= 0 and shard["azimuth"].max() < 360
        assert shard["phase"].min() >= 0 and shard["phase"].max() < 1
        assert shard["shadow"].max() <= 1


@pytest.mark.parametrize("kind", ["images", "clips", "objects"])
def test_labels_and_captions_match_the_scenes(kind: str, tmp_path: Path) -> None:
    plan = DatasetPlan(tmp_path, images=64, clips=4, objects=64, seed=8)
    run(plan)
    lines = (tmp_path / "captions.txt").read_text().splitlines()
    views = 1 if kind == "clips" else VIEWS
    for number in (0, 1):
        shard = load_file(plan.path(kind, number))
        scenes, captions, _ = plan.records(kind, number)
        assert [lines[i] for i in shard["caption"]] == [c for c in captions for _ in range(views)]
        for i, scene in enumerate(scenes):
            rows = slice(i * views, (i + 1) * views)
            alone = not scene.group
            assert set(shard["subject"][rows].tolist()) == {scene.subject if alone else -1}
            assert set(shard["action"][rows].tolist()) == {scene.action if alone else -1}
            assert set(shard["background"][rows].tolist()) == {scene.backdrop}
            if alone and not scene.act.colored:
                assert set(shard["color"][rows].tolist()) == {-1}
            if "background" in captions[i]:
                assert BACKDROPS[scene.backdrop].short_name in captions[i]
            if alone and scene.act.colored and scene.act.phrases[0].split("{c}")[0] in captions[i]:
                assert COLOR_NAMES[scene.color] in captions[i] or "{c}" not in captions[i]


def test_frame_i_of_a_clip_is_at_its_phase_plus_i_sixteenths(tmp_path: Path) -> None:
    plan = DatasetPlan(tmp_path, clips=2, seed=2)
    shard = render_shard(plan, "clips", 0)
    scenes, _, _ = plan.records("clips", 0)
    for i, scene in enumerate(scenes):
        for frame in (0, 1, 7, 15):
            moment = (shard["phase"][i] + frame / FRAMES) % 1.0
            camera = Camera(shard["azimuth"][i : i + 1], shard["elevation"][i : i + 1])
            expected, _ = render_scenes([scene], moment[None], camera, shard["shadow"][i : i + 1].bool())
            apart = (expected[0] * 255).round() - shard["pixels"][i, frame].float()
            assert (apart.abs() > 2).float().mean() < 0.002  # rounding of the phase can move an outline


@pytest.mark.parametrize("kind", ["images", "textureless", "objects"])
def test_each_image_renders_its_scene_with_its_camera_and_phase(kind: str, tmp_path: Path) -> None:
    plan = DatasetPlan(tmp_path, images=32, textureless=32, objects=32, seed=6)
    shard = render_shard(plan, kind, 0)
    scenes, _, _ = plan.records(kind, 0)
    for row in (0, 9, 31):
        camera = Camera(shard["azimuth"][row : row + 1], shard["elevation"][row : row + 1])
        shadow = shard["shadow"][row : row + 1].bool()
        phase, bare = shard["phase"][row : row + 1], kind == "textureless"
        expected, _ = render_scenes([scenes[row // VIEWS]], phase, camera, shadow, textureless=bare)
        apart = (expected[0] * 255).round() - shard["pixels"][row].float()
        assert (apart.abs() > 2).float().mean() < 0.002


def test_textureless_images_have_separate_scenes_and_no_color_shadow_or_caption(
    tmp_path: Path,
) -> None:
    plain, more = (DatasetPlan(tmp_path / name, images=32, clips=2, seed=7) for name in ("plain", "more"))
    run(plain)
    more = replace(more, textureless=64)
    assert run(more) == [(i, 4) for i in range(5)]
    for path in plain.out.iterdir():
        if path.suffix == ".txt":
            assert path.read_bytes() == (more.out / path.name).read_bytes()
            continue
        one, other = load_file(path), load_file(more.out / path.name)
        # The last bit of a product depends on memory alignment, so a pixel can differ.
        apart = (one.pop("pixels").float() - other.pop("pixels").float()).abs()
        assert (apart > 2).float().mean() < 0.002
        assert all(torch.equal(one[name], other[name]) for name in (*one, *other))

    for number in (0, 1):
        shard = load_file(more.path("textureless", number))
        scenes, _, _ = more.records("textureless", number)
        assert scenes != more.records("images", number)[0]
        assert shard["pixels"].shape == (SHARD, 3, 64, 64) and len(shard) == 10
        for name in ("subject", "action"):
            of_scenes = [-1 if scene.group else getattr(scene, name) for scene in scenes]
            assert shard[name].tolist() == [label for label in of_scenes for _ in range(VIEWS)]
        assert shard["background"].tolist() == [scene.backdrop for scene in scenes for _ in range(VIEWS)]
        for name in ("caption", "color"):
            assert shard[name].shape == (SHARD,) and shard[name].dtype == torch.int64
            assert (shard[name] == -1).all()
        assert not shard["shadow"].any()
        # The center of the image is gray where the figure covers it.
        middle = shard["pixels"][:, :, 28:36, 28:36].float()
        assert ((middle.amax(1) - middle.amin(1)) < 1.5).float().mean() > 0.5


def test_objects_have_cameras_on_all_sides_plain_backdrops_and_no_shadow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "SHARD", 256)
    shard = render_shard(DatasetPlan(tmp_path, objects=256, seed=9), "objects", 0)
    assert not shard["shadow"].any()
    assert all(BACKDROPS[place].plain for place in shard["background"].tolist())
    quarters = torch.bincount((shard["azimuth"] / 90).long(), minlength=4) / 256
    assert quarters.min() > 0.15 and shard["azimuth"].max() < 360
    assert shard["elevation"].min() < 0 and 30 < shard["elevation"].max() <= 35
    assert (shard["phase"] == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_shards_depend_only_on_the_seed(tmp_path: Path) -> None:
    one, same, other = (
        render_shard(DatasetPlan(tmp_path, images=32, seed=s), "images", 0) for s in (1, 1, 2)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["pixels"], other["pixels"])
    plan = DatasetPlan(tmp_path, images=64, clips=2, seed=1)
    shards = [plan.records("images", 0)[1], plan.records("images", 1)[1], plan.records("clips", 0)[1]]
    assert shards[0][:2] != shards[1][:2] and shards[0][:2] != shards[2]


def test_an_interrupted_preparation_resumes(tmp_path: Path) -> None:
    plan = DatasetPlan(tmp_path / "stopped", images=96, seed=4)
    assert list(islice(write_dataset(plan), 2)) == [(0, 3), (1, 3)]
    first = plan.path("images", 0)
    assert first.exists() and not plan.path("images", 2).exists()
    written = first.stat().st_mtime_ns
    assert run(plan) == [(1, 3), (2, 3), (3, 3)]
    assert first.stat().st_mtime_ns == written

    at_once = DatasetPlan(tmp_path / "at once", images=96, seed=4)
    run(at_once)
    for _, shard in plan.jobs():
        assert plan.path("images", shard).read_bytes() == at_once.path("images", shard).read_bytes()
    assert run(plan) == [(3, 3)]
    assert not [path for path in plan.out.iterdir() if path.name.startswith(".")]


def test_clips_and_objects_can_be_added_to_a_folder_but_not_images(tmp_path: Path) -> None:
    """Captions of clips follow those of images: more images would shift the lines of finished clips."""
    run(DatasetPlan(tmp_path, images=32, clips=2))
    captions = (tmp_path / "captions.txt").read_text()
    assert run(DatasetPlan(tmp_path, images=32, clips=4)) == [(2, 3), (3, 3)]
    longer = (tmp_path / "captions.txt").read_text()
    assert longer.startswith(captions) and len(longer) > len(captions)
    assert run(DatasetPlan(tmp_path, images=32, clips=4, objects=32)) == [(3, 4), (4, 4)]
    assert (tmp_path / "captions.txt").read_text().startswith(longer)
    longer = (tmp_path / "captions.txt").read_text()
    assert run(DatasetPlan(tmp_path, images=32)) == [(1, 1)]
    assert (tmp_path / "captions.txt").read_text() == longer
    for plan in (
        DatasetPlan(tmp_path, images=64, clips=2),
        DatasetPlan(tmp_path, images=32, clips=2, seed=1),
    ):
        with pytest.raises(UserError, match="holds shards of another plan"):
            run(plan)


def test_held_out_plans_contain_only_held_out_pairs(tmp_path: Path) -> None:
    for held in (True, False):
        scenes = [
            s
            for shard in range(8)
            for s in DatasetPlan(tmp_path, seed=3, held=held).records("images", shard)[0]
        ]
        assert {scene.held_out for scene in scenes if scene.group not in ("couple", "brush")} == {held}


def test_most_cameras_are_in_front_of_the_face() -> None:
    azimuth, elevation = draw_cameras(np.random.default_rng(0), 20000)
    assert azimuth.min() >= 0 and azimuth.max() < 360
    in_front = np.mean(np.minimum(azimuth, 360 - azimuth) < 75)
    assert in_front == pytest.approx(0.6 + 0.4 * 75 / 180, abs=0.02)
    assert elevation.min() >= -8 and elevation.max() <= 45
    assert np.median(elevation) == pytest.approx(13, abs=0.5)
