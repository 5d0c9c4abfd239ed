import pytest
import torch
from torch import nn

from core.attributes import WIDTH
from core.condition import Condition
from core.denoiser import Denoiser
from core.guidance import ClassifierFreeGuidance, PerpNeg, perpendicular
from core.parameterization import Parameterization
from core.schedule import NoiseSchedule

PARAMETERIZATIONS = [Parameterization.EPS, Parameterization.X0, Parameterization.V]


class Recorder(nn.Module):
    """Output depends on the real tokens, the attributes and x; remembers what it was asked."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x, t, condition):
        self.calls.append((x, t, condition))
        text = (condition.tokens.mean(2) * condition.mask).sum(1) / condition.mask.sum(1)
        said = condition.attributes.flatten(1).sum(1)
        return x * 0.1 + (text + said).view(-1, *[1] * (x.ndim - 1))


def condition(batch, length, seed, frames=None):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, WIDTH) if frames is None else (batch, frames, WIDTH)
    return Condition(
        torch.randn(batch, length, 4, generator=generator),
        torch.ones(batch, length, dtype=torch.bool),
        torch.randn(shape, generator=generator),
    )


def setup(frames=None, clip=None, parameterization=Parameterization.EPS):
    shape = (2, 3, 4, 4) if frames is None else (2, 3, frames, 4, 4)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    denoiser = Denoiser(Recorder(), NoiseSchedule.cosine(), parameterization, clip)
    return denoiser, x, torch.tensor([200, 700])


@pytest.mark.parametrize("frames", [None, 5])
@pytest.mark.parametrize("negatives", [1, 2])
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_one_call_equals_two_calls_combined_by_hand(frames, negatives, parameterization):
    denoiser, x, t = setup(frames, parameterization=parameterization)
    prompt, negative = condition(2, 5, 1, frames), condition(negatives, 3, 2)
    guided = ClassifierFreeGuidance(denoiser, 4.0, negative)(x, t, prompt)
    assert len(denoiser.network.calls) == 1 and len(denoiser.network.calls[0][0]) == 4

    tokens = negative.tokens.expand(2, -1, -1)
    uncond = denoiser(x, t, Condition(tokens, torch.ones(2, 3, dtype=torch.bool), prompt.attributes))
    cond = denoiser(x, t, prompt)
    eps = uncond.eps + 4.0 * (cond.eps - uncond.eps)
    torch.testing.assert_close(guided.eps, eps, rtol=1e-4, atol=1e-5)
    schedule = denoiser.schedule
    x0 = (x - schedule.sigma(t, x) * eps) / schedule.alpha(t, x)
    torch.testing.assert_close(guided.x0, x0, rtol=1e-4, atol=1e-4)


def test_scale_one_makes_only_the_conditional_call():
    denoiser, x, t = setup()
    prompt = condition(2, 5, 1)
    guided = ClassifierFreeGuidance(denoiser, 1.0, condition(1, 3, 2))(x, t, prompt)
    assert len(denoiser.network.calls) == 1 and len(denoiser.network.calls[0][0]) == 2
    assert torch.equal(guided.eps, denoiser(x, t, prompt).eps)


def test_both_halves_are_told_the_prompts_attributes():
    denoiser, x, t = setup()
    prompt = condition(2, 5, 1)
    ClassifierFreeGuidance(denoiser, 2.0, condition(1, 5, 2))(x, t, prompt)
    asked = denoiser.network.calls[0][2]
    assert torch.equal(asked.attributes, torch.cat([prompt.attributes] * 2))
    assert not torch.equal(asked.tokens[0], asked.tokens[2])


def test_clip_holds_after_extrapolation_and_is_applied_once():
    """Clipping each branch first would let guidance act on clipped values and leave the range again."""
    denoiser, x, t = setup(clip=1.0)
    prompt, negative = condition(2, 5, 1), condition(1, 3, 2)
    guided = ClassifierFreeGuidance(denoiser, 9.0, negative)(x, t, prompt)
    denoiser.clip = None
    free = ClassifierFreeGuidance(denoiser, 9.0, negative)(x, t, prompt)
    assert free.x0.abs().max() > 1
    torch.testing.assert_close(guided.x0, free.x0.clamp(-1, 1))
    torch.testing.assert_close(denoiser.schedule.add_noise(guided.x0, guided.eps, t), x)


def test_a_negative_of_another_length_is_refused():
    denoiser, x, t = setup()
    with pytest.raises(ValueError, match="length 3"):
        ClassifierFreeGuidance(denoiser, 2.0, condition(3, 5, 2))(x, t, condition(2, 5, 1))


def test_rescaling_brings_back_the_deviation_of_the_conditional_x0():
    denoiser, x, t = setup()
    prompt, negative = condition(2, 5, 1), condition(1, 3, 2)
    cond = denoiser(x, t, prompt).x0
    plain = ClassifierFreeGuidance(denoiser, 9.0, negative)(x, t, prompt).x0
    for share in (0.0, 0.5, 1.0):
        guided = ClassifierFreeGuidance(denoiser, 9.0, negative, rescale=share)(x, t, prompt)
        for row in range(2):
            ratio = cond[row].std() / plain[row].std()
            torch.testing.assert_close(guided.x0[row], plain[row] * (share * ratio + 1 - share))
        torch.testing.assert_close(denoiser.schedule.add_noise(guided.x0, guided.eps, t), x)
    with pytest.raises(ValueError, match="rescale"):
        ClassifierFreeGuidance(denoiser, 9.0, negative, rescale=1.5)


def test_perpendicular_rows():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 3, 2, 4, 4, generator=generator)
    b[2] = 0
    rest = perpendicular(a, b)
    torch.testing.assert_close((rest * b).flatten(1).sum(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close((a - rest)[0] / b[0], ((a - rest)[0] / b[0]).mean().expand(2, 4, 4))
    assert torch.equal(rest[2], a[2])


class Painter(Recorder):
    """Draws the first token's numbers as a picture, so that texts differ in direction too."""

    def forward(self, x, t, condition):
        super().forward(x, t, condition)
        return 0.1 * x + condition.tokens[:, 0].view(-1, 1, 4, 1)


def perp_neg(scale=4.0, weights=((0.5, 2.0), (1.0, 0.0)), clip=None):
    denoiser = Denoiser(Painter(), NoiseSchedule.cosine(), Parameterization.EPS, clip)
    against = [condition(1, 3, 2), condition(2, 4, 3)]
    return PerpNeg(denoiser, scale, condition(1, 2, 4), against, torch.tensor(weights))


def test_perp_neg_is_its_formula_row_by_row():
    _, x, t = setup()
    prompt, guidance = condition(2, 5, 1), perp_neg()
    guided = guidance(x, t, prompt)
    assert len(guidance.denoiser.network.calls) == 1 and len(guidance.denoiser.network.calls[0][0]) == 8
    (first, second), uncond = guidance.against, guidance.negative
    for row in range(2):
        base = uncond.tokens[0, 0].view(1, 4, 1)
        d = prompt.tokens[row, 0].view(1, 4, 1) - base
        lead = d.clone()
        for avoided, weight in ((first.tokens[0], 0.5 if row == 0 else 2.0), (second.tokens[row], 1.0 - row)):
            aside = avoided[0].view(1, 4, 1) - base
            lead -= weight * (aside - (aside * d).sum() / (d * d).sum() * d)
        expected = 0.1 * x[row] + base + 4.0 * lead
        torch.testing.assert_close(guided.eps[row], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(guidance.schedule.add_noise(guided.x0, guided.eps, t), x)


def test_perp_neg_without_weights_is_classifier_free_guidance():
    _, x, t = setup()
    prompt, guidance = condition(2, 5, 1), perp_neg(weights=((0.0,), (0.0,)), clip=1.0)
    plain = ClassifierFreeGuidance(guidance.denoiser, 4.0, guidance.negative)(x, t, prompt)
    torch.testing.assert_close(guidance(x, t, prompt), plain)


def test_perp_neg_takes_nothing_from_what_prompt_and_negative_share():
    """A text to avoid that lies in the prompt's own direction changes nothing."""
    _, x, t = setup()
    prompt, guidance = condition(2, 5, 1), perp_neg(weights=((3.0,),) * 2)
    guidance.against = [prompt, prompt]
    plain = ClassifierFreeGuidance(guidance.denoiser, 4.0, guidance.negative)(x, t, prompt)
    torch.testing.assert_close(guidance(x, t, prompt), plain, rtol=1e-4, atol=1e-4)


def test_perp_neg_weights_that_do_not_fit():
    _, x, t = setup()
    with pytest.raises(ValueError, match="2 texts"):
        perp_neg(weights=((1.0,),))
    with pytest.raises(ValueError, match="length 3 for a batch of 2"):
        perp_neg(weights=((1.0,) * 3,) * 2)(x, t, condition(2, 5, 1))
