"""A textured triangle mesh."""

from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with a texture and with a color at every vertex, both sRGB.

    Right-handed, in meters, +y up, the front of the object towards +z: glTF's axes. Triangles share vertices,
    so that a closed surface is closed here too; where the texture has a seam, several rows of `uv` belong to
    one vertex.
    """

    vertices: NDArray[np.float32]  # (V,3)
    normals: NDArray[np.float32]  # (V,3), of length 1, outward
    colors: NDArray[np.uint8]  # (V,3)
    faces: NDArray[np.int32]  # (F,3) rows of `vertices`, counter-clockwise seen from outside
    uv: NDArray[np.float32]  # (T,2) in [0,1], from the texture's top left corner, as in glTF
    corners: NDArray[np.int32]  # (F,3) rows of `uv`
    texture: NDArray[np.uint8]  # (S,S,3)

    def surface(self) -> trimesh.Trimesh:
        """The bare surface, for measuring."""
        return trimesh.Trimesh(self.vertices, self.faces, process=False)

    def vertex_of_uv(self) -> NDArray[np.int32]:
        """(T,) the vertex to which each row of `uv` belongs."""
        vertex = np.zeros(len(self.uv), np.int32)
        vertex[self.corners] = self.faces
        return vertex
