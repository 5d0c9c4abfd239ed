"""DPM-Solver++: Lu et al. 2022, "Fast Solver for Guided Sampling of Diffusion Probabilistic Models"."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike
from core.samplers.common import SamplerState, predict_checked
from core.samplers.noise_levels import NoiseLevel, denoising_levels


def dpm_solver(
    denoiser: DenoiserLike,
    x: Tensor,
    condition: Condition,
    *,
    steps: int | None = None,
    timesteps: Sequence[float] | None = None,
    end: float = -1,
) -> Iterator[SamplerState]:
    """DPM-Solver++(2M) sampler (Lu et al. 2022, algorithm 2): second order, one network call a step.

    The linear part of the ODE is solved exactly; x0 is extrapolated linearly in lambda = log(alpha / sigma)
    from this and the previous prediction. The first step has no previous prediction and the step to clean
    data no finite lambda to end at: both are first order, which is DDIM. Deterministic.

    Arguments and errors are those of `ddim`.
    """
    levels = denoising_levels(denoiser.schedule, steps, timesteps, end)
    count = len(levels) - 1

    def loop(x: Tensor) -> Iterator[SamplerState]:
        previous: tuple[NoiseLevel, Tensor] | None = None  # the last step's level and its predicted x0
        for step, (t, s) in enumerate(pairwise(levels), 1):
            x0 = predict_checked(denoiser, x, condition, t, step, count).x0
            extrapolated = x0
            if previous is not None and s.sigma > 0:
                before, x0_before = previous
                # 1 / (2r), r the ratio of the last step to this one; 0 after a start without signal
                slope = 0.5 * (s.half_log_snr - t.half_log_snr) / (t.half_log_snr - before.half_log_snr)
                extrapolated = (1 + slope) * x0 - slope * x0_before
            previous = t, x0
            decay = s.sigma / t.sigma
            x = decay * x + (s.alpha - t.alpha * decay) * extrapolated
            yield SamplerState(x, x0, step, count, t.t)

    return loop(x.detach())
