"""How much signal and noise there is at each timestep: x_t = alpha_t x_0 + sigma_t eps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from core.errors import UserError

Spacing = Literal["trailing", "leading"]


class NoiseSchedule:
    """Tables of alpha and sigma over integer timesteps t in [0, T); t = -1 is clean data (alpha 1, sigma 0).

    Tables are float64: near both ends 1 - alpha^2 loses its digits in float32. Every formula is written in
    alpha and sigma alone (Kingma et al. 2021, "Variational Diffusion Models", appendix A), and so holds
    between any two timesteps and for schedules that do not preserve variance.

    Make one with `linear`, `cosine` or `from_dict`.
    """

    def __init__(self, name: str, alpha: Tensor, sigma: Tensor, settings: Mapping[str, float]) -> None:
        """alpha, sigma: (T,) tables; settings: the constructor's other arguments, for `to_dict`."""
        self.name = name
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
        return cls._of_betas("linear", betas, {"start": start, "end": end})

    @classmethod
    def cosine(cls, timesteps: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> NoiseSchedule:
        """abar(t) = f(t)/f(0), f(t) = cos^2((t/T + s)/(1 + s) pi/2) (Nichol & Dhariwal 2021, equation 17).

        Betas are capped at max_beta, which keeps a trace of signal at the last timestep.
        """
        _check_timesteps(timesteps)
        if s < 0 or not 0 < max_beta < 1:
            raise UserError(f"A cosine schedule needs s >= 0 and 0 < max_beta < 1, not {s} and {max_beta}.")
        time = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)
        abar = torch.cos((time + s) / (1 + s) * math.pi / 2) ** 2
        betas = (1 - abar[1:] / abar[:-1]).clamp(max=max_beta)
        return cls._of_betas("cosine", betas, {"s": s, "max_beta": max_beta})

    @classmethod
    def _of_betas(cls, name: str, betas: Tensor, settings: Mapping[str, float]) -> NoiseSchedule:
        abar = torch.cumprod(1 - betas, dim=0)
        return cls(name, abar.sqrt(), (1 - abar).sqrt(), settings)

    def __repr__(self) -> str:
        settings = "".join(f", {key}={value}" for key, value in self._settings.items())
        return f"NoiseSchedule.{self.name}({self.timesteps}{settings})"

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint stores: name, timesteps and the settings of the constructor of that name."""
        return {"name": self.name, "timesteps": self.timesteps, **self._settings}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> NoiseSchedule:
        """The schedule that `to_dict` described. Raises UserError for an unknown name or settings."""
        settings = dict(stored)
        name = settings.pop("name", None)
        make = {"linear": cls.linear, "cosine": cls.cosine}.get(name)
        if make is None:
            raise UserError(f"Unknown noise schedule {name!r}: expected 'linear' or 'cosine'.")
        try:
            return make(**settings)
        except TypeError as error:
            raise UserError(f"The noise schedule {name!r} cannot take these settings: {settings}.") from error

    def alpha(self, t: Tensor | int, like: Tensor | None = None) -> Tensor:
        """Signal scale at t: float64, shaped as t; with `like` (B,...), its dtype and broadcastable to it."""
        return _shaped(self._rows(t)[0], like)

    def sigma(self, t: Tensor | int, like: Tensor | None = None) -> Tensor:
        """Noise scale at t, in the form of `alpha`."""
        return _shaped(self._rows(t)[1], like)

    def log_snr(self, t: Tensor | int) -> Tensor:
        """log(alpha^2 / sigma^2) in natural units, float64, the shape of t; infinite for clean data."""
        alpha, sigma = self._rows(t)
        return 2 * (alpha.log() - sigma.log())

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t ~ q(x_t | x_0) for standard normal eps: alpha x_0 + sigma eps. x0, eps: (B,...); t: (B,)."""
        return self.alpha(t, x0) * x0 + self.sigma(t, x0) * eps

    def posterior(
        self, x0: Tensor, xt: Tensor, t: Tensor, previous: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, variance and log-variance of q(x_s | x_t, x_0), s = `previous` (t - 1 unless given).

        DDPM equations 6-7, in the form that holds for any s < t (VDM, appendix A.4):
        mean = alpha_s b / sigma_t^2 x_0 + a sigma_s^2 / sigma_t^2 x_t, variance = b sigma_s^2 / sigma_t^2,
        where a = alpha_t / alpha_s and b = sigma_t^2 - a^2 sigma_s^2 (the beta of the step).

        x0, xt: (B,...); t, previous: (B,) integers, -1 <= previous < t. The mean is shaped like xt, the
        variances broadcast to it. Towards clean data the variance is 0; the log-variance there is that of the
        step from t = 1 to 0, as Nichol & Dhariwal clip it.
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

    def step_beta(self, t: Tensor | int, previous: Tensor | int) -> Tensor:
        """Variance of q(x_t | x_s), s = `previous`; DDPM's beta when s = t - 1. float64, the shape of t."""
        return self._transition(t, previous)[1]

    def _transition(self, t: Tensor | int, previous: Tensor | int) -> tuple[Tensor, Tensor]:
        """q(x_t | x_s) = N(ratio x_s, beta I)."""
        alpha_s, sigma_s = self._rows(previous)
        alpha_t, sigma_t = self._rows(t)
        ratio = alpha_t / alpha_s
        return ratio, sigma_t**2 - (ratio * sigma_s) ** 2

    def spaced(self, steps: int, spacing: Spacing = "trailing") -> list[int]:
        """`steps` timesteps, descending (Lin et al. 2023, "Common Diffusion Noise Schedules", table 2).

        "trailing" starts at the noisiest timestep T - 1; "leading" ends at 0, and is diffusers' default.
        Raises UserError unless 1 <= steps <= T.
        """
        if not 1 <= steps <= self.timesteps:
            raise UserError(f"Sampling takes between 1 and {self.timesteps} steps, not {steps}.")
        if spacing == "trailing":
            return [round(self.timesteps - i * self.timesteps / steps) - 1 for i in range(steps)]
        if spacing == "leading":
            return [i * (self.timesteps // steps) for i in reversed(range(steps))]
        raise UserError(f"Unknown spacing {spacing!r}: expected 'trailing' or 'leading'.")

    def _rows(self, t: Tensor | int) -> Tensor:
        """(2, *t.shape) float64: alpha and sigma at t."""
        if isinstance(t, int) and not -1 <= t < self.timesteps:
            raise IndexError(f"timestep {t} is outside [-1, {self.timesteps})")
        index = torch.as_tensor(t)
        # Indexing on t's own device avoids a synchronisation each training step; mps has no float64.
        device = torch.device("cpu") if index.device.type == "mps" else index.device
        if device not in self._tables:
            self._tables[device] = self._tables[torch.device("cpu")].to(device)
        return self._tables[device][:, index.to(device).long() + 1]


def _shaped(values: Tensor, like: Tensor | None) -> Tensor:
    if like is None:
        return values
    return values.reshape(-1, *[1] * (like.ndim - 1)).to(like.dtype).to(like.device)


def _check_timesteps(timesteps: int) -> None:
    if timesteps < 2:
        raise UserError(f"A noise schedule needs at least 2 timesteps, not {timesteps}.")
