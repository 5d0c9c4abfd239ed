"""The viewer embeds the mesh and makes no network requests."""

import base64
import math
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from dream3d.meshing.formats.glb import glb
from dream3d.meshing.viewer import viewer, write_viewer


def test_the_page_embeds_the_glb_and_has_no_external_resources(smooth_ball, tmp_path: Path) -> None:
    mesh = smooth_ball.extraction.mesh
    write_viewer(tmp_path / "ball.html", mesh, "a <b>ball</b> & @GLB@")
    page = (tmp_path / "ball.html").read_text(encoding="utf-8")
    found = re.search(r'<script id="glb" type="text/plain">([A-Za-z0-9+/=]+)</script>', page)
    assert found and base64.b64decode(found[1]) == glb(mesh)
    assert "<title>a &lt;b&gt;ball&lt;/b&gt; &amp; @GLB@</title>" in page and 'download="ball.glb"' in page
    rest = page.replace(found[1], "")
    assert not re.search(r"https?://|//[a-z]+\.|\bsrc\s*=|\bimport\b|fetch\(|XMLHttp|url\(", rest)
    assert "default-src 'none'" in rest and len(rest) < 20_000
    assert viewer(mesh, "a ball") == viewer(mesh, "a ball")
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in rest


def test_the_views_of_the_field_are_embedded_in_a_row(smooth_ball) -> None:
    views = np.zeros((3, 16, 16, 4), np.uint8)
    views[1, ..., 0] = views[1, ..., 3] = 255
    page = viewer(smooth_ball.extraction.mesh, "@VIEWS@ @GLB@", views=views)
    found = re.search(r'<script id="views" type="text/plain" (.*)>([A-Za-z0-9+/=]+)</script>', page)
    assert found and "<h1>@VIEWS@ @GLB@</h1>" in page
    with Image.open(BytesIO(base64.b64decode(found[2]))) as image:
        assert image.size == (48, 16) and image.getchannel("A").getbbox() == (16, 0, 32, 16)
        assert image.convert("RGB").getpixel((24, 8))[0] > 240
    numbers = dict(re.findall(r'data-(\w+)="(.*?)"', found[1]))
    assert math.degrees(float(numbers["elevation"])) == pytest.approx(13)
    assert numbers["target"] == "0.0 1.0 0.0" and float(numbers["distance"]) == 7


def test_an_unwritable_folder_raises(smooth_ball, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot write into the folder"):
        write_viewer(tmp_path / "missing" / "ball.html", smooth_ball.extraction.mesh, "a ball")
