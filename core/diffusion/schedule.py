"""Noise schedules: alpha and sigma of x_t = alpha_t x_0 + sigma_t eps at every timestep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from core.diffusion import timestep_spacing as spaces
from core.diffusion.process import Process
from core.diffusion.timestep_spacing import Spacing
from core.errors import UserError


class NoiseSchedule:
    """Tables of alpha and sigma over integer timesteps t in [0, T); t = -1 is clean data (alpha 1, sigma 0).

    Tables are float64, because 1 - alpha^2 loses precision near both ends in float32. Every formula uses only
    alpha and sigma (Kingma et al. 2021, "Variational Diffusion Models", appendix A). The formulas therefore
    hold between any two timesteps, for schedules that do not preserve variance, and at timesteps without
    signal (alpha = 0, as at T - 1 of `flow` and `zero_terminal_snr`).

    Every timestep argument may be fractional, from -1 to T - 1. The log-SNR is then interpolated linearly.
    Next to an infinite log-SNR, the finite one of sigma / alpha and alpha / sigma is interpolated instead.
    `t_of_log_snr` is the inverse.

    Constructors: `linear`, `scaled_linear`, `cosine`, `sigmoid`, `karras`, `flow` and `from_dict`.
    """

    def __init__(
        self,
        name: str,
        alpha: Tensor,
        sigma: Tensor,
        settings: Mapping[str, float],
        process: Process = Process.VARIANCE_PRESERVING,
    ) -> None:
        """alpha, sigma: (T,) tables; settings: the constructor's other arguments, for `to_dict`."""
        self.name = name
        self.process = process
        self.timesteps = len(alpha)
        self._settings = dict(settings)
        # One row for clean data, then t = 0 .. T-1.
        clean = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
        tables = torch.cat([clean, torch.stack([alpha, sigma]).double().cpu()], dim=1)
        self._tables = {torch.device("cpu"): tables}

    @classmethod
    def linear(cls, timesteps: int = 1000, start: float = 1e-4, end: float = 2e-2) -> NoiseSchedule:
        """Betas evenly spaced from start to end (Ho et al. 2020, "DDPM", section 4)."""
        _check_timesteps(timesteps)
        if not 0 < start <= end < 1:
            raise UserError(f"A linear schedule needs 0 < start <= end < 1, not {start} and {end}.")
        betas = torch.linspace(start, end, timesteps, dtype=torch.float64)
        return cls._from_betas("linear", betas, {"start": start, "end": end})

    @classmethod
    def scaled_linear(
        cls, timesteps: int = 1000, start: float = 0.00085, end: float = 0.012
    ) -> NoiseSchedule:
        """Evenly spaced square roots of betas, as in Stable Diffusion (Rombach et al. 2022, and its code)."""
        _check_timesteps(timesteps)
        if not 0 < start <= end < 1:
            raise UserError(f"A scaled linear schedule needs 0 < start <= end < 1, not {start} and {end}.")
        betas = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64) ** 2
        return cls._from_betas("scaled_linear", betas, {"start": start, "end": end})

    @classmethod
    def cosine(cls, timesteps: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> NoiseSchedule:
        """abar(t) = f(t)/f(0), f(t) = cos^2((t/T + s)/(1 + s) pi/2) (Nichol & Dhariwal 2021, equation 17).

        Betas are capped at max_beta, so that a little signal remains at the last timestep.
        """
        _check_timesteps(timesteps)
        if s < 0 or not 0 < max_beta < 1:
            raise UserError(f"A cosine schedule needs s >= 0 and 0 < max_beta < 1, not {s} and {max_beta}.")
        time = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)
        abar = torch.cos((time + s) / (1 + s) * math.pi / 2) ** 2
        betas = (1 - abar[1:] / abar[:-1]).clamp(max=max_beta)
        return cls._from_betas("cosine", betas, {"s": s, "max_beta": max_beta})

    @classmethod
    def sigmoid(
        cls,
        timesteps: int = 1000,
        start: float = -3.0,
        end: float = 3.0,
        tau: float = 1.0,
        max_beta: float = 0.999,
    ) -> NoiseSchedule:
        """abar is a sigmoid from start to end, rescaled to fall from 1 to 0.

        Jabri et al. 2022, "Scalable Adaptive Computation for Iterative Generation", algorithm 1 of its
        appendix. diffusers' "sigmoid" is another schedule: GeoDiff's, a sigmoid of the betas. Betas are
        capped as in `cosine`.
        """
        _check_timesteps(timesteps)
        if not start < end or tau <= 0 or not 0 < max_beta < 1:
            values = f"{start}, {end}, {tau} and {max_beta}"
            raise UserError(
                f"A sigmoid schedule needs start < end, tau > 0 and 0 < max_beta < 1, not {values}."
            )
        curve = torch.sigmoid(torch.linspace(start, end, timesteps + 1, dtype=torch.float64) / tau)
        abar = (curve[-1] - curve) / (curve[-1] - curve[0])
        betas = (1 - abar[1:] / abar[:-1]).clamp(max=max_beta)
        settings = {"start": start, "end": end, "tau": tau, "max_beta": max_beta}
        return cls._from_betas("sigmoid", betas, settings)

    @classmethod
    def karras(
        cls, timesteps: int = 1000, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
    ) -> NoiseSchedule:
        """alpha = 1 and sigma up to sigma_max, evenly spaced in sigma^(1/rho) (Karras et al. 2022, table 1).

        Sampling starts from sigma_max times standard normal noise.
        """
        _check_timesteps(timesteps)
        if not 0 < sigma_min < sigma_max or rho <= 0:
            values = f"{sigma_min}, {sigma_max} and {rho}"
            raise UserError(f"A Karras schedule needs 0 < sigma_min < sigma_max and rho > 0, not {values}.")
        sigma = spaces.karras_sigmas(sigma_min, sigma_max, timesteps, rho).flip(0)
        settings = {"sigma_min": sigma_min, "sigma_max": sigma_max, "rho": rho}
        return cls("karras", torch.ones_like(sigma), sigma, settings, Process.VARIANCE_EXPLODING)

    @classmethod
    def flow(cls, timesteps: int = 1000, shift: float = 1.0) -> NoiseSchedule:
        """Rectified flow: sigma = (t + 1) / T and alpha = 1 - sigma, no signal at T - 1 (Liu et al. 2022).

        shift: sigma becomes shift sigma / (1 + (shift - 1) sigma), which divides alpha / sigma by `shift`.
            Values above 1 add noise, for larger images (Esser et al. 2024, "Stable Diffusion 3", equation
            23).
        """
        _check_timesteps(timesteps)
        if not 0 < shift < math.inf:
            raise UserError(f"The shift of a flow schedule must be positive, not {shift}.")
        time = torch.arange(1, timesteps + 1, dtype=torch.float64) / timesteps
        scale = 1 + (shift - 1) * time
        return cls("flow", (1 - time) / scale, shift * time / scale, {"shift": shift}, Process.RECTIFIED_FLOW)

    def zero_terminal_snr(self) -> NoiseSchedule:
        """This schedule with alpha rescaled linearly to 0 at T - 1; alpha at t = 0 is unchanged.

        Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed", algorithm 1.
        Raises UserError for schedules that do not preserve variance.
        """
        if self.process is not Process.VARIANCE_PRESERVING:
            raise UserError(f"Zero terminal SNR needs a variance-preserving schedule, not {self.name!r}.")
        alpha = self.alpha(torch.arange(self.timesteps))
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
        settings = {**self._settings, "zero_terminal_snr": True}
        return NoiseSchedule(self.name, alpha, (1 - alpha**2).sqrt(), settings, self.process)

    @classmethod
    def _from_betas(cls, name: str, betas: Tensor, settings: Mapping[str, float]) -> NoiseSchedule:
        abar = torch.cumprod(1 - betas, dim=0)
        return cls(name, abar.sqrt(), (1 - abar).sqrt(), settings)

    def __repr__(self) -> str:
        settings = "".join(f", {key}={value}" for key, value in self._settings.items())
        return f"NoiseSchedule.{self.name}({self.timesteps}{settings})"

    def to_dict(self) -> dict[str, Any]:
        """JSON values that describe the schedule in a checkpoint.

        They are the name, the timesteps and the settings of the constructor of that name; and
        "zero_terminal_snr" where that was applied.
        """
        return {"name": self.name, "timesteps": self.timesteps, **self._settings}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> NoiseSchedule:
        """The inverse of `to_dict`. Raises UserError for an unknown name or unknown settings."""
        settings = dict(stored)
        name = settings.pop("name", None)
        zero_terminal_snr = settings.pop("zero_terminal_snr", False)
        published = (cls.linear, cls.scaled_linear, cls.cosine, cls.sigmoid, cls.karras, cls.flow)
        known = {make.__name__: make for make in published}
        if name not in known:
            raise UserError(f"Unknown noise schedule {name!r}: expected one of {', '.join(known)}.")
        try:
            schedule = known[name](**settings)
        except TypeError as error:
            raise UserError(
                f"The noise schedule {name!r} does not take these settings: {settings}."
            ) from error
        return schedule.zero_terminal_snr() if zero_terminal_snr else schedule

    def alpha(self, t: Tensor | float, like: Tensor | None = None) -> Tensor:
        """Signal scale at t: float64, shaped like t.

        like: (B,...); where given, the result has its dtype and device and broadcasts to it.
        """
        return _shaped(self._rows(t)[0], like)

    def sigma(self, t: Tensor | float, like: Tensor | None = None) -> Tensor:
        """Noise scale at t; shape, dtype and `like` as for `alpha`."""
        return _shaped(self._rows(t)[1], like)

    def scales(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """`alpha` and `sigma` at t (B,), with the dtype of `like` (B,...), broadcastable to it."""
        rows = self._rows(t).to(like.dtype).to(like.device)
        alpha, sigma = rows.reshape(2, -1, *[1] * (like.ndim - 1))
        return alpha, sigma

    def log_snr(self, t: Tensor | float) -> Tensor:
        """log(alpha^2 / sigma^2), the natural logarithm: float64, shaped like t.

        Infinity for clean data, minus infinity without signal.
        """
        alpha, sigma = self._rows(t)
        return 2 * (alpha.log() - sigma.log())

    def t_of_log_snr(self, log_snr: Tensor | float) -> Tensor:
        """The fractional timestep with the given log-SNR, in [-1, T - 1]: float64, shaped like log_snr.

        A log-SNR below that of T - 1 gives T - 1.
        """
        noise = -torch.as_tensor(log_snr, dtype=torch.float64)
        table = -self.log_snr(torch.arange(-1, self.timesteps)).to(noise.device)
        upper = torch.searchsorted(table, noise).clamp(1, self.timesteps)
        low, high = table[upper - 1], table[upper]
        weight = (noise - low) / (high - low)
        weight = torch.where(high == torch.inf, -torch.expm1((low - noise) / 2), weight)
        weight = torch.where(low == -torch.inf, torch.exp((noise - high) / 2), weight)
        return (upper - 2 + weight).clamp(max=self.timesteps - 1)

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """A sample of q(x_t | x_0) for standard normal eps: alpha x_0 + sigma eps.

        x0, eps: (B,...); t: (B,).
        """
        return self.alpha(t, x0) * x0 + self.sigma(t, x0) * eps

    def posterior(
        self, x0: Tensor, xt: Tensor, t: Tensor, previous: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, variance and log-variance of q(x_s | x_t, x_0), s = `previous` (t - 1 unless given).

        DDPM equations 6-7, in the form that holds for any s < t (VDM, appendix A.4):
        mean = alpha_s b / sigma_t^2 x_0 + a sigma_s^2 / sigma_t^2 x_t, variance = b sigma_s^2 / sigma_t^2,
        where a = alpha_t / alpha_s and b = sigma_t^2 - a^2 sigma_s^2 (the beta of the step).

        x0, xt: (B,...); t, previous: (B,) integers, -1 <= previous < t. The mean is shaped like xt, and the
        variances broadcast to it. The variance of the step to clean data is 0. The log-variance of that step
        is clipped to that of the step from t = 1 to 0, as in Nichol & Dhariwal.
        """
        previous = t - 1 if previous is None else previous
        alpha_s, sigma_s = self._rows(previous)
        sigma_t = self._rows(t)[1]
        ratio, beta = self._transition(t, previous)
        variance = beta * (sigma_s / sigma_t) ** 2
        weight_0, weight_t = alpha_s * beta / sigma_t**2, ratio * (sigma_s / sigma_t) ** 2
        mean = _shaped(weight_0, xt) * x0 + _shaped(weight_t, xt) * xt
        floor = self._transition(1, 0)[1] * (self.sigma(0) / self.sigma(1)) ** 2
        log_variance = torch.where(previous < 0, floor.to(variance.device), variance).log()
        return mean, _shaped(variance, xt), _shaped(log_variance, xt)

    def step_beta(self, t: Tensor | float, previous: Tensor | float) -> Tensor:
        """Variance of q(x_t | x_s), s = `previous`; DDPM's beta when s = t - 1. float64, shaped like t."""
        return self._transition(t, previous)[1]

    def _transition(self, t: Tensor | float, previous: Tensor | float) -> tuple[Tensor, Tensor]:
        """ratio and beta of q(x_t | x_s) = N(ratio x_s, beta I)."""
        alpha_s, sigma_s = self._rows(previous)
        alpha_t, sigma_t = self._rows(t)
        ratio = alpha_t / alpha_s
        return ratio, sigma_t**2 - (ratio * sigma_s) ** 2

    def sampling_timesteps(self, steps: int, spacing: Spacing = "trailing") -> list[float]:
        """Timesteps of a sampler with `steps` steps, in descending order.

        "trailing" starts at the noisiest timestep T - 1. "leading", the default of diffusers, ends at 0.
        "linspace", "quadratic" and "karras" start at T - 1 and end at 0. "karras" spaces the noise levels as
        in Karras et al. 2022, equation 5, and gives fractional timesteps. See
        `core.diffusion.timestep_spacing`.

        Raises UserError unless 1 <= steps <= T, and for "karras" when there is no signal at T - 1.
        """
        if not 1 <= steps <= self.timesteps:
            raise UserError(f"Sampling takes between 1 and {self.timesteps} steps, not {steps}.")
        if spacing != "karras":
            return [*spaces.space_timesteps(self.timesteps, steps, spacing)]
        low, high = (-self.log_snr(torch.tensor([0, self.timesteps - 1])) / 2).exp().tolist()
        if high == math.inf:
            raise UserError(f"Karras spacing needs some signal at the last timestep; {self.name!r} has none.")
        return self.t_of_log_snr(-2 * spaces.karras_sigmas(low, high, steps).log()).tolist()

    def _rows(self, t: Tensor | float) -> Tensor:
        """alpha and sigma at t, stacked: (2, *t.shape) float64."""
        if not isinstance(t, Tensor):
            if not -1 <= t <= self.timesteps - 1:
                raise IndexError(f"timestep {t} is outside [-1, {self.timesteps - 1}]")
            t = torch.tensor(t, dtype=torch.float64 if isinstance(t, float) else torch.long)
        # Indexing on t's own device avoids a synchronization each training step; mps has no float64.
        device = torch.device("cpu") if t.device.type == "mps" else t.device
        if device not in self._tables:
            self._tables[device] = self._tables[torch.device("cpu")].to(device)
        if t.is_floating_point():
            return torch.stack(self.process.scales(self._between(t.to(device).double())))
        return self._tables[device][:, t.to(device).long() + 1]

    def _between(self, t: Tensor) -> Tensor:
        """log-SNR at fractional timesteps t, interpolated."""
        low, high = self.log_snr(t.floor().long()), self.log_snr(t.ceil().long())
        weight = t - t.floor()
        inside = torch.where(high == -torch.inf, low + 2 * torch.log1p(-weight), low + weight * (high - low))
        return torch.where(low == torch.inf, high - 2 * weight.log(), inside)


def _shaped(values: Tensor, like: Tensor | None) -> Tensor:
    """values (B,) with the dtype and device of `like` (B,...), broadcastable to it; or values themselves."""
    if like is None:
        return values
    return values.reshape(-1, *[1] * (like.ndim - 1)).to(like.dtype).to(like.device)


def _check_timesteps(timesteps: int) -> None:
    """Raises UserError for fewer than 2 timesteps."""
    if timesteps < 2:
        raise UserError(f"A noise schedule needs at least 2 timesteps, not {timesteps}.")
