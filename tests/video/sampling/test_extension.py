"""Extension window by window, on clips of a known Gaussian process; and clips that start from a clip."""

import numpy as np
import pytest
import torch

from core.diffusion.schedule import NoiseSchedule
from core.samplers import SamplerState, ddim
from tests.oracles.known import Known, empty_condition
from video.sampling.extension import GivenFrames, partial_timesteps, sample_windows
from video.sampling.reconstruction import start_from
from video.video_model import VideoModel

SCHEDULE = NoiseSchedule.cosine()
RHO = 0.9  # correlation of neighbors; each frame of this process depends on the one before alone
FRAMES, SIZE, OVERLAP = 10, 4, 2


def covariance(frames: int) -> np.ndarray:
    position = np.arange(frames)
    return RHO ** np.abs(position[:, None] - position)


class Process(Known):
    """A window of the process: frames of one pixel."""

    def expected(self, x, alpha, sigma, condition):
        a, s, frames = alpha.flatten()[0].item(), sigma.flatten()[0].item(), x.shape[2]
        gain = a * covariance(frames) @ np.linalg.inv(a**2 * covariance(frames) + s**2 * np.eye(frames))
        return torch.einsum("fg,bcghw->bcfhw", torch.from_numpy(gain).to(x), x)


def sampled(scale: float, noise: torch.Tensor, on_step=None, steps: int = 25) -> torch.Tensor:
    def sample(noise, condition, constrain, report):
        denoiser, x = Process(SCHEDULE).denoiser(), noise
        if constrain:
            denoiser, x = constrain(denoiser, x, SCHEDULE.sampling_timesteps(steps)[0])
        state = None
        for state in ddim(denoiser, x, condition, steps=steps):
            if report:
                report(state)
        assert state
        return state.x

    condition = empty_condition(0.0, len(noise))
    settings = {"size": SIZE, "overlap": OVERLAP, "given": GivenFrames(), "on_step": on_step}
    return sample_windows(sample, noise, condition, scale=scale, **settings)


def noise(batch: int, frames: int = FRAMES) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, 1, frames, 1, 1, dtype=torch.float64, generator=generator)


def test_frames_across_a_border_differ_as_those_of_the_process_do_and_by_replacement_more() -> None:
    """Given the frame before it, a frame of the process varies by 1 - rho^2, at a border as elsewhere."""
    z, exact = noise(4000), 1 - RHO**2
    across = {}
    for scale in (0.0, 2.0):
        clips = sampled(scale, z)[:, 0, :, 0, 0].numpy()
        left = []
        for border in (4, 6, 8):
            line = np.polyfit(clips[:, border - 1], clips[:, border], 1)
            left.append(np.var(clips[:, border] - np.polyval(line, clips[:, border - 1])))
        across[scale] = np.mean(left)
    assert abs(across[2.0] - exact) < 0.25 * exact
    assert across[0.0] > 1.75 * exact


def test_a_clip_of_one_window_is_sampled_as_it_is() -> None:
    z, states = noise(2, SIZE), []
    clip = sampled(1.0, z, states.append, steps=3)
    *_, last = ddim(Process(SCHEDULE).denoiser(), z, empty_condition(0.0, 2), steps=3)
    assert torch.equal(clip, last.x) and [state.step for state in states] == [1, 2, 3]


def test_states_show_the_whole_clip_and_count_the_steps_of_all_windows() -> None:
    states: list[SamplerState] = []
    clip = sampled(1.0, noise(1), states.append, steps=3)
    assert [(state.step, state.steps) for state in states] == [(i + 1, 12) for i in range(12)]
    assert [state.x.shape[2] for state in states[2::3]] == [4, 6, 8, 10]
    torch.testing.assert_close(states[-1].x, clip)
    torch.testing.assert_close(states[5].x[:, :, :4], states[2].x)  # what is drawn stays


@pytest.mark.parametrize("overlap", [0, SIZE])
def test_windows_must_share_some_frames(overlap: int) -> None:
    with pytest.raises(ValueError, match="0 < overlap < size"):
        sample_windows(
            lambda z, *_: z,
            noise(1),
            empty_condition(0.0, 1),
            size=SIZE,
            overlap=overlap,
            given=GivenFrames(),
        )


def test_full_strength_visits_all_timesteps_and_parts_their_share() -> None:
    for steps in (1, 7, 12, 40):
        assert partial_timesteps(1000, steps, 1.0) == SCHEDULE.sampling_timesteps(steps)
    half = partial_timesteps(1000, 12, 0.5)
    assert half == [499, 416, 332, 249, 166, 82] and partial_timesteps(1000, 12, 0.001) == [0]


def test_a_clip_is_noised_as_the_forward_process_noises_it() -> None:
    clip, eps = noise(3, 5), noise(3, 5).flip(0)
    denoiser, x = start_from(clip)(Process(SCHEDULE).denoiser(), eps, 400)
    torch.testing.assert_close(x, SCHEDULE.add_noise(clip, eps, torch.full((3,), 400)))
    assert denoiser.schedule is SCHEDULE


def test_strength_goes_from_the_clip_to_pure_noise(tiny_model) -> None:
    model = VideoModel.load(tiny_model)
    given = torch.rand(1, 3, 5, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    settings = {"frames": 5, "steps": 4, "seeds": [2]}
    plain = model.sample(["a fox"], **settings)
    assert torch.equal(model.sample(["a fox"], **settings, clip=given, strength=1.0), plain)
    apart = [
        (model.sample(["a fox"], **settings, clip=given, strength=each) - given).abs().mean().item()
        for each in (0.001, 0.3, 0.9)
    ]
    assert apart[0] < 0.05 and apart[0] < apart[1] < apart[2]


def test_long_clips_given_frames_and_clips_go_together(tiny_model) -> None:
    model = VideoModel.load(tiny_model)
    given = torch.rand(1, 3, 20, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    settings = {"frames": 20, "steps": 2, "seeds": [2]}
    near = model.sample(["a fox"], **settings, clip=given, strength=0.002)
    assert near.shape == given.shape and (near - given).abs().mean() < 0.05
    led = model.sample(["a fox"], **settings, image=given[:, :, 0])
    torch.testing.assert_close(led[:, :, 0], given[:, :, 0])


def test_the_first_and_the_last_frame_are_kept(tiny_model) -> None:
    model = VideoModel.load(tiny_model)
    first, last = torch.rand(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    clip = model.sample(["a fox"], frames=5, steps=2, image=first, last_image=last)
    torch.testing.assert_close(clip[:, :, 0], first)
    torch.testing.assert_close(clip[:, :, -1], last)
