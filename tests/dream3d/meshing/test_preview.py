"""Renders, turntables and fidelity of meshes of a ball, against known values."""

import numpy as np
import pytest
from PIL import Image

from core.io.sheet import contact_sheet
from dream3d.meshing.fidelity import measure_fidelity
from dream3d.meshing.preview import PAPER, framing_cameras, render_eight_views, render_mesh, render_turntable


def test_renders_show_the_painted_sides(painted_ball, ring) -> None:
    mesh = painted_ball.extraction.mesh
    renders = render_mesh(mesh, ring(4), 32)
    front, right = renders.color[:2]
    assert front[14, 16] == pytest.approx([1, 0, 0], abs=0.01)
    assert right[14, 16] == pytest.approx([0, 0, 1], abs=0.01)
    _, columns = np.nonzero(front[..., 2] - front[..., 0] > 0.5)
    assert columns.min() > 20  # +x, the blue side, is to the right
    assert (renders.color[renders.opacity == 0] == 1).all()
    assert renders.depth[:, 16, 16] == pytest.approx(7 - 0.8, abs=0.03)


def test_fidelity_against_shifted_colors_and_true_silhouettes(smooth_ball, ring, impact) -> None:
    views = ring(4)
    mesh = smooth_ball.extraction.mesh
    own = render_mesh(mesh, views, 48, background=0.2)
    covered = own.opacity > 0.5
    same = measure_fidelity(mesh, views, own.color, covered, background=0.2)
    assert same.psnr == same.worst_psnr == 100 and same.silhouette_iou == same.worst_silhouette_iou == 1
    assert same.views == 4

    true = impact(views, 48) < 0.8
    report = measure_fidelity(mesh, views, own.color, true, background=0.2)
    assert report.silhouette_iou > 0.96 and report.worst_silhouette_iou <= report.silhouette_iou
    assert smooth_ball.extraction.iso_level.iou > 0.96

    off = own.color.copy()
    off[2] += 0.1
    assert measure_fidelity(mesh, views, off, covered, background=0.2).worst_psnr == pytest.approx(
        20, abs=0.01
    )
    assert measure_fidelity(mesh, views, off, covered, background=0.2).psnr == pytest.approx(26.02, abs=0.01)


def test_framing_cameras_show_the_entire_mesh(smooth_ball) -> None:
    mesh = smooth_ball.extraction.mesh
    renders = render_mesh(mesh, framing_cameras(mesh, [0, 70, 200], elevation=40), 48, supersampling=1)
    border = np.concatenate([renders.opacity[:, [0, -1]].ravel(), renders.opacity[:, :, [0, -1]].ravel()])
    assert (border == 0).all() and (renders.opacity.mean((1, 2)) > 0.55).all()


def test_the_turntable_turns_counter_clockwise_from_the_front(painted_ball) -> None:
    frames = render_turntable(painted_ball.extraction.mesh, count=4, size=32, elevation=0)
    assert frames.shape == (4, 32, 32, 3) and frames.dtype == np.uint8
    red, blue, back, left = frames[:, 16, 16].astype(int)
    assert red[0] > 3 * red[1] and blue[2] > 3 * blue[0]
    assert back.min() > 100 and left.min() > 100
    assert (frames[:, 0, 0] == np.round(255 * np.array(PAPER))).all()
    eight = render_eight_views(painted_ball.extraction.mesh, size=32, elevation=0)
    assert (eight[::2] == frames).all()
    assert isinstance(contact_sheet(eight, "a ball", columns=4), Image.Image)


def test_a_transparent_turntable_over_a_color_is_the_one_with_that_background(painted_ball) -> None:
    mesh = painted_ball.extraction.mesh
    clear = render_turntable(mesh, count=3, size=32, background=None) / 255
    assert clear.shape == (3, 32, 32, 4) and (clear[:, 0, 0] == 0).all()
    assert ((clear[..., 3] > 0) & (clear[..., 3] < 1)).any()
    color = np.array([0.2, 0.6, 1.0])
    over = clear[..., :3] * clear[..., 3:] + color * (1 - clear[..., 3:])
    assert over * 255 == pytest.approx(render_turntable(mesh, count=3, size=32, background=color), abs=1.5)


def test_the_light_is_above_the_left_shoulder(smooth_ball) -> None:
    mesh = smooth_ball.extraction.mesh
    views = framing_cameras(mesh, [0])
    unlit, lit = (render_mesh(mesh, views, 32, light=light).color[0] for light in (False, True))
    shade = (lit + 1e-3) / (unlit + 1e-3)
    assert shade.max() <= 1.001
    assert shade[9, 10].mean() > 0.98 > 0.8 > shade[24, 24].mean() > 0.55
