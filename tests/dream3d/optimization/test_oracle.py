import dataclasses

import pytest
import torch

from core.attributes import WIDTH
from core.condition import Condition
from core.diffusion.schedule import NoiseSchedule
from core.guidance import ClassifierFreeGuidance
from core.toybox.backdrops import BACKDROPS
from core.toybox.camera import Camera
from core.toybox.scenes import Scene, index_of, render_scenes
from core.toybox.subjects import SUBJECTS
from dream3d.distill import SDS, LinearAnnealing, X0Reconstruction
from dream3d.optimization.oracle import scene_denoiser
from dream3d.optimization.view_conditioning import camera_condition

SIZE, PHASE = 24, 0.25
SCENE = Scene(subject=index_of(SUBJECTS, "fox"), action=0, color=0, backdrop=2)
SCHEDULE = NoiseSchedule.cosine()
TEXT = Condition(torch.zeros(1, 1, 4), torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, WIDTH))
AZIMUTH, ELEVATION = torch.tensor([20.0, -130.0]), torch.tensor([15.0, 0.0])
T = torch.tensor([200, 900])


def truth():
    camera, shadow = Camera(AZIMUTH, ELEVATION), torch.zeros(2, dtype=torch.bool)
    return 2 * render_scenes([SCENE], torch.full((2,), PHASE), camera, shadow, SIZE)[0] - 1


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def views():
    return camera_condition(TEXT, AZIMUTH, ELEVATION)


@pytest.mark.parametrize("deviation", [0.0, 0.3])
def test_the_prediction_is_the_posterior_mean_at_the_camera(deviation):
    x = torch.randn(2, 3, SIZE, SIZE, generator=random())
    predicted = scene_denoiser(SCENE, SCHEDULE, PHASE, deviation)(x, T, views())
    alpha, sigma = SCHEDULE.alpha(T, x), SCHEDULE.sigma(T, x)
    gain = alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2)
    expected = truth() + gain * (x - alpha * truth())
    torch.testing.assert_close(predicted.x0, expected, atol=2e-3, rtol=0)  # the camera went through float32
    torch.testing.assert_close(alpha * predicted.x0 + sigma * predicted.eps, x)


def test_the_text_is_ignored():
    denoiser = scene_denoiser(SCENE, SCHEDULE, PHASE)
    x = torch.randn(2, 3, SIZE, SIZE, generator=random())
    guided = ClassifierFreeGuidance(denoiser, 7.5, TEXT)
    torch.testing.assert_close(guided(x, T, views()).x0, denoiser(x, T, views()).x0)


@pytest.mark.parametrize("make", [SDS, X0Reconstruction])
def test_distillation_recovers_the_true_images(make):
    distillation = make(scene_denoiser(SCENE, SCHEDULE, PHASE, 0.05), LinearAnnealing((0.3, 0.7), (0.3, 0.7)))
    x, generator, steps = torch.zeros(2, 3, SIZE, SIZE), random(), 20
    for step in range(steps):
        x.requires_grad_(True)
        result = distillation(x, views(), step / steps, generator)
        (gradient,) = torch.autograd.grad(result.loss, x)
        x = x.detach() - 0.45 * gradient
    assert (x - truth()).abs().mean() < 0.03


def test_the_backdrop_can_be_replaced():
    denoiser = scene_denoiser(SCENE, SCHEDULE, PHASE)
    other = dataclasses.replace(SCENE, backdrop=0)
    x = torch.randn(2, 3, SIZE, SIZE, generator=random())
    before = denoiser(x, T, views()).x0
    denoiser.network.scene = other
    assert (denoiser(x, T, views()).x0 - before).abs().max() > 0.1


def test_invalid_arguments_are_refused():
    x = torch.zeros(2, 3, SIZE, SIZE)
    with pytest.raises(ValueError, match="camera of every row"):
        scene_denoiser(SCENE, SCHEDULE)(x, T, TEXT.repeat_interleave(2))
    place = next(i for i, backdrop in enumerate(BACKDROPS) if not backdrop.plain)
    with pytest.raises(ValueError, match="plain backdrop"):
        scene_denoiser(dataclasses.replace(SCENE, backdrop=place), SCHEDULE)(x, T, views())
    with pytest.raises(ValueError, match="deviation"):
        scene_denoiser(SCENE, SCHEDULE, deviation=-1.0)
