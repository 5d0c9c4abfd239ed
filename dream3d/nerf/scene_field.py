"""A scene of the toybox as a field: the true object, to mesh, to render and to measure against."""

import numpy as np
import torch
from torch import Tensor

from core.toybox.distance import signed_distance
from core.toybox.scenes import Scene
from dream3d.nerf.radiance_fields import DensityAndColor, RadianceField

DENSITY = 400.0  # inside, per world unit
SHELL = 0.01  # world units over which it falls off at the surface


class SceneField(RadianceField):
    """The solids of one scene at one moment: dense inside, in the color of the solid that is nearest."""

    def __init__(self, scene: Scene, phase: float = 0.0) -> None:
        """phase: moment of the scene's loop, [0, 1)."""
        super().__init__()
        self.solids = scene.solids(np.array([phase]))

    def forward(self, points: Tensor) -> DensityAndColor:
        distance, color = signed_distance(self.solids, points)
        return DensityAndColor(DENSITY * torch.sigmoid(-distance / SHELL), color)
