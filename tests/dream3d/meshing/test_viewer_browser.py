"""The viewer in a real browser, from the disk: Chromium, where it is installed."""

import time
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dream3d.meshing.formats.glb import glb
from dream3d.meshing.preview import render_mesh
from dream3d.meshing.viewer import write_viewer
from dream3d.nerf.cameras import orbit_cameras
from tests.chromium import NASTY, contrast, open_browser, require_chromium, tab_stops

require_chromium()
VIEWS = 8


def picture(locator: Any) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(locator.screenshot())).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def file(painted_ball, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a painted ball, with renders of the mesh itself in place of the field's."""
    mesh = painted_ball.extraction.mesh
    views = render_mesh(mesh, orbit_cameras(VIEWS), 96).color
    path = tmp_path_factory.mktemp("viewer") / "a ball.html"
    write_viewer(path, mesh, NASTY, (views * 255).round().astype(np.uint8))
    return path


def test_the_viewer_works_from_the_disk_by_keyboard_touch_and_buttons(
    painted_ball, file: Path, tmp_path: Path
) -> None:
    with open_browser(tmp_path, viewport={"width": 640, "height": 480}, has_touch=True) as browser:
        page, requests, errors = browser.new_page(), list[str](), list[str]()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.emulate_media(reduced_motion="reduce", color_scheme="light")
        page.goto(file.as_uri())
        assert page.title() == NASTY.replace("\u2028", " ") or page.title() == NASTY
        assert page.locator("h1").text_content() == NASTY
        assert not page.locator("img, b").count()
        canvas = page.locator("#view")
        time.sleep(0.3)

        shown = [picture(canvas)]
        for act in (
            lambda: canvas.press("ArrowLeft"),
            lambda: canvas.press("ArrowUp"),
            lambda: canvas.press("+"),
            lambda: touch(browser, page, canvas),
            lambda: page.keyboard.press("w"),
            lambda: page.get_by_role("button", name="normals").click(),
        ):
            act()
            time.sleep(0.4)
            shown.append(picture(canvas))
        for before, after in pairwise(shown):
            assert (np.abs(before - after).max(-1) > 20).mean() > 0.002
        middle = shown[-1][shown[-1].shape[0] // 2, shown[-1].shape[1] // 2]
        assert page.get_by_role("button", name="normals").get_attribute("aria-pressed") == "true"
        assert middle.max() > 120  # a normal that looks at the viewer is no dark color

        # Each control has a name, is reached by Tab, and shows that it is.
        page.locator("body").click(position={"x": 5, "y": 5})
        names = [
            NASTY,
            "turntable",
            "wireframe",
            "normals",
            "field and mesh",
            "light or dark",
            "save picture",
        ]
        assert tab_stops(page) == [*names, "save as GLB"]

        with page.expect_download() as download:
            page.get_by_text("save as GLB").click()
        assert download.value.suggested_filename == "a ball.glb"
        assert Path(download.value.path()).read_bytes() == glb(painted_ball.extraction.mesh)
        with page.expect_download() as download:
            page.keyboard.press("p")
        assert download.value.suggested_filename == "a ball.png"
        assert download.value.suggested_filename == "a ball.png"
        with Image.open(download.value.path()) as image:
            assert image.width == 640 and image.getextrema()[3] == (0, 255)  # without a background

        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for paper in ("paper", "edge"):
                assert contrast(page, "ink", paper) >= 7 and contrast(page, "muted", paper) >= 4.5
                assert contrast(page, "focus", paper) >= 3
        color = page.evaluate("getComputedStyle(document.body).color")
        page.keyboard.press("l")
        assert page.evaluate("getComputedStyle(document.body).color") != color
        assert not errors and not [url for url in requests if not url.startswith(("file:", "blob:"))]


def touch(browser: Any, page: Any, canvas: Any) -> None:
    """A finger that is drawn over the canvas."""
    box, session = canvas.bounding_box(), browser.new_cdp_session(page)
    for kind, x in (("touchStart", 0.3), ("touchMove", 0.5), ("touchMove", 0.7), ("touchEnd", None)):
        points = [] if x is None else [{"x": box["x"] + x * box["width"], "y": box["y"] + box["height"] / 2}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_field_and_mesh_are_seen_by_one_camera(file: Path, tmp_path: Path) -> None:
    """The mesh by WebGL in one half lies as its renders by the CPU's rasterizer in the other."""
    with open_browser(tmp_path, viewport={"width": 900, "height": 520}) as browser:
        page = browser.new_page()
        page.emulate_media(reduced_motion="reduce", color_scheme="light")
        page.goto(file.as_uri())
        page.get_by_role("button", name="field and mesh").click()
        canvas, field = page.locator("#view"), page.locator("#field")
        for _ in range(3):  # the front, the side, from between
            canvas.press("ArrowRight")
            time.sleep(0.5)
            halves = [picture(each)[9:-9, 9:-9] for each in (field, canvas)]  # without the outline of focus
            strong = [half.max(-1) - half.min(-1) > 90 for half in halves]
            assert strong[0].mean() > 0.02
            assert (strong[0] & strong[1]).sum() > 0.85 * (strong[0] | strong[1]).sum()
            both = strong[0] & strong[1]
            assert (halves[0][both].argmax(-1) == halves[1][both].argmax(-1)).mean() > 0.97
