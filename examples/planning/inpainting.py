"""Planning by inpainting: the known entries of a trajectory are kept, and the others are sampled."""

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.diffusion.parameterization import Parameterization
from core.guidance.base import Guidance
from examples.planning.network import read_known_entries


class Inpainting(Guidance):
    """A denoiser that predicts known entries as they are known.

    Janner et al. 2022 (Diffuser), section 3.2: the states of start and goal replace those of the sample after
    every step. Here they replace the predicted x0, in which every sampler's last step ends.

    It wraps a denoiser whose network reads the known entries from the condition, such as `TemporalUNet`, or a
    guidance around one: what the guidance adds to a known entry is replaced too.
    """

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The prediction with known entries in x0, not clipped."""
        values, mask = read_known_entries(condition)
        free = self.denoiser.predict(x, t, condition)
        alpha, sigma = self.schedule.scales(t, x)
        eps = Parameterization.X0.to_eps(values.to(x), x, alpha, sigma)
        return free._replace(x0=torch.where(mask, values, free.x0), eps=torch.where(mask, eps, free.eps))
