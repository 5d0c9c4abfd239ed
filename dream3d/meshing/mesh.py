"""A textured triangle mesh."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import trimesh

SURFACE = "surface"  # name of the material in files


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with a texture and vertex colors, both sRGB.

    Axes are glTF's: right-handed, in meters, +y up, the front of the object towards +z. Triangles share
    vertices, so closed surfaces have closed connectivity. At texture seams several rows of `uv` belong to one
    vertex.
    """

    vertices: NDArray[np.float32]  # (V,3)
    normals: NDArray[np.float32]  # (V,3) unit, outward
    colors: NDArray[np.uint8]  # (V,3)
    faces: NDArray[np.int32]  # (F,3) rows of `vertices`, counter-clockwise seen from outside
    uv: NDArray[np.float32]  # (T,2) in [0,1], from the texture's top left corner, as in glTF
    corners: NDArray[np.int32]  # (F,3) rows of `uv`
    texture: NDArray[np.uint8]  # (S,S,3)

    def surface(self) -> trimesh.Trimesh:
        """The surface without texture and colors."""
        import trimesh  # half a second, and an object is meshed last

        return trimesh.Trimesh(self.vertices, self.faces, process=False)

    def uv_from_below(self) -> NDArray[np.float32]:
        """`uv` (T,2) with v measured from the bottom of the texture, as in OBJ."""
        return np.stack([self.uv[:, 0], 1 - self.uv[:, 1]], 1)

    def with_z_up(self) -> Mesh:
        """The mesh with +z up and its front towards -y, as Blender has it: (x, y, z) becomes (x, -z, y)."""

        def turned(points: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.ascontiguousarray(points[:, [0, 2, 1]] * np.array([1, -1, 1], np.float32))

        return replace(self, vertices=turned(self.vertices), normals=turned(self.normals))

    def vertex_of_uv(self) -> NDArray[np.int32]:
        """Index (T,) of the vertex of each row of `uv`."""
        vertex = np.zeros(len(self.uv), np.int32)
        vertex[self.corners] = self.faces
        return vertex
