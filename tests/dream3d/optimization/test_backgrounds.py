"""Backgrounds, their texts, and the light of the toybox."""

import torch

from core.attributes import WIDTH
from core.condition import Condition
from core.toybox.actions import ACTIONS
from core.toybox.backdrops import BACKDROPS
from core.toybox.camera import Camera
from core.toybox.scenes import Scene, index_of, render_scenes
from core.toybox.subjects import SUBJECTS
from dream3d.nerf.cameras import Cameras
from dream3d.nerf.scene_field import SceneField
from dream3d.nerf.volume_rendering import render
from dream3d.optimization.backgrounds import ToyboxLight, learned_color, plain_backdrops


class Encoder:
    """Records the prompts that it encodes."""

    def __call__(self, prompts) -> Condition:
        self.prompts = list(prompts)
        count = len(self.prompts)
        mask = torch.ones(count, 1, dtype=torch.bool)
        return Condition(torch.zeros(count, 1, 4), mask, torch.zeros(count, WIDTH))


def test_each_plain_backdrop_has_a_text_with_its_name() -> None:
    encode = Encoder()
    backgrounds = plain_backdrops("a fox", encode)
    plain = [place for place in BACKDROPS if place.plain]
    assert len(backgrounds) == len(plain) and encode.prompts == [f"a fox {place.name}" for place in plain]
    for index, place in enumerate(plain):
        assert torch.equal(backgrounds.paint(index, 16), place.paint(torch.zeros(1), 16)[0])
    generator = torch.Generator().manual_seed(0)
    assert {backgrounds.choose(generator) for _ in range(200)} == set(range(len(plain)))
    assert not list(backgrounds.learned.parameters())


def test_a_backdrop_in_the_prompt_is_the_only_one() -> None:
    encode, place = Encoder(), BACKDROPS[2]
    assert place.plain
    backgrounds = plain_backdrops(f"a fox {place.name}", encode)
    assert encode.prompts == [f"a fox {place.name}"] and len(backgrounds) == 1
    assert torch.equal(backgrounds.paint(0, 8), place.paint(torch.zeros(1), 8)[0])


def test_a_learned_color_starts_gray_and_is_optimized() -> None:
    backgrounds = learned_color("a fox", Encoder())
    torch.testing.assert_close(backgrounds.paint(0, 4), torch.full((3, 4, 4), 0.5))
    optimizer = torch.optim.Adam(backgrounds.learned.parameters(), lr=0.3)
    target = torch.tensor([0.9, 0.5, 0.1])[:, None, None]
    for _ in range(60):
        optimizer.zero_grad()
        (backgrounds.paint(0, 4) - target).square().sum().backward()
        optimizer.step()
    assert (backgrounds.paint(0, 4) - target).abs().max() < 0.05


def test_the_toyboxs_light_reproduces_the_toyboxs_renders() -> None:
    plain = next(index for index, place in enumerate(BACKDROPS) if place.plain)
    scene = Scene(index_of(SUBJECTS, "golden retriever"), index_of(ACTIONS, "sitting"), 0, plain)
    azimuth, elevation = torch.tensor([20.0, 160.0, 250.0]), torch.tensor([5.0, 15.0, 30.0])
    cameras = Cameras(azimuth, elevation)
    nothing = torch.zeros(3, dtype=torch.bool)
    images, truth = render_scenes([scene], torch.zeros(3), Camera(azimuth, elevation), nothing, 32)
    inside = (truth.alpha > 0.999).expand_as(images)

    def error(light: ToyboxLight | None) -> float:
        field, backdrop = SceneField(scene), torch.ones(3)
        with torch.no_grad():
            renders = render(field, cameras, 32, 128, backdrop, shader=light, early_stop=0).color
        return (renders - images)[inside].abs().mean().item()

    lit, unlit = error(ToyboxLight(cameras)), error(None)
    assert lit < 0.06 and lit < unlit / 2
