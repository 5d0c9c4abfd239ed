"""Network -> Denoiser -> Prediction: how samplers, guidance and distillation see every model."""

from typing import NamedTuple, Protocol

from torch import Tensor, nn

from core.condition import Condition
from core.diffusion.parameterization import Parameterization
from core.diffusion.process import Process
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError


class Prediction(NamedTuple):
    """What a denoiser says of x_t. Always consistent: alpha x0 + sigma eps = x_t.

    variance_fraction: v like x_t where the network has learned the variance of the step, see
        `reverse_log_variance`. About 0 to 1; as in the paper, nothing holds it there.
    """

    x0: Tensor
    eps: Tensor
    variance_fraction: Tensor | None = None


class DenoiserLike(Protocol):
    """Anything that denoises: a `Denoiser`, or guidance around one."""

    @property
    def schedule(self) -> NoiseSchedule: ...

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction: ...


class Denoiser(nn.Module):
    """A network with the schedule it was trained on and the meaning of its output.

    network: `(x, t, condition) -> Tensor` shaped like x; with learned variance (B,2C,...) for x (B,C,...),
        the parameterized quantity first, then 2 v - 1, as in guided-diffusion.
    clip: limits the predicted x0 to [-clip, clip] and makes eps agree with it (1.0 for pixels, None for
        latents).

    Raises UserError where the parameterization makes no sense on the schedule: see `check_agreement`.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: NoiseSchedule,
        parameterization: Parameterization,
        clip: float | None = None,
        learned_variance: bool = False,
    ) -> None:
        super().__init__()
        if clip is not None and clip <= 0:
            raise ValueError(f"clip must be positive, not {clip}")
        check_parameterization(schedule, Parameterization(parameterization))
        self.network = network
        self.schedule = schedule
        self.parameterization = Parameterization(parameterization)
        self.clip = clip
        self.learned_variance = learned_variance

    def with_network(self, network: nn.Module) -> "Denoiser":
        """A denoiser that is like this one in all but its network."""
        return Denoiser(network, self.schedule, self.parameterization, self.clip, self.learned_variance)

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """x: (B,C,H,W) or (B,C,F,H,W) noised to t; t: (B,) integers in [0, T). Differentiable in x."""
        return self.clip_prediction(self.predict(x, t, condition), x, t)

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """`forward` without clipping: linear in the network's output, which is what guidance extrapolates."""
        return self.to_prediction(*self.raw_output(x, t, condition), x, t)

    def raw_output(self, x: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor | None]:
        """The network's output in its own parameterization, like x, and the variance fraction if learned.

        Raises ValueError when the network puts out other than C channels, or 2C with learned variance.
        """
        output = self.network(x, t, condition).to(x.dtype)  # autocast may have lowered it
        channels = x.shape[1] * (2 if self.learned_variance else 1)
        if output.shape[1] != channels:
            raise ValueError(f"the network must put out {channels} channels, not {output.shape[1]}")
        if not self.learned_variance:
            return output, None
        output, variance = output.chunk(2, dim=1)
        return output, (variance + 1) / 2

    def to_prediction(
        self, output: Tensor, variance_fraction: Tensor | None, x: Tensor, t: Tensor
    ) -> Prediction:
        """What `output` says of x."""
        alpha, sigma = self.schedule.scales(t, x)
        return Prediction(
            self.parameterization.to_x0(output, x, alpha, sigma),
            self.parameterization.to_eps(output, x, alpha, sigma),
            variance_fraction,
        )

    def clip_prediction(self, prediction: Prediction, x: Tensor, t: Tensor) -> Prediction:
        """The prediction with x0 within the clip and eps = (x - alpha x0) / sigma."""
        if self.clip is None:
            return prediction
        x0 = prediction.x0.clamp(-self.clip, self.clip)
        alpha, sigma = self.schedule.scales(t, x)
        return prediction._replace(x0=x0, eps=Parameterization.X0.to_eps(x0, x, alpha, sigma))


def reverse_log_variance(
    schedule: NoiseSchedule, fraction: Tensor | float, like: Tensor, t: Tensor, previous: Tensor | None = None
) -> Tensor:
    """log variance of p(x_s | x_t): v log beta + (1 - v) log beta~ (Nichol & Dhariwal 2021, equation 15).

    fraction: v, a tensor like x_t, or a number for a variance that was not learned: 0 is the posterior's
        ("fixed small"), 1 the step's beta ("fixed large").
    like: x_t; t, previous: (B,) integers, s = `previous` (t - 1 unless given); beta and beta~ are those of
        the step from t to s. beta~ towards clean data is clipped as `NoiseSchedule.posterior` has it; beta
        is not, though DDPM's own code clips its fixed large variance there likewise.
    """
    previous = t - 1 if previous is None else previous
    small = schedule.posterior(like, like, t, previous)[2]
    beta = schedule.step_beta(t, previous).log()
    large = beta.reshape(-1, *[1] * (like.ndim - 1)).to(small)
    return small + fraction * (large - small)


def check_parameterization(schedule: NoiseSchedule, parameterization: Parameterization) -> None:
    """Raises UserError for V unless variance is preserved, for FLOW unless the schedule is a rectified flow,
    and for EPS where no signal is left at the last timestep: there the noise says nothing of the data."""
    needs = {
        Parameterization.V: Process.VARIANCE_PRESERVING,
        Parameterization.FLOW: Process.RECTIFIED_FLOW,
    }.get(parameterization, schedule.process)
    if schedule.process is not needs:
        raise UserError(
            f"The parameterization {parameterization.value!r} is for {needs.value} schedules, "
            f"and {schedule.name!r} is {schedule.process.value}."
        )
    if parameterization is Parameterization.EPS and schedule.alpha(schedule.timesteps - 1) == 0:
        raise UserError(
            f"The noise schedule {schedule.name!r} has no signal at its last timestep, where eps cannot tell "
            "the data: train with the parameterization v, x0 or flow."
        )
