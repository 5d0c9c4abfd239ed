"""DPM-Solver++: Lu et al. 2022, "Fast Solver for Guided Sampling of Diffusion Probabilistic Models"."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike, Prediction
from core.samplers.sampling_loop import SamplerState, denoising_levels, sampling_loop


def dpm_solver(
    denoiser: DenoiserLike,
    x: Tensor,
    condition: Condition,
    *,
    steps: int | None = None,
    timesteps: Sequence[float] | None = None,
    end: float = -1,
) -> Iterator[SamplerState]:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): second order, deterministic, one network call a step.

    x0 is extrapolated in lambda = log(alpha / sigma) through this and the previous prediction; the linear
    part of the ODE is solved exactly. The first step has no previous prediction, and the step to clean data
    no end of lambda: both are first order, which is DDIM.

    Arguments and errors are those of `ddim`.
    """
    path = denoising_levels(denoiser.schedule, steps, timesteps, end)
    earlier: list[Tensor] = []

    def move(x: Tensor, prediction: Prediction, i: int) -> Tensor:
        t, s = path[i], path[i + 1]
        x0 = prediction.x0
        if earlier and s.sigma > 0:
            # 1 / (2r), r the ratio of the last step to this one; 0 after a start without signal
            lean = 0.5 * (s.half_log_snr - t.half_log_snr) / (t.half_log_snr - path[i - 1].half_log_snr)
            x0 = (1 + lean) * x0 - lean * earlier.pop()
        earlier[:] = [prediction.x0]
        kept = s.sigma / t.sigma
        return kept * x + (s.alpha - t.alpha * kept) * x0

    return sampling_loop(denoiser, x, condition, path, move)
