"""Classifier-free guidance, Perp-Neg and autoguidance against their formulas; nested guidance."""

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


def test_scale_one_evaluates_only_the_conditional_branch():
    denoiser, x, t = setup()
    prompt = condition(2, 5, 1)
    guided = ClassifierFreeGuidance(denoiser, 1.0, condition(1, 3, 2))(x, t, prompt)
    assert len(denoiser.network.calls) == 1 and len(denoiser.network.calls[0][0]) == 2
    assert torch.equal(guided.eps, denoiser(x, t, prompt).eps)


def test_both_branches_have_the_attributes_of_the_prompt():
    denoiser, x, t = setup()
    prompt = condition(2, 5, 1)
    ClassifierFreeGuidance(denoiser, 2.0, condition(1, 5, 2))(x, t, prompt)
    received = denoiser.network.calls[0][2]
    assert torch.equal(received.attributes, torch.cat([prompt.attributes] * 2))
    assert not torch.equal(received.tokens[0], received.tokens[2])


@pytest.mark.parametrize("frames", [None, 5])
def test_dropped_groups_are_zero_in_the_negative_branch(frames):
    denoiser, x, t = setup(frames)
    prompt, negative = condition(2, 5, 1, frames), condition(1, 3, 2)
    before = prompt.attributes.clone()
    guided = ClassifierFreeGuidance(denoiser, 4.0, negative, dropped_groups=(CAMERA, PHASE))(x, t, prompt)
    negative_rows, positive_rows = denoiser.network.calls[0][2].attributes.chunk(2)
    assert torch.equal(positive_rows, before) and torch.equal(prompt.attributes, before)
    assert torch.equal(negative_rows[..., SHADOW], before[..., SHADOW])
    assert not negative_rows[..., CAMERA].any() and not negative_rows[..., PHASE].any()

    attributes = before.clone()
    attributes[..., :8] = 0
    mask = torch.ones(2, 3, dtype=torch.bool)
    uncond = denoiser(x, t, Condition(negative.tokens.expand(2, -1, -1), mask, attributes)).eps
    cond = denoiser(x, t, prompt).eps
    torch.testing.assert_close(guided.eps, uncond + 4.0 * (cond - uncond), rtol=1e-4, atol=1e-5)


def test_clipping_is_applied_once_after_extrapolation():
    """If each branch were clipped first, guidance would act on clipped values and exceed the limit again."""
    denoiser, x, t = setup(clip=1.0)
    prompt, negative = condition(2, 5, 1), condition(1, 3, 2)
    guided = ClassifierFreeGuidance(denoiser, 9.0, negative)(x, t, prompt)
    denoiser.clip = None
    free = ClassifierFreeGuidance(denoiser, 9.0, negative)(x, t, prompt)
    assert free.x0.abs().max() > 1
    torch.testing.assert_close(guided.x0, free.x0.clamp(-1, 1))
    torch.testing.assert_close(denoiser.schedule.add_noise(guided.x0, guided.eps, t), x)


def test_a_negative_of_wrong_length_raises_value_error():
    denoiser, x, t = setup()
    with pytest.raises(ValueError, match="length 3"):
        ClassifierFreeGuidance(denoiser, 2.0, condition(3, 5, 2))(x, t, condition(2, 5, 1))


def test_rescaling_brings_back_the_deviation_of_the_conditional_x0():
    denoiser, x, t = setup()
    prompt, negative = condition(2, 5, 1), condition(1, 3, 2)
    cond = denoiser(x, t, prompt).x0
    plain = ClassifierFreeGuidance(denoiser, 9.0, negative)(x, t, prompt).x0
    for phi in (0.0, 0.5, 1.0):
        guided = ClassifierFreeGuidance(denoiser, 9.0, negative, rescale=phi)(x, t, prompt)
        for row in range(2):
            ratio = cond[row].std() / plain[row].std()
            torch.testing.assert_close(guided.x0[row], plain[row] * (phi * ratio + 1 - phi))
        torch.testing.assert_close(denoiser.schedule.add_noise(guided.x0, guided.eps, t), x)
    with pytest.raises(ValueError, match="rescale"):
        ClassifierFreeGuidance(denoiser, 9.0, negative, rescale=1.5)


def test_perpendicular_is_orthogonal_row_by_row():
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
        direction = d.clone()
        for other, weight in ((first.tokens[0], 0.5 if row == 0 else 2.0), (second.tokens[row], 1.0 - row)):
            difference = other[0].view(1, 4, 1) - base
            direction -= weight * (difference - (difference * d).sum() / (d * d).sum() * d)
        expected = 0.1 * x[row] + base + 4.0 * direction
        torch.testing.assert_close(guided.eps[row], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(guidance.schedule.add_noise(guided.x0, guided.eps, t), x)


def test_perp_neg_with_zero_weights_is_classifier_free_guidance():
    _, x, t = setup()
    prompt, guidance = condition(2, 5, 1), perp_neg(weights=((0.0,), (0.0,)), clip=1.0)
    plain = ClassifierFreeGuidance(guidance.denoiser, 4.0, guidance.negative)(x, t, prompt)
    torch.testing.assert_close(guidance(x, t, prompt), plain)


def test_perp_neg_ignores_a_negative_in_the_direction_of_the_prompt():
    """With negatives equal to the prompt the result is that of classifier-free guidance."""
    _, x, t = setup()
    prompt, guidance = condition(2, 5, 1), perp_neg(weights=((3.0,),) * 2)
    guidance.negatives = [prompt, prompt]
    plain = ClassifierFreeGuidance(guidance.denoiser, 4.0, guidance.negative)(x, t, prompt)
    torch.testing.assert_close(guidance(x, t, prompt), plain, rtol=1e-4, atol=1e-4)


def test_perp_neg_weights_of_wrong_shape_raise_value_error():
    _, x, t = setup()
    with pytest.raises(ValueError, match="2 negative prompts"):
        perp_neg(weights=((1.0,),))
    with pytest.raises(ValueError, match="length 3 for a batch of 2"):
        perp_neg(weights=((1.0,) * 3,) * 2)(x, t, condition(2, 5, 1))


def test_autoguidance_matches_its_formula():
    denoiser, x, t = setup(parameterization=Parameterization.V)
    weak = denoiser.with_network(Painter())
    prompt = condition(2, 5, 1)
    guided = Autoguidance(denoiser, weak, 2.5)(x, t, prompt)
    expected = -1.5 * weak(x, t, prompt).eps + 2.5 * denoiser(x, t, prompt).eps
    torch.testing.assert_close(guided.eps, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(guided_noise(denoiser, guided, t), x, rtol=1e-4, atol=1e-5)


class FixedCondition(nn.Module):
    """A network that uses a fixed condition instead of its argument."""

    def __init__(self, network, fixed):
        super().__init__()
        self.network, self.fixed = network, fixed

    def forward(self, x, t, condition):
        return self.network(x, t, self.fixed)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_autoguidance_by_the_unconditional_model_is_classifier_free_guidance(clip):
    denoiser, x, t = setup(clip=clip)
    prompt, negative = condition(2, 5, 1), condition(2, 3, 2)
    uncond = Condition(negative.tokens, negative.mask, prompt.attributes)
    weak = denoiser.with_network(FixedCondition(denoiser.network, uncond))
    torch.testing.assert_close(
        Autoguidance(denoiser, weak, 4.0)(x, t, prompt),
        ClassifierFreeGuidance(denoiser, 4.0, negative)(x, t, prompt),
    )


def test_a_weak_model_takes_the_place_of_the_negative_branch():
    denoiser, x, t = setup(parameterization=Parameterization.V)
    weak = denoiser.with_network(Painter())
    prompt, negative = condition(2, 5, 1), condition(1, 3, 2)
    guided = ClassifierFreeGuidance(denoiser, 2.5, negative, weak=weak)(x, t, prompt)
    assert [len(n.calls[0][0]) for n in (denoiser.network, weak.network)] == [2, 2]
    nothing = Condition(negative.tokens.expand(2, -1, -1), negative.mask.expand(2, -1), prompt.attributes)
    expected = -1.5 * weak(x, t, nothing).eps + 2.5 * denoiser(x, t, prompt).eps
    torch.testing.assert_close(guided.eps, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(guided_noise(denoiser, guided, t), x, rtol=1e-4, atol=1e-5)


def test_a_weak_model_leads_no_farther_than_at_scale_two_and_a_half():
    denoiser, x, t = setup(parameterization=Parameterization.V)
    weak = denoiser.with_network(Painter())
    prompt, negative = condition(2, 5, 1), condition(2, 3, 2)
    guided = ClassifierFreeGuidance(denoiser, 8.0, negative, weak=weak)(x, t, prompt)
    nothing = Condition(negative.tokens, negative.mask, prompt.attributes)
    cond, uncond, bad = (
        d(x, t, c).eps for d, c in ((denoiser, prompt), (denoiser, nothing), (weak, nothing))
    )
    expected = cond + 1.5 * (cond - bad) + 5.5 * (cond - uncond)
    torch.testing.assert_close(guided.eps, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(guided_noise(denoiser, guided, t), x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_guided_by_itself_a_model_is_guided_as_without_a_weak_one(rescale):
    denoiser, x, t = setup(clip=1.0)
    prompt, negative = condition(2, 5, 1), condition(2, 3, 2)
    torch.testing.assert_close(
        ClassifierFreeGuidance(denoiser, 4.0, negative, rescale, (CAMERA,), weak=denoiser)(x, t, prompt),
        ClassifierFreeGuidance(denoiser, 4.0, negative, rescale, (CAMERA,))(x, t, prompt),
    )
    other = Denoiser(Recorder(), NoiseSchedule.linear(), Parameterization.EPS)
    with pytest.raises(ValueError, match="weak model has the schedule NoiseSchedule.linear"):
        ClassifierFreeGuidance(denoiser, 2.0, negative, weak=other)


def test_autoguidance_of_scale_one_does_not_evaluate_the_weak_model():
    denoiser, x, t = setup()
    weak = denoiser.with_network(Recorder())
    guided = Autoguidance(denoiser, weak, 1.0)(x, t, condition(2, 5, 1))
    assert not weak.network.calls and torch.equal(guided.eps, denoiser(x, t, condition(2, 5, 1)).eps)
    other = Denoiser(Recorder(), NoiseSchedule.linear(), Parameterization.EPS)
    with pytest.raises(ValueError, match="weak model has the schedule NoiseSchedule.linear"):
        Autoguidance(denoiser, other, 2.0)


class VarianceDenoiser(Denoiser):
    """A denoiser whose variance fraction is the sum of each row's attributes and tokens."""

    def predict(self, x, t, condition):
        fraction = condition.attributes.sum(1) + condition.tokens.sum((1, 2))
        fraction = fraction.view(-1, 1, 1, 1).expand_as(x)
        return super().predict(x, t, condition)._replace(variance_fraction=fraction)


@pytest.mark.parametrize(
    "wrap",
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
def test_the_learned_variance_is_that_of_the_conditional_branch(wrap):
    denoiser = VarianceDenoiser(Recorder(), NoiseSchedule.cosine(), Parameterization.EPS)
    _, x, t = setup()
    prompt = condition(2, 5, 1)
    expected = denoiser.predict(x, t, prompt).variance_fraction
    torch.testing.assert_close(wrap(denoiser)(x, t, prompt).variance_fraction, expected)
    assert Prediction(x, x).variance_fraction is None


def nested(denoiser, prompt):
    """Classifier-free guidance in an interval, inside classifier guidance, inside dynamic thresholding."""
    text = GuidanceInterval(ClassifierFreeGuidance(denoiser, 4.0, condition(1, 3, 2)), 0.2, 5.0)
    return DynamicThresholding(ClassifierGuidance(text, Quadratic(), torch.tensor([1]), 0.01), 0.9)


@pytest.mark.parametrize("sampler", [ddim, ddpm])
def test_nested_guidance_in_a_sampler(sampler):
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


def test_classifier_guidance_is_the_same_inside_and_outside_classifier_free_guidance():
    """Both branches get the same step at the same x_t, so extrapolation between them does not change it."""
    denoiser, x, t = setup()
    prompt, negative, label = condition(2, 5, 1), condition(1, 3, 2), torch.tensor([1])
    classifier_guided = ClassifierGuidance(denoiser, Quadratic(), label, 0.5)
    inside = GuidanceInterval(ClassifierFreeGuidance(classifier_guided, 4.0, negative), 0.0, float("inf"))
    outside = ClassifierGuidance(ClassifierFreeGuidance(denoiser, 4.0, negative), Quadratic(), label, 0.5)
    torch.testing.assert_close(inside(x, t, prompt), outside(x, t, prompt), rtol=1e-4, atol=1e-4)
    unguided = GuidanceInterval(ClassifierFreeGuidance(classifier_guided, 4.0, negative), 1e3, float("inf"))
    torch.testing.assert_close(unguided(x, t, prompt), classifier_guided(x, t, prompt))
