"""Clips some of whose frames are given: replacement and reconstruction guidance."""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.diffusion.parameterization import Parameterization
from core.guidance.base import GuidableDenoiser, Guidance
from core.sampling import Constraint


class ReconstructionGuidance(Guidance):
    """Denoises clips some of whose frames, x^a, are known.

    Ho et al. 2022, "Video Diffusion Models", section 3.1. Of the known frames the prediction is what is
    known, so that a sampler takes them through q(z_s | z_t, x^a) (the "replacement method"). The others are
    moved towards where the network would have reconstructed x^a from the whole noisy clip, equation 7:

        x~^b = x^b - scale alpha_t / 2 grad_{z_t^b} |x^a - x^a(z_t)|^2

    known: (B,C,K,H,W), or of length 1 for all clips: K frames, clean, as the network denoises them.
    frames: the K different indices of the known frames in the clip; the first K unless given.
    scale: w_r of the paper; 0 is replacement alone. 1 takes x^a(z_t) to be uncertain by sigma / alpha, which
        is too much where there is much noise: the paper finds larger ones better.
    """

    def __init__(
        self, denoiser: GuidableDenoiser, known: Tensor, scale: float, frames: Sequence[int] | None = None
    ) -> None:
        """Raises ValueError unless there is a different index for each known frame."""
        super().__init__(denoiser)
        self.known = known
        self.scale = scale
        self.frames = [*range(known.shape[2])] if frames is None else [*frames]
        if len(set(self.frames)) != known.shape[2]:
            raise ValueError(f"{known.shape[2]} known frames need as many different indices, not {frames}")

    def begin(self, x: Tensor, t: float) -> Tensor:
        """x, noise of the level t to start from, with the known frames in it: alpha x^a + sigma eps."""
        x = x.clone()
        x[:, :, self.frames] += self.schedule.alpha(t).item() * self.known.to(x)
        return x

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The network calls of what is wrapped, forwards and, unless scale is 0, backwards."""
        known = self.known.to(x).expand(len(x), -1, -1, -1, -1)
        alpha, sigma = self.schedule.scales(t, x)
        if self.scale:
            plain, gradient = self._reconstruct(x, t, condition, known)
            x0 = plain.x0 - self.scale * alpha / 2 * gradient
        else:
            plain = self.denoiser.predict(x, t, condition)
            x0 = plain.x0
        x0 = x0.clone()
        x0[:, :, self.frames] = known
        return plain._replace(x0=x0, eps=Parameterization.X0.to_eps(x0, x, alpha, sigma))

    def _reconstruct(
        self, x: Tensor, t: Tensor, condition: Condition, known: Tensor
    ) -> tuple[Prediction, Tensor]:
        """The plain prediction, and the gradient of |x^a - x^a(z_t)|^2 by the noisy clip, like x."""
        with torch.enable_grad():  # samplers turn gradients off
            x = x.detach().requires_grad_()
            plain = self.denoiser.predict(x, t, condition)
            error = (known - plain.x0[:, :, self.frames]).square().sum()
            (gradient,) = torch.autograd.grad(error, x)
        return Prediction(*(None if part is None else part.detach() for part in plain)), gradient  # pyright: ignore


def keep_frames(
    known: Tensor, scale: float, frames: Sequence[int] | None = None, start: Tensor | None = None
) -> Constraint:
    """The sampling constraint that frames of the clips are known, by `ReconstructionGuidance`.

    known, scale, frames: as there.
    start: (B or 1,C,F,H,W), the clean clip whose noised version sampling starts from, in place of pure noise
        (see `start_from`); known frames take the place of its own.
    """

    def constrain(denoiser: GuidableDenoiser, noise: Tensor, t: float) -> tuple[GuidableDenoiser, Tensor]:
        guided = ReconstructionGuidance(denoiser, known, scale, frames)
        if start is None:
            return guided, guided.begin(noise, t)
        clip = start.to(noise).expand_as(noise).clone()
        clip[:, :, guided.frames] = known.to(clip)
        return start_from(clip)(guided, noise, t)

    return constrain


def start_from(clip: Tensor) -> Constraint:
    """The sampling constraint that sampling starts from a noised clip: x_t = alpha x + sigma eps.

    Meng et al. 2021, "SDEdit", algorithm 1.

    clip: (B or 1,C,F,H,W), clean, as the network denoises it.
    """

    def constrain(denoiser: GuidableDenoiser, noise: Tensor, t: float) -> tuple[GuidableDenoiser, Tensor]:
        alpha, sigma = denoiser.schedule.alpha(t).item(), denoiser.schedule.sigma(t).item()
        return denoiser, alpha * clip.to(noise) + sigma * noise

    return constrain
