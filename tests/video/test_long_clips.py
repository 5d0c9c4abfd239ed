"""Long clips, loops, given frames and start clips, with a network whose right answers are known."""

import math

import pytest
import torch
from torch import Tensor, nn

from core.condition import Condition
from core.errors import UserError
from core.models.image_model import ImageModelConfig
from core.models.text_encoder import TextEncoder
from core.nn.unet import UNetConfig
from core.samplers import SamplerState
from video.loop import CircularFrames
from video.plan import WINDOW
from video.video_model import VideoModel, VideoModelConfig

IMAGE = ImageModelConfig(size=16, network=UNetConfig(widths=(32,), blocks=(1,), attention=(True,)), clip=None)
CONFIG = VideoModelConfig(image=IMAGE, loop=16)


class PhaseWorld(nn.Module):
    """The exact network, in v, of a world whose frames are flat pictures of 0.8 sin(2 pi phase)."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = IMAGE.denoiser().schedule
        self.unused = nn.Parameter(torch.zeros(()))
        self.windows: list[tuple[int, int]] = []  # frames and tokens of every call

    def forward(self, clip: Tensor, t: Tensor, condition: Condition) -> Tensor:
        self.windows.append((clip.shape[2], int(condition.mask.sum(1).max())))
        alpha, sigma = self.schedule.scales(t, clip)
        x0 = (0.8 * condition.attributes[..., 5])[:, None, :, None, None]
        # A gradient for reconstruction guidance: x0 moves a little with the mean noise of the clip.
        x0 = x0 + 1e-4 * sigma * clip.mean(dim=(1, 2, 3, 4), keepdim=True)
        return alpha * (clip - alpha * x0) / sigma - sigma * x0


@pytest.fixture(scope="module")
def text() -> TextEncoder:
    return TextEncoder()


@pytest.fixture
def world(text: TextEncoder) -> VideoModel:
    return VideoModel(CONFIG, IMAGE.denoiser().with_network(PhaseWorld()), text)


def wave(frames: int, first: float = 0.0) -> Tensor:
    phase = first + torch.arange(frames) / 16
    return 0.8 * (2 * math.pi * phase).sin()


@pytest.mark.parametrize("image_scale", [0.0, 3.0])
def test_a_long_clip_moves_on_from_window_to_window(world: VideoModel, image_scale: float) -> None:
    clip = world.sample(["a fox"], frames=41, steps=4, guidance=1.0, image_scale=image_scale)
    assert clip.shape == (1, 3, 41, 16, 16)
    torch.testing.assert_close(clip[0, 0, :, 3, 5], wave(41), atol=5e-3, rtol=0)
    assert {frames for frames, _ in world.denoiser.network.windows} == {WINDOW, 4 + 1}  # 16 + 12 + 12 + 1


def test_later_prompts_hold_from_their_frame(world: VideoModel) -> None:
    steps: list[SamplerState] = []
    world.sample(
        ["fox"],
        frames=24,
        steps=2,
        guidance=1.0,
        later_prompts=[(10, "a panda that waves")],
        on_step=steps.append,
    )
    assert [state.x.shape[2] for state in steps] == [
        10,
        10,
        16,
        16,
        6,
        6,
    ]  # 10 frames, then 12 and 2 new ones
    tokens = [count for _, count in world.denoiser.network.windows]
    assert len({*tokens[:2]}) == len({*tokens[2:]}) == 1 and tokens[0] < tokens[-1]


def test_given_first_and_last_frames_stay(world: VideoModel) -> None:
    first, last = (torch.full((1, 3, 16, 16), value) for value in (0.5, -0.3))
    clip = world.sample(["a fox"], frames=6, steps=3, guidance=1.0, image=first, last_image=last)
    torch.testing.assert_close(clip[:, :, 0], first, atol=1e-5, rtol=0)
    torch.testing.assert_close(clip[:, :, -1], last, atol=1e-5, rtol=0)
    torch.testing.assert_close(clip[0, 0, 1:-1, 0, 0], wave(6)[1:-1], atol=1e-2, rtol=0)


def test_a_loop_is_the_same_wherever_it_begins(world: VideoModel) -> None:
    """Exactly: the network sees shifted frames, and shifts back what it says of them."""

    class Neighbors(nn.Module):
        """Depends on the order of frames, circularly."""

        def forward(self, clip: Tensor, t: Tensor, condition: Condition) -> Tensor:
            return clip.roll(1, dims=2) * 0.3 + condition.attributes[..., 5][:, None, :, None, None]

    denoiser = IMAGE.denoiser().with_network(Neighbors())
    circle = CircularFrames(denoiser)
    clip, attributes = torch.randn(1, 3, 8, 4, 4), torch.randn(1, 8, 10)
    condition = Condition(torch.zeros(1, 1, 384), torch.ones(1, 1, dtype=torch.bool), attributes)
    for t in (999.0, 640.0, 33.0):
        timestep = torch.tensor([t])
        expected = denoiser.predict(clip, timestep, condition).x0
        torch.testing.assert_close(circle.predict(clip, timestep, condition).x0, expected)
    whole = world.sample(["a fox"], frames=16, steps=4, guidance=1.0, loop=True)
    torch.testing.assert_close(whole[0, 0, :, 0, 0], wave(16), atol=5e-3, rtol=0)


def test_strength_decides_how_much_of_a_clip_stays(world: VideoModel) -> None:
    given = torch.rand(1, 3, 8, 16, 16) * 2 - 1
    options = {"frames": 8, "steps": 20, "guidance": 1.0, "clip": given}
    little = world.sample(["a fox"], strength=0.05, **options)
    full = world.sample(["a fox"], strength=1.0, **options)
    # One step from little noise: the network knows the world, and says it at once.
    assert little.shape == given.shape
    torch.testing.assert_close(full[0, 0, :, 2, 2], wave(8), atol=5e-3, rtol=0)
    steps: list[SamplerState] = []
    world.sample(["a fox"], strength=0.25, on_step=steps.append, **options)
    assert len(steps) == 5 and steps[0].t == world.denoiser.schedule.sampling_timesteps(20)[15]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"last_image": torch.zeros(1, 3, 16, 16)}, "A last image needs a first one"),
        (
            {"image": torch.zeros(1, 3, 16, 16), "last_image": torch.zeros(1, 3, 16, 16), "frames": 20},
            "from 2 to 16 frames, not 20",
        ),
        ({"loop": True, "frames": 12}, "must be a multiple of 16"),
        ({"loop": True, "image": torch.zeros(1, 3, 16, 16)}, "A loop starts from no image"),
        ({"clip": torch.zeros(1, 3, 4, 16, 16)}, "has 4 frames, not 16"),
        ({"clip": torch.zeros(1, 3, 16, 16, 16), "strength": 0.0}, "above 0 and at most 1, not 0"),
        ({"clip": torch.zeros(1, 3, 16, 16, 16), "loop": True}, "excludes images and loops"),
        ({"image": torch.zeros(1, 3, 8, 8)}, "must be"),
    ],
)
def test_impossible_combinations_are_refused(world: VideoModel, options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        world.sample(["a fox"], **{"frames": 16, "steps": 2, **options})
