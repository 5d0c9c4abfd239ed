"""Clips of which some frames are given: replacement and reconstruction guidance."""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.diffusion.parameterization import Parameterization
from core.guidance.base import GuidableDenoiser, Guidance
from core.sampling import Constraint


class ReconstructionGuidance(Guidance):
    """Denoises clips of which some frames x^a are known.

    Ho et al. 2022, "Video Diffusion Models", section 3.1. Of the known frames the prediction is what is
    known, so that a sampler takes them through q(z_s | z_t, x^a) (the "replacement method"). The others are
    moved towards where the network would have reconstructed x^a from the whole noisy clip, equation 7:

        x~^b = x^b - scale alpha_t / 2 grad_{z_t^b} |x^a - x^a(z_t)|^2

    known: (B,C,K,H,W), or of length 1 for all clips: K clean frames, as the network denoises them.
    places: their K indices in the clip; the first K unless given.
    scale: w_r of the paper; 0 is replacement alone. 1 takes x^a(z_t) to be uncertain by sigma / alpha, which
        is too much where there is much noise: the paper finds larger ones better.
    """

    def __init__(
        self, denoiser: GuidableDenoiser, known: Tensor, scale: float, places: Sequence[int] | None = None
    ) -> None:
        super().__init__(denoiser)
        self.known = known
        self.scale = scale
        self.places = list(range(known.shape[2]) if places is None else places)

    def begin(self, x: Tensor, t: float) -> Tensor:
        """x, noise of the level t to start from, with the known frames in it: alpha x^a + sigma eps."""
        alpha = self.schedule.alpha(t).item()
        return self._with_known(x, x[:, :, self.places] + alpha * self.known.to(x))

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
        x0 = self._with_known(x0, known)
        return plain._replace(x0=x0, eps=Parameterization.X0.to_eps(x0, x, alpha, sigma))

    def _with_known(self, clip: Tensor, frames: Tensor) -> Tensor:
        """The clip with these frames at the places of the known ones."""
        clip = clip.clone()
        clip[:, :, self.places] = frames
        return clip

    def _reconstruct(
        self, x: Tensor, t: Tensor, condition: Condition, known: Tensor
    ) -> tuple[Prediction, Tensor]:
        """The plain prediction, and the gradient of |x^a - x^a(z_t)|^2 by the noisy clip, like x."""
        with torch.enable_grad():  # samplers turn gradients off
            x = x.detach().requires_grad_()
            plain = self.denoiser.predict(x, t, condition)
            error = (known - plain.x0[:, :, self.places]).square().sum()
            (gradient,) = torch.autograd.grad(error, x)
        return Prediction(*(None if part is None else part.detach() for part in plain)), gradient  # pyright: ignore


def constrain_to(known: Tensor, scale: float, places: Sequence[int] | None = None) -> Constraint:
    """The sampling constraint that clips have known frames, by `ReconstructionGuidance`."""

    def constrain(denoiser: GuidableDenoiser, noise: Tensor, t: float) -> tuple[GuidableDenoiser, Tensor]:
        guided = ReconstructionGuidance(denoiser, known, scale, places)
        return guided, guided.begin(noise, t)

    return constrain
