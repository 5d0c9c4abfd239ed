"""Sampling and rendering of training views: cameras, backgrounds, light and occupancy."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from core.condition import Condition
from dream3d.nerf.cameras import EVERY_PIXEL, CameraDistribution, Cameras, PixelStride, point_lights
from dream3d.nerf.occupancy_grid import OccupancyGrid
from dream3d.nerf.radiance_fields import RadianceField, VoxelField
from dream3d.nerf.volume_rendering import PointLightShader, RenderedViews, Shader, render
from dream3d.optimization.backgrounds import Backgrounds
from dream3d.optimization.view_conditioning import camera_condition
from dream3d.options import ObjectOptions, Stage

UNSEEN = 1e-4  # share of a pixel; without lighter samples, pixels changed by at most .4 of their 255 levels


class TrainingViews(NamedTuple):
    """N views to render."""

    cameras: Cameras
    background_indices: Tensor  # (N,) int64 into the `Backgrounds`

    def select(self, index: Tensor) -> TrainingViews:
        """The views of an index tensor."""
        return TrainingViews(self.cameras[index], self.background_indices[index])


class ViewRenderer:
    """Samples the training views of a run and renders its field in them.

    All random numbers come from `generator`. The optimization loop sets `iteration` and calls `begin_stage`
    and `occupancy.update`; view strategies sample and render.
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
        """image_size: side of the model's images in pixels; phase: of the action, [0, 1), if it has one."""
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
        """Share of the iterations that are completed, in [0, 1]."""
        return self.iteration / self.options.iterations

    def sample(self) -> TrainingViews:
        """Samples `options.views` views, evenly spaced around the object, before one random background."""
        sampled = self.camera_distribution.sample(self.options.views, self.generator, evenly=True)
        background = self.backgrounds.choose(self.generator)
        cameras = Cameras(sampled.azimuth, sampled.elevation)
        return TrainingViews(cameras, torch.full((len(sampled),), background))

    def condition(self, views: TrainingViews) -> Condition:
        """Condition of the model for each view: text of the background, camera and phase."""
        texts = self.backgrounds.texts[views.background_indices.to(self.backgrounds.texts.tokens.device)]
        azimuth, elevation = views.cameras.azimuth, views.cameras.elevation
        with_camera = self.options.camera != "none"
        condition = camera_condition(texts, azimuth, elevation, self.phase, with_camera=with_camera)
        return condition.to(self.field.low.device)

    def render_views(
        self,
        views: TrainingViews,
        shader: Shader | None = None,
        pixels: PixelStride = EVERY_PIXEL,
        least_weight: float = 0.0,
    ) -> RenderedViews:
        """Renders of the views at the stage's size, with a shader or with the light of the backgrounds.

        pixels, least_weight: as for `render`; renders to which nothing is fitted do without `UNSEEN` samples.
        """
        size = self.stage.size
        backgrounds = [self.backgrounds.paint(index, size) for index in views.background_indices.tolist()]
        return render(
            self.field,
            views.cameras,
            size // pixels.stride,
            self.stage.samples,
            pixels.select(torch.stack(backgrounds)),
            generator=self.generator,
            occupancy=self.occupancy,
            shader=shader or self._background_light(views.cameras),
            with_normals=self.options.weights.orientation > 0,
            least_weight=least_weight,
            pixels=pixels,
        )

    def sample_point_light(self, cameras: Cameras) -> PointLightShader | None:
        """Samples DreamFusion's point light in a share of the iterations; None for the backgrounds' light."""
        lighting = self.options.lighting
        if not lighting.share or self.progress < lighting.after:
            return None
        lit, textureless = torch.rand(2, generator=self.generator).tolist()
        if lit >= lighting.share:
            return None
        lights = point_lights(cameras, self.generator).to(self.field.low.device)
        return PointLightShader(lights, textureless=textureless < lighting.textureless)

    def _background_light(self, cameras: Cameras) -> Shader | None:
        """The light of the model's images; None in the first iterations: the field has no surface yet."""
        return None if self.progress < self.options.lighting.after else self.backgrounds.shader(cameras)
