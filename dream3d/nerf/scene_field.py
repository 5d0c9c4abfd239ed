"""A toybox scene as a radiance field: the ground truth for meshing, rendering and evaluation."""

import numpy as np
import torch
from torch import Tensor

from core.toybox.distance import signed_distance
from core.toybox.scenes import Scene
from dream3d.nerf.radiance_fields import DensityAndColor, RadianceField

DENSITY = 400.0  # inside the solids, per world unit
SHELL = 0.01  # width of the sigmoid at the surface, world units


class SceneField(RadianceField):
    """Field of the solids of a scene at one phase: dense inside, with the color of the nearest solid."""

    def __init__(self, scene: Scene, phase: float = 0.0) -> None:
        """phase: of the scene's action, [0, 1)."""
        super().__init__()
        self.solids = scene.solids(np.array([phase]))

    def forward(self, points: Tensor) -> DensityAndColor:
        """Density and color at points (M,3) world, from the signed distance to the solids."""
        distance, color = signed_distance(self.solids, points)
        return DensityAndColor(DENSITY * torch.sigmoid(-distance / SHELL), color)
