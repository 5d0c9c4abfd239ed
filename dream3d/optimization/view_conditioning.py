"""Camera conditioning of the denoiser: numeric for models with a camera input, else view-dependent texts."""

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
    """Condition of a batch of B views, for models with a camera input; without ground shadow.

    text: of length 1 or B.
    azimuth, elevation: (B,) degrees.
    phase: of the action, [0, 1), if it has one.
    with_camera: False leaves the camera out, as a control.
    Raises ValueError when the text has neither length, UserError for elevations out of range.
    """
    count = len(azimuth)
    if len(text) not in (1, count):
        raise ValueError(f"a text of length {len(text)} for {count} views")
    if len(text) != count:
        text = text.repeat_interleave(count)
    camera = {"azimuth": azimuth, "elevation": elevation} if with_camera else {}
    attributes = encode_attributes(count, **camera, phase=phase, shadow=False)
    return replace(text, attributes=attributes.to(text.tokens))


class ViewTexts:
    """View-dependent texts of a prompt (front, side, back), for models without a camera input.

    The words follow DreamFusion (section 3.2). Texts are interpolated over the azimuth, and the weights of
    the negative texts are those of Perp-Neg (Armandpour et al. 2023).
    """

    def __init__(self, texts: Condition) -> None:
        """texts: of length 3, in the order of `VIEW_WORDS`.

        Raises ValueError unless there are three texts with equally many tokens, which interpolation needs.
        """
        if len(texts) != len(VIEW_WORDS) or bool((texts.mask != texts.mask[:1]).any()):
            raise ValueError("view-dependent prompts need three texts with equally many tokens")
        self.texts = texts

    @classmethod
    def from_prompt(cls, prompt: str, encode: Callable[[Sequence[str]], Condition]) -> ViewTexts:
        """The texts "{prompt}, {view}" for each of `VIEW_WORDS`; encode: `ImageModel.encode`."""
        return cls(encode([f"{prompt}, {view}" for view in VIEW_WORDS]))

    def interpolate(self, azimuth: Tensor) -> Condition:
        """Texts interpolated at azimuths (B,) in degrees, without attributes."""
        share = _view_shares(azimuth).to(self.texts.tokens)
        return Condition(
            torch.einsum("bv,vld->bld", share, self.texts.tokens),
            self.texts.mask[:1].expand(len(share), -1),
            encode_attributes(len(share)).to(self.texts.tokens),
            None if self.texts.pooled is None else share @ self.texts.pooled,
        )

    def negatives(self, azimuth: Tensor) -> tuple[tuple[Condition, Condition], Tensor]:
        """The front and side texts as negatives, and their weights (2,B), >= 0, at azimuths (B,) in degrees.

        The weights are decaying exponentials of the view's share, with the constants of the authors' code. A
        view has no weight against itself; the back has the largest weight against the front, because that is
        where second faces appear.
        """
        front, side, back = _view_shares(azimuth).unbind(1)
        near = back == 0
        front_weight = torch.where(near, _decay(4.0, -2.426, front), _decay(1.0, 0.967, side))
        side_weight = torch.where(near, _decay(4.0, -2.426, side), _decay(1.0, -0.606, side))
        return (self.texts[0], self.texts[1]), torch.stack([front_weight, side_weight]).clamp(min=0)


class ViewPerpNeg:
    """Perp-Neg guidance with view-dependent texts, chosen by the camera of the condition. A `DenoiserLike`.

    It takes the conditions of `camera_condition`, replaces their text and drops their camera.
    """

    def __init__(self, denoiser: Denoiser, texts: ViewTexts, scale: float, negative: Condition) -> None:
        """scale, negative: as in `core.guidance.PerpNeg`."""
        self.denoiser = denoiser
        self.texts = texts
        self.scale = scale
        self.negative = negative

    @property
    def schedule(self) -> NoiseSchedule:
        """The denoiser's noise schedule."""
        return self.denoiser.schedule

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """As `Denoiser.forward`. Raises ValueError when a row of the condition has no camera."""
        azimuth, _ = decode_camera(condition.attributes)
        if bool(azimuth.isnan().any()):
            raise ValueError("view-dependent guidance needs the camera of every row")
        positive = replace(self.texts.interpolate(azimuth), attributes=_without_camera(condition))
        negatives, weights = self.texts.negatives(azimuth)
        return PerpNeg(self.denoiser, self.scale, self.negative, negatives, weights)(x, t, positive)


class ViewTextDenoiser(Guidance):
    """A denoiser with view-dependent texts, chosen by the camera of the condition, without Perp-Neg.

    Rows with a camera have their text replaced by that of the view. Rows without one, for example a negative
    prompt with `dropped_groups=(CAMERA,)`, keep their text. The camera is dropped from all rows.
    """

    def __init__(self, denoiser: GuidableDenoiser, texts: ViewTexts) -> None:
        """texts: the view-dependent texts of the prompt."""
        super().__init__(denoiser)
        self.texts = texts

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """As `GuidableDenoiser.predict`."""
        azimuth, _ = decode_camera(condition.attributes)
        rows = torch.where(azimuth.isnan(), len(azimuth), 0) + torch.arange(
            len(azimuth), device=azimuth.device
        )
        texts = Condition.cat([self.texts.interpolate(azimuth.nan_to_num()), condition])[rows]
        return self.denoiser.predict(x, t, replace(texts, attributes=_without_camera(condition)))


def _without_camera(condition: Condition) -> Tensor:
    """Attributes of a condition with the camera dropped."""
    attributes = condition.attributes.clone()
    attributes[..., CAMERA] = 0
    return attributes


def _view_shares(azimuth: Tensor) -> Tensor:
    """Shares (B,3) of the front, side and back texts, linear between azimuths 0, 90 and 180."""
    turn = ((azimuth + 180) % 360 - 180).abs() / 90
    front, back = (1 - turn).clamp(min=0), (turn - 1).clamp(min=0)
    return torch.stack([front, 1 - front - back, back], dim=1)


def _decay(scale: float, shift: float, share: Tensor) -> Tensor:
    """scale exp(-share / 2) + shift."""
    return scale * (-0.5 * share).exp() + shift
