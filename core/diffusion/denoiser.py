"""The denoiser interface of samplers, guidance, losses and distillation: a network with its noise schedule.

Tensors are (B,C,...) with any number of trailing axes: (B,C,H,W) for images and latents, (B,C,F,H,W) for
clips. Only the network itself may require a certain number.
"""

from typing import NamedTuple, Protocol

from torch import Tensor, nn

from core.condition import Condition
from core.diffusion.parameterization import Parameterization
from core.diffusion.process import Process
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError


class Prediction(NamedTuple):
    """The clean data and the noise predicted from x_t. They always agree: alpha x0 + sigma eps = x_t.

    x0, eps: (B,C,...), shaped like x_t.
    variance_fraction: v, shaped like x_t, where the network predicts the variance of the step; see
        `reverse_log_variance`. About 0 to 1; as in the paper, it is not constrained to that range.
    """

    x0: Tensor
    eps: Tensor
    variance_fraction: Tensor | None = None


class DenoiserLike(Protocol):
    """Protocol of all denoisers: a `Denoiser`, or guidance around one."""

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule that timesteps refer to."""
        ...

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The prediction for x (B,C,...) noised to t (B,)."""
        ...


class Denoiser(nn.Module):
    """A denoising network with its noise schedule and the parameterization of its output.

    network: `(x, t, condition) -> Tensor` shaped like x (B,C,...). With learned variance the output is
        (B,2C,...): the parameterized quantity first, then 2 v - 1, as in guided-diffusion.
    clip: limits the predicted x0 to [-clip, clip] and recomputes eps from it (1.0 for pixels, None for
        latents).

    Raises UserError when the parameterization is not defined on the schedule (see `check_parameterization`),
    and ValueError for a clip that is not positive.
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
        """A copy of this denoiser with another network and the same settings."""
        return Denoiser(network, self.schedule, self.parameterization, self.clip, self.learned_variance)

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The prediction for x, with x0 clipped. Differentiable in x.

        x: (B,C,...) noised to t, with any number of trailing axes; t: (B,) integers in [0, T).
        """
        return self.clip_prediction(self.predict(x, t, condition), x, t)

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """`forward` without clipping: linear in the network's output, as guidance requires."""
        return self.to_prediction(*self.raw_output(x, t, condition), x, t)

    def raw_output(self, x: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor | None]:
        """The network's output in its own parameterization, and the variance fraction v if learned.

        Both are shaped like x.

        Raises ValueError unless the network returns C channels, or 2C with learned variance.
        """
        output = self.network(x, t, condition).to(x.dtype)  # autocast may have lowered the precision
        channels = x.shape[1] * (2 if self.learned_variance else 1)
        if output.shape[1] != channels:
            raise ValueError(f"the network must return {channels} channels, not {output.shape[1]}")
        if not self.learned_variance:
            return output, None
        output, variance = output.chunk(2, dim=1)
        return output, (variance + 1) / 2

    def to_prediction(
        self, output: Tensor, variance_fraction: Tensor | None, x: Tensor, t: Tensor
    ) -> Prediction:
        """The prediction that a network output (B,C,...) in this parameterization means for x at t."""
        alpha, sigma = self.schedule.scales(t, x)
        return Prediction(
            self.parameterization.to_x0(output, x, alpha, sigma),
            self.parameterization.to_eps(output, x, alpha, sigma),
            variance_fraction,
        )

    def clip_prediction(self, prediction: Prediction, x: Tensor, t: Tensor) -> Prediction:
        """The prediction with x0 clipped and eps = (x - alpha x0) / sigma."""
        if self.clip is None:
            return prediction
        x0 = prediction.x0.clamp(-self.clip, self.clip)
        alpha, sigma = self.schedule.scales(t, x)
        return prediction._replace(x0=x0, eps=Parameterization.X0.to_eps(x0, x, alpha, sigma))


def reverse_log_variance(
    schedule: NoiseSchedule, fraction: Tensor | float, like: Tensor, t: Tensor, previous: Tensor | None = None
) -> Tensor:
    """Log-variance of p(x_s | x_t): v log beta + (1 - v) log beta~ (Nichol & Dhariwal 2021, equation 15).

    fraction: v, a tensor shaped like x_t, or a number for a fixed variance: 0 is the posterior's ("fixed
        small"), 1 the step's beta ("fixed large").
    like: x_t, (B,...).
    t, previous: (B,) integers, s = `previous` (t - 1 unless given).

    beta and beta~ are those of the step from t to s. In the step to clean data beta~ is clipped as in
    `NoiseSchedule.posterior`. beta is not clipped there, whereas DDPM's own code clips its fixed large
    variance.
    """
    previous = t - 1 if previous is None else previous
    small = schedule.posterior(like, like, t, previous)[2]
    beta = schedule.step_beta(t, previous).log()
    large = beta.reshape(-1, *[1] * (like.ndim - 1)).to(small)
    return small + fraction * (large - small)


def check_parameterization(schedule: NoiseSchedule, parameterization: Parameterization) -> None:
    """Raises UserError when the parameterization is not defined on the schedule.

    V requires a variance-preserving schedule and FLOW a rectified flow. EPS requires some signal at the last
    timestep: without signal, eps does not determine x0.
    """
    required = {
        Parameterization.V: Process.VARIANCE_PRESERVING,
        Parameterization.FLOW: Process.RECTIFIED_FLOW,
    }.get(parameterization, schedule.process)
    if schedule.process is not required:
        raise UserError(
            f"The parameterization {parameterization.value!r} requires a {required.value} schedule, "
            f"but {schedule.name!r} is {schedule.process.value}."
        )
    if parameterization is Parameterization.EPS and schedule.alpha(schedule.timesteps - 1) == 0:
        raise UserError(
            f"The noise schedule {schedule.name!r} has no signal at its last timestep, where eps does not "
            "determine the data: train with the parameterization v, x0 or flow."
        )
