"""Classifier-free guidance, Perp-Neg and autoguidance against their formulas; guidance within guidance."""

import numpy as np
import pytest
import torch
from torch import nn

from core.attributes import CAMERA, PHASE, SHADOW
from core.condition import Condition
from core.diffusion.denoiser import Denoiser, Prediction
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.guidance import (
    Autoguidance,
    ClassifierFreeGuidance,
    ClassifierGuidance,
    DynamicThresholding,
    GuidanceInterval,
    PerpNeg,
    perpendicular,
)
from core.samplers import ddim, ddpm
from tests.core.guidance.guided import (
    PARAMETERIZATIONS,
    Painter,
    Quadratic,
    Recorder,
    condition,
    guided_noise,
    perp_neg,
    setup,
)


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


@pytest.mark.parametrize("frames", [None, 5])
def test_chosen_attributes_are_left_unsaid_in_the_negative(frames):
    denoiser, x, t = setup(frames)
    prompt, negative = condition(2, 5, 1, frames), condition(1, 3, 2)
    before = prompt.attributes.clone()
    guided = ClassifierFreeGuidance(denoiser, 4.0, negative, dropped_groups=(CAMERA, PHASE))(x, t, prompt)
    away, towards = denoiser.network.calls[0][2].attributes.chunk(2)
    assert torch.equal(towards, before) and torch.equal(prompt.attributes, before)
    assert torch.equal(away[..., SHADOW], before[..., SHADOW])
    assert not away[..., CAMERA].any() and not away[..., PHASE].any()

    said = before.clone()
    said[..., :8] = 0
    mask = torch.ones(2, 3, dtype=torch.bool)
    uncond = denoiser(x, t, Condition(negative.tokens.expand(2, -1, -1), mask, said)).eps
    cond = denoiser(x, t, prompt).eps
    torch.testing.assert_close(guided.eps, uncond + 4.0 * (cond - uncond), rtol=1e-4, atol=1e-5)


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


def test_perp_neg_is_its_formula_row_by_row():
    _, x, t = setup()
    prompt, guidance = condition(2, 5, 1), perp_neg()
    guided = guidance(x, t, prompt)
    assert len(guidance.denoiser.network.calls) == 1 and len(guidance.denoiser.network.calls[0][0]) == 8
    (first, second), uncond = guidance.negatives, guidance.negative
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
    guidance.negatives = [prompt, prompt]
    plain = ClassifierFreeGuidance(guidance.denoiser, 4.0, guidance.negative)(x, t, prompt)
    torch.testing.assert_close(guidance(x, t, prompt), plain, rtol=1e-4, atol=1e-4)


def test_perp_neg_weights_that_do_not_fit():
    _, x, t = setup()
    with pytest.raises(ValueError, match="2 negative prompts"):
        perp_neg(weights=((1.0,),))
    with pytest.raises(ValueError, match="length 3 for a batch of 2"):
        perp_neg(weights=((1.0,) * 3,) * 2)(x, t, condition(2, 5, 1))


def test_autoguidance_extrapolates_from_the_weak_model():
    denoiser, x, t = setup(parameterization=Parameterization.V)
    weak = denoiser.with_network(Painter())
    prompt = condition(2, 5, 1)
    guided = Autoguidance(denoiser, weak, 2.5)(x, t, prompt)
    expected = -1.5 * weak(x, t, prompt).eps + 2.5 * denoiser(x, t, prompt).eps
    torch.testing.assert_close(guided.eps, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(guided_noise(denoiser, guided, t), x, rtol=1e-4, atol=1e-5)


class Deaf(nn.Module):
    """Hears another condition than the one it is told."""

    def __init__(self, network, instead):
        super().__init__()
        self.network, self.instead = network, instead

    def forward(self, x, t, condition):
        return self.network(x, t, self.instead)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_autoguidance_by_the_unconditional_model_is_classifier_free_guidance(clip):
    denoiser, x, t = setup(clip=clip)
    prompt, negative = condition(2, 5, 1), condition(2, 3, 2)
    uncond = Condition(negative.tokens, negative.mask, prompt.attributes)
    weak = denoiser.with_network(Deaf(denoiser.network, uncond))
    torch.testing.assert_close(
        Autoguidance(denoiser, weak, 4.0)(x, t, prompt),
        ClassifierFreeGuidance(denoiser, 4.0, negative)(x, t, prompt),
    )


def test_autoguidance_of_scale_one_spares_the_weak_model():
    denoiser, x, t = setup()
    weak = denoiser.with_network(Recorder())
    guided = Autoguidance(denoiser, weak, 1.0)(x, t, condition(2, 5, 1))
    assert not weak.network.calls and torch.equal(guided.eps, denoiser(x, t, condition(2, 5, 1)).eps)
    other = Denoiser(Recorder(), NoiseSchedule.linear(), Parameterization.EPS)
    with pytest.raises(ValueError, match="weak model has the schedule NoiseSchedule.linear"):
        Autoguidance(denoiser, other, 2.0)


class Certain(Denoiser):
    """Says of each row's variance what the attributes of its condition sum to."""

    def predict(self, x, t, condition):
        said = condition.attributes.sum(1).view(-1, 1, 1, 1) + condition.tokens.sum((1, 2)).view(-1, 1, 1, 1)
        return super().predict(x, t, condition)._replace(variance_fraction=said.expand_as(x))


@pytest.mark.parametrize(
    "around",
    [
        lambda d: ClassifierFreeGuidance(d, 4.0, condition(1, 3, 2)),
        lambda d: ClassifierFreeGuidance(d, 4.0, condition(1, 3, 2), rescale=0.5),
        lambda d: PerpNeg(d, 4.0, condition(1, 3, 2), [condition(1, 3, 3)], torch.ones(1, 1)),
        lambda d: Autoguidance(d, Denoiser(Recorder(), d.schedule, Parameterization.EPS), 2.0),
        lambda d: ClassifierGuidance(d, Quadratic(), torch.tensor([0])),
        lambda d: DynamicThresholding(ClassifierFreeGuidance(d, 4.0, condition(1, 3, 2))),
        lambda d: GuidanceInterval(ClassifierFreeGuidance(d, 4.0, condition(1, 3, 2)), 0.2, 1.0),
    ],
)
def test_the_learned_variance_is_that_of_the_condition(around):
    denoiser = Certain(Recorder(), NoiseSchedule.cosine(), Parameterization.EPS)
    _, x, t = setup()
    prompt = condition(2, 5, 1)
    expected = denoiser.predict(x, t, prompt).variance_fraction
    torch.testing.assert_close(around(denoiser)(x, t, prompt).variance_fraction, expected)
    assert Prediction(x, x).variance_fraction is None


def nested(denoiser, prompt):
    """An interval around classifier-free guidance, all of it led by a classifier and thresholded."""
    text = GuidanceInterval(ClassifierFreeGuidance(denoiser, 4.0, condition(1, 3, 2)), 0.2, 5.0)
    return DynamicThresholding(ClassifierGuidance(text, Quadratic(), torch.tensor([1]), 0.01), 0.9)


@pytest.mark.parametrize("sampler", [ddim, ddpm])
def test_guidance_nests_and_goes_through_a_sampler(sampler):
    denoiser, x, _ = setup(clip=1.0)
    prompt = condition(2, 5, 1)
    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    guidance = nested(denoiser, prompt)
    states = list(sampler(guidance, x, prompt, steps=12, generators=generators))
    level = [(-NoiseSchedule.cosine().log_snr(state.t) / 2).exp().item() for state in states]
    batches = [4 if 0.2 < here <= 5.0 else 2 for here in level]
    assert [len(call[0]) for call in denoiser.network.calls] == batches and set(batches) == {2, 4}
    assert all(state.x0.abs().max() <= 1 for state in states)

    t = torch.tensor([400, 400])
    outer = ClassifierFreeGuidance(denoiser, 4.0, condition(1, 3, 2)).predict(x, t, prompt)
    expected = ClassifierGuidance(denoiser, Quadratic(), torch.tensor([1]), 0.01)
    step = expected.predict(x, t, prompt).x0 - denoiser.predict(x, t, prompt).x0
    free = outer.x0 + step
    for row, x0 in enumerate(guidance(x, t, prompt).x0):
        limit = max(1.0, np.percentile(free[row].abs().numpy(), 90))
        torch.testing.assert_close(x0, free[row].clamp(-limit, limit) / limit, rtol=1e-4, atol=1e-5)


def test_a_classifier_leads_alike_inside_classifier_free_guidance_and_outside():
    """Both branches take the same step at the same x_t, which extrapolation between them keeps."""
    denoiser, x, t = setup()
    prompt, negative, label = condition(2, 5, 1), condition(1, 3, 2), torch.tensor([1])
    led = ClassifierGuidance(denoiser, Quadratic(), label, 0.5)
    inside = GuidanceInterval(ClassifierFreeGuidance(led, 4.0, negative), 0.0, float("inf"))
    outside = ClassifierGuidance(ClassifierFreeGuidance(denoiser, 4.0, negative), Quadratic(), label, 0.5)
    torch.testing.assert_close(inside(x, t, prompt), outside(x, t, prompt), rtol=1e-4, atol=1e-4)
    unguided = GuidanceInterval(ClassifierFreeGuidance(led, 4.0, negative), 1e3, float("inf"))
    torch.testing.assert_close(unguided(x, t, prompt), led(x, t, prompt))
