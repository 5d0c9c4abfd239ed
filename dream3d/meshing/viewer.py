"""One HTML file that shows a mesh, offline: the GLB and a small WebGL renderer inside it."""

import base64
from html import escape
from pathlib import Path

from core.io.atomic import atomic_write
from dream3d.meshing.export import glb
from dream3d.meshing.mesh import Mesh

TEMPLATE = Path(__file__).with_name("viewer.html")


def viewer(mesh: Mesh, title: str, name: str = "object") -> str:
    """The page: the mesh to be turned by mouse, touch and keys under its `title`, to be saved as `name`.glb.

    Its content security policy forbids it any request.
    """
    # Split first: nothing is to be looked for in megabytes of base64.
    head, tail = (
        part.replace("@NAME@", escape(name)).replace("@TITLE@", escape(title))
        for part in TEMPLATE.read_text(encoding="utf-8").split("@GLB@")
    )
    return head + base64.b64encode(glb(mesh)).decode() + tail


def write_viewer(path: Path, mesh: Mesh, title: str) -> None:
    """Writes the page. Raises UserError in an unwritable folder."""
    with atomic_write(path) as draft:
        draft.write_text(viewer(mesh, title, path.stem), encoding="utf-8")
