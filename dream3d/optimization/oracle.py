"""The oracle: an exact denoiser of the renders of one toybox scene, in place of the image model.

It tests the steps from renders to mesh against a known object, without the errors of a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from core.attributes import decode_camera, encode_attributes
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.toybox.backdrops import BACKDROPS
from core.toybox.camera import Camera
from core.toybox.scenes import Scene, render_scenes
from dream3d.nerf.radiance_fields import VoxelField
from dream3d.optimization.backgrounds import Backgrounds, plain_backdrops
from dream3d.optimization.build_loss import build_x0_distillation
from dream3d.optimization.optimize import Optimization
from dream3d.options import ObjectOptions


class SceneNetwork(nn.Module):
    """Posterior mean E[x0 | x_t] of the data N(truth(camera), s^2), where truth is the render of a scene.

    x0^ = truth + alpha s^2 / (alpha^2 s^2 + sigma^2) (x_t - alpha truth). The text is ignored.
    """

    def __init__(
        self, scene: Scene, schedule: NoiseSchedule, phase: float = 0.0, deviation: float = 0.0
    ) -> None:
        """scene: before a plain backdrop; it may be replaced between calls, for example for another backdrop.

        phase: of the scene's action, [0, 1).
        deviation: s, for images in [-1, 1].
        Raises ValueError for a negative deviation.
        """
        super().__init__()
        if deviation < 0:
            raise ValueError(f"deviation must be 0 or more, not {deviation}")
        self.scene = scene
        self.schedule = schedule
        self.phase = phase
        self.deviation = deviation

    @torch.no_grad()
    def render_true(self, azimuth: Tensor, elevation: Tensor, size: int) -> Tensor:
        """Renders (B,3,size,size) of the scene in [-1, 1], without ground shadow.

        azimuth, elevation: (B,) degrees.

        Raises ValueError unless the backdrop is plain and the size is a multiple of 8.
        """
        if not self.scene.place.plain:
            raise ValueError(f"the oracle needs a plain backdrop, not {self.scene.place.name!r}")
        phase = torch.full((len(azimuth),), self.phase)
        shadow = torch.zeros(len(azimuth), dtype=torch.bool)
        images, _ = render_scenes(
            [self.scene], phase, Camera(azimuth, elevation), shadow, size, device=azimuth.device
        )
        return 2 * images - 1

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predicted x0, like x (B,3,size,size). Raises ValueError when a row has no camera."""
        azimuth, elevation = decode_camera(condition.attributes)
        if bool((azimuth + elevation).isnan().any()):
            raise ValueError("the oracle needs the camera of every row")
        truth = self.render_true(azimuth, elevation, x.shape[-1]).to(x)
        alpha, sigma = self.schedule.alpha(t, x), self.schedule.sigma(t, x)
        variance = self.deviation**2
        return truth + alpha * variance / (alpha**2 * variance + sigma**2) * (x - alpha * truth)


def scene_denoiser(
    scene: Scene, schedule: NoiseSchedule, phase: float = 0.0, deviation: float = 0.0
) -> Denoiser:
    """Exact pixel-space denoiser of the renders of a scene; see `SceneNetwork` for the arguments."""
    network = SceneNetwork(scene, schedule, phase, deviation)
    return Denoiser(network, schedule, Parameterization.X0)


def fit_true_views(
    scene: Scene, options: ObjectOptions, *, image_size: int, seed: int, phase: float = 0.0
) -> Optimization:
    """Optimization of a field on true renders of a scene before plain backdrops, by its exact denoiser.

    The model contributes no error, so every difference from the scene comes from the 3D pipeline itself.

    options: with the x0 loss and a voxel field.
    image_size: side of the renders in pixels, a multiple of 8.
    phase: of the scene's action, [0, 1).
    """
    denoiser = scene_denoiser(scene, NoiseSchedule.cosine(), phase)
    network = cast(SceneNetwork, denoiser.network)
    plain = [index for index, place in enumerate(BACKDROPS) if place.plain]

    class SharedBackgrounds(Backgrounds):
        """Backgrounds that set the oracle's scene to the sampled backdrop."""

        def choose(self, generator: torch.Generator) -> int:
            index = super().choose(generator)
            network.scene = replace(scene, backdrop=plain[index])
            return index

    def encode(texts: Sequence[str]) -> Condition:
        """Empty conditions: the oracle ignores the text."""
        count = len(texts)
        return Condition(
            torch.zeros(count, 1, 1), torch.ones(count, 1, dtype=torch.bool), encode_attributes(count)
        )

    backdrops = plain_backdrops("", encode)
    return Optimization(
        VoxelField(options.stages[0].grid),
        build_x0_distillation(denoiser, options),
        SharedBackgrounds(backdrops.texts, backdrops.paint, light=backdrops.light),
        options,
        image_size=image_size,
        seed=seed,
        phase=phase,
    )
