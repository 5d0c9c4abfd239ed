"""What the denoiser is told of the camera: numbers where it takes them, else words and Perp-Neg."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from core.attributes import CAMERA, decode_camera, encode_attributes
from core.condition import Condition
from core.diffusion.denoiser import Denoiser, Prediction
from core.diffusion.schedule import NoiseSchedule
from core.guidance import GuidableDenoiser, Guidance, PerpNeg

VIEW_WORDS = ("front view", "side view", "back view")


def camera_condition(
    text: Condition,
    azimuth: Tensor,
    elevation: Tensor,
    phase: Tensor | float | None = None,
    with_camera: bool = True,
) -> Condition:
    """The condition of a batch of views, for models with a camera input: no ground shadow, that camera.

    text: of length 1 or B; azimuth, elevation: (B,) degrees; phase: of the action, [0, 1), if it has one.
    told: whether the camera is said at all; False is a control.
    Raises ValueError when the text has neither length, UserError for impossible elevations.
    """
    count = len(azimuth)
    if len(text) not in (1, count):
        raise ValueError(f"a text of length {len(text)} for {count} views")
    if len(text) != count:
        text = text.repeat_interleave(count)
    where = {"azimuth": azimuth, "elevation": elevation} if with_camera else {}
    said = encode_attributes(count, **where, phase=phase, shadow=False)
    return replace(text, attributes=said.to(text.tokens))


class ViewTexts:
    """A prompt as seen from the front, the side and the back, for models without a camera input.

    Words as in DreamFusion (section 3.2), interpolated over the azimuth and weighted against each other as in
    Perp-Neg (Armandpour et al. 2023).
    """

    def __init__(self, texts: Condition) -> None:
        """texts: of length 3, in the order of `VIEW_WORDS`.

        Raises ValueError unless they are three texts of equal length, as interpolation needs.
        """
        if len(texts) != len(VIEW_WORDS) or bool((texts.mask != texts.mask[:1]).any()):
            raise ValueError("view-dependent prompts need three texts with equally many tokens")
        self.texts = texts

    @classmethod
    def from_prompt(cls, prompt: str, encode: Callable[[Sequence[str]], Condition]) -> ViewTexts:
        """The prompt with the words of each view; encode: `ImageModel.encode`."""
        return cls(encode([f"{prompt}, {view}" for view in VIEW_WORDS]))

    def interpolate(self, azimuth: Tensor) -> Condition:
        """The texts of views at that azimuth, (B,) degrees: from front to side to back, nothing else said."""
        share = _share(azimuth).to(self.texts.tokens)
        return Condition(
            torch.einsum("bv,vld->bld", share, self.texts.tokens),
            self.texts.mask[:1].expand(len(share), -1),
            encode_attributes(len(share)).to(self.texts.tokens),
            None if self.texts.pooled is None else share @ self.texts.pooled,
        )

    def negatives(self, azimuth: Tensor) -> tuple[tuple[Condition, Condition], Tensor]:
        """The front and the side as what to avoid, and how much of each at that azimuth: (2,B), >= 0.

        Decaying exponentials of the share of the view (constants of the authors' program): a view does not
        avoid itself, and the back avoids the front most, for that is where second faces grow.
        """
        front, side, back = _share(azimuth).unbind(1)
        near = back == 0
        avoid_front = torch.where(near, _decay(4.0, -2.426, front), _decay(1.0, 0.967, side))
        avoid_side = torch.where(near, _decay(4.0, -2.426, side), _decay(1.0, -0.606, side))
        return (self.texts[0], self.texts[1]), torch.stack([avoid_front, avoid_side]).clamp(min=0)


class ViewPerpNeg:
    """Guidance that reads the camera of the condition and says it in words, with Perp-Neg. A `Denoises`.

    It takes the conditions of `camera_condition`, whose text it replaces; the network is not told the camera.
    """

    def __init__(self, denoiser: Denoiser, texts: ViewTexts, scale: float, negative: Condition) -> None:
        """scale, negative: as in `core.guidance.PerpNeg`."""
        self.denoiser = denoiser
        self.texts = texts
        self.scale = scale
        self.negative = negative

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """As `Denoiser.forward`. Raises ValueError when a row says no camera."""
        azimuth, _ = decode_camera(condition.attributes)
        if bool(azimuth.isnan().any()):
            raise ValueError("view-dependent guidance needs the camera of every row")
        said = condition.attributes.clone()
        said[..., CAMERA] = 0
        towards = replace(self.texts.interpolate(azimuth), attributes=said)
        against, weights = self.texts.negatives(azimuth)
        return PerpNeg(self.denoiser, self.scale, self.negative, against, weights)(x, t, towards)


class ViewTextDenoiser(Guidance):
    """A denoiser that is told in words what a condition says of the camera, without Perp-Neg.

    Rows that say a camera have their text replaced by that of the view; others, such as a negative with
    `unsaid=(CAMERA,)`, keep theirs. The network is not told the camera.
    """

    def __init__(self, denoiser: GuidableDenoiser, texts: ViewTexts) -> None:
        super().__init__(denoiser)
        self.texts = texts

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        azimuth, _ = decode_camera(condition.attributes)
        rows = torch.where(azimuth.isnan(), len(azimuth), 0) + torch.arange(
            len(azimuth), device=azimuth.device
        )
        said = condition.attributes.clone()
        said[..., CAMERA] = 0
        texts = Condition.cat([self.texts.interpolate(azimuth.nan_to_num()), condition])[rows]
        return self.denoiser.predict(x, t, replace(texts, attributes=said))


def _share(azimuth: Tensor) -> Tensor:
    """(B,3) of front, side and back in a view at that azimuth, linear between 0, 90 and 180 degrees."""
    turn = ((azimuth + 180) % 360 - 180).abs() / 90
    front, back = (1 - turn).clamp(min=0), (turn - 1).clamp(min=0)
    return torch.stack([front, 1 - front - back, back], dim=1)


def _decay(scale: float, shift: float, share: Tensor) -> Tensor:
    return scale * (-0.5 * share).exp() + shift
