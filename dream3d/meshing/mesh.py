"""A textured triangle mesh."""

from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray


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
        return trimesh.Trimesh(self.vertices, self.faces, process=False)

    def vertex_of_uv(self) -> NDArray[np.int32]:
        """Index (T,) of the vertex of each row of `uv`."""
        vertex = np.zeros(len(self.uv), np.int32)
        vertex[self.corners] = self.faces
        return vertex
