"""The viewer embeds the mesh and makes no network requests."""

import base64
import re
from pathlib import Path

import pytest

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
    assert "default-src 'none'" in rest and len(rest) < 16_000
    assert viewer(mesh, "a ball") == viewer(mesh, "a ball")


def test_an_unwritable_folder_raises(smooth_ball, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot write into the folder"):
        write_viewer(tmp_path / "missing" / "ball.html", smooth_ball.extraction.mesh, "a ball")
