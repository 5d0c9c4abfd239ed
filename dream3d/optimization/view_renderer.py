"""Training views of a field: cameras, backgrounds, light, occupancy, and the renders that they give."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from core.condition import Condition
from dream3d.nerf.cameras import CameraDistribution, Cameras, point_lights
from dream3d.nerf.occupancy_grid import OccupancyGrid
from dream3d.nerf.radiance_fields import RadianceField, VoxelField
from dream3d.nerf.volume_rendering import (
    EVERY_PIXEL,
    PixelStride,
    PointLightShader,
    RenderedViews,
    Shader,
    render,
)
from dream3d.optimization.backgrounds import Backgrounds
from dream3d.optimization.view_conditioning import camera_condition
from dream3d.options import ObjectOptions, Stage


class TrainingViews(NamedTuple):
    """N views to render."""

    cameras: Cameras
    background_indices: Tensor  # (N,) int64 into the `Backgrounds`

    def select(self, index: Tensor) -> TrainingViews:
        """The views of an index tensor."""
        return TrainingViews(self.cameras[index], self.background_indices[index])


class ViewRenderer:
    """Samples training views of a field and renders them, as one run of distillation asks for.

    Everything random comes from `generator`. The loop sets `iteration` and calls `begin_stage` and
    `occupancy.update`; view strategies sample and render.
    """

    field: RadianceField
    occupancy: OccupancyGrid

    def __init__(
        self,
        field: RadianceField,
        backgrounds: Backgrounds,
        options: ObjectOptions,
        *,
        image_size: int,
        generator: torch.Generator,
        phase: float | None = None,
    ) -> None:
        """image_size: side in pixels of the model's images; phase: of the action, [0, 1), if it has one."""
        self.field = field
        self.backgrounds = backgrounds
        self.options = options
        self.image_size = image_size
        self.generator = generator
        self.phase = phase
        self.camera_distribution = CameraDistribution(elevation=options.elevation)
        self.iteration = 0
        self.begin_stage(options.stages[0])

    def begin_stage(self, stage: Stage) -> None:
        """Refines a voxel field to the grid of the stage and starts a new occupancy grid."""
        self.stage = stage
        if isinstance(self.field, VoxelField) and self.field.resolution != stage.grid:
            self.field = self.field.refined(stage.grid)
        self.occupancy = OccupancyGrid(self.field, resolution=min(stage.grid, 64))
        self.occupancy.update(self.field)

    @property
    def progress(self) -> float:
        """Share of the iterations done, in [0, 1]."""
        return self.iteration / self.options.iterations

    def sample(self) -> TrainingViews:
        """`options.views` new views, evenly spaced around the object before one random background."""
        drawn = self.camera_distribution.sample(self.options.views, self.generator, evenly=True)
        background = self.backgrounds.choose(self.generator)
        cameras = Cameras(drawn.azimuth, drawn.elevation)
        return TrainingViews(cameras, torch.full((len(drawn),), background))

    def condition(self, views: TrainingViews) -> Condition:
        """The model's condition for each view: text of the background, camera, phase."""
        texts = self.backgrounds.texts[views.background_indices.to(self.backgrounds.texts.tokens.device)]
        azimuth, elevation = views.cameras.azimuth, views.cameras.elevation
        with_camera = self.options.camera != "none"
        condition = camera_condition(texts, azimuth, elevation, self.phase, with_camera=with_camera)
        return condition.to(self.field.low.device)

    def render_views(
        self, views: TrainingViews, shader: Shader | None = None, pixels: PixelStride = EVERY_PIXEL
    ) -> RenderedViews:
        """Renders of the views at the stage's size, by a shader or by the light of the backgrounds."""
        size = self.stage.size
        painted = [self.backgrounds.paint(index, size) for index in views.background_indices.tolist()]
        return render(
            self.field,
            views.cameras,
            size // pixels.stride,
            self.stage.samples,
            pixels.select(torch.stack(painted)),
            generator=self.generator,
            occupancy=self.occupancy,
            shader=shader or self._background_light(views.cameras),
            with_normals=self.options.weights.orientation > 0,
            pixels=pixels,
        )

    def sample_point_light(self, cameras: Cameras) -> PointLightShader | None:
        """DreamFusion's random point light in a share of the iterations; None for the backgrounds' light."""
        lighting = self.options.lighting
        if not lighting.share or self.progress < lighting.after:
            return None
        lit, textureless = torch.rand(2, generator=self.generator).tolist()
        if lit >= lighting.share:
            return None
        lights = point_lights(cameras, self.generator).to(self.field.low.device)
        return PointLightShader(lights, textureless=textureless < lighting.textureless)

    def _background_light(self, cameras: Cameras) -> Shader | None:
        """The light of the model's images, once the field has a surface for it to fall on."""
        return None if self.progress < self.options.lighting.after else self.backgrounds.shader(cameras)
