"""Offline HTML viewer of a mesh: one file with the embedded GLB and a small WebGL renderer."""

import base64
from html import escape
from pathlib import Path

from core.io.atomic import atomic_write
from dream3d.meshing.formats.glb import glb
from dream3d.meshing.mesh import Mesh

TEMPLATE = Path(__file__).with_name("viewer.html")


def viewer(mesh: Mesh, title: str, name: str = "object") -> str:
    """HTML page with the mesh, which can be rotated by mouse, touch and keys and saved as `name`.glb.

    title: of the page, and shown on it.
    The content security policy of the page forbids all network requests.
    """
    # Splitting first avoids searching megabytes of base64.
    head, tail = (
        part.replace("@NAME@", escape(name)).replace("@TITLE@", escape(title))
        for part in TEMPLATE.read_text(encoding="utf-8").split("@GLB@")
    )
    return head + base64.b64encode(glb(mesh)).decode() + tail


def write_viewer(path: Path, mesh: Mesh, title: str) -> None:
    """Writes the page of `viewer`. Raises UserError for a folder that is not writable."""
    with atomic_write(path) as draft:
        draft.write_text(viewer(mesh, title, path.stem), encoding="utf-8")
