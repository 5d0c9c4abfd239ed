"""Offline HTML viewer of a mesh: one file with the embedded GLB and a small WebGL renderer."""

import base64
import math
import re
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from core.io.atomic import atomic_write
from core.io.pictures import Frames
from dream3d.meshing.formats.glb import glb
from dream3d.meshing.mesh import Mesh
from dream3d.nerf.cameras import DISTANCE, ELEVATION, FIELD_OF_VIEW, TARGET

TEMPLATE = Path(__file__).with_name("viewer.html")
QUALITY = 88  # of the field's views, WebP
PLACEHOLDERS = re.compile("@(TITLE|NAME|GLB|VIEWS|CAMERA)@")


def viewer(mesh: Mesh, title: str, name: str = "object", views: Frames | None = None) -> str:
    """HTML page with the mesh, which can be turned by mouse, touch and keys and saved as `name`.glb.

    title: of the page, and shown on it.
    views: renders (N,S,S,3) or (N,S,S,4) of the field by `orbit_cameras(N)`, to be seen next to the mesh.

    The content security policy of the page forbids all network requests.
    """
    angles = {"elevation": math.radians(ELEVATION), "angle": math.radians(FIELD_OF_VIEW)}
    camera = {"distance": DISTANCE, **angles, "target": " ".join(map(str, TARGET))}
    values = {
        "TITLE": escape(title),
        "NAME": escape(name),
        "GLB": base64.b64encode(glb(mesh)).decode(),
        "VIEWS": "" if views is None else base64.b64encode(_in_a_row(views)).decode(),
        "CAMERA": " ".join(f'data-{key}="{value}"' for key, value in camera.items()),
    }
    return PLACEHOLDERS.sub(lambda found: values[found[1]], TEMPLATE.read_text(encoding="utf-8"))


def _in_a_row(views: Frames) -> bytes:
    """The views side by side, as WebP."""
    file = BytesIO()
    Image.fromarray(np.concatenate(views, 1)).save(file, "WEBP", quality=QUALITY)
    return file.getvalue()


def write_viewer(path: Path, mesh: Mesh, title: str, views: Frames | None = None) -> None:
    """Writes the page of `viewer`. Raises UserError for a folder that is not writable."""
    with atomic_write(path) as draft:
        draft.write_text(viewer(mesh, title, path.stem, views), encoding="utf-8")
