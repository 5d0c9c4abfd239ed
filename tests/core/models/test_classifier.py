"""The classifier of noisy images, trained on scikit-learn's digits."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.guidance import ClassifierGuidance
from core.models.classifier import ClassifierConfig, NoisyClassifier
from core.training.config import Budget, TrainingConfig
from core.training.tasks.classifiers import ClassifierTask, DiffusedClassifier
from core.training.trainer import Trainer

CONFIG = ClassifierConfig(
    in_channels=1, patch=2, size=8, widths=(32, 64), blocks=(1, 1), attention=(False, True), head_width=16
)
HELD_BACK = 297


def digits():
    """1797 digits of 8x8 pixels in [-1, 1], and their labels."""
    data = load_digits()
    images = torch.from_numpy(data.images).float()[:, None] / 8 - 1
    return images, torch.from_numpy(data.target).long()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> NoisyClassifier:
    torch.manual_seed(0)
    classifier = NoisyClassifier(CONFIG)
    images, labels = digits()
    settings = TrainingConfig(
        batch_size=64, learning_rate=5e-3, warmup_steps=20, compile=False, bfloat16=False, log_steps=50
    )
    task = ClassifierTask(images[:-HELD_BACK], labels[:-HELD_BACK])
    trainer = Trainer(
        DiffusedClassifier.from_classifier(classifier), task, settings, tmp_path_factory.mktemp("run")
    )
    assert trainer.run(Budget(steps=200))
    return classifier.eval().requires_grad_(False)


def accuracy(classifier: NoisyClassifier, step: int) -> float:
    """Accuracy on held-back digits noised to t = step."""
    images, labels = (part[-HELD_BACK:] for part in digits())
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    t = torch.full((HELD_BACK,), step)
    predicted = classifier(classifier.schedule.add_noise(images, noise, t), t).argmax(1)
    return (predicted == labels).float().mean().item()


def test_it_reads_digits_through_noise_as_far_as_there_is_signal(trained):
    assert accuracy(trained, 0) > 0.85
    assert accuracy(trained, 300) > 0.75
    assert accuracy(trained, 999) < 0.2


def test_the_timestep_affects_the_confidence(trained):
    """At pure noise the probabilities are those of the classes; at low noise the same pixels give more."""
    x = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    at_noise, at_data = (trained(x, torch.full((64,), t)).softmax(1).amax(1).mean() for t in (999, 0))
    assert at_noise < 0.2 and at_data > 2 * at_noise


class ZeroNetwork(torch.nn.Module):
    """A network that returns zeros."""

    def forward(self, x, t, condition):
        return torch.zeros_like(x)


def test_guidance_increases_the_probability_of_the_target_digit(trained):
    images, labels = (part[-64:] for part in digits())
    targets = (labels + 3) % 10
    t = torch.full((64,), 300)
    schedule = trained.schedule
    x = schedule.add_noise(images, torch.randn(images.shape, generator=torch.Generator().manual_seed(3)), t)
    denoiser = Denoiser(ZeroNetwork(), schedule, Parameterization.EPS)
    condition = Condition(torch.zeros(64, 1, 1), torch.ones(64, 1, dtype=torch.bool), torch.zeros(64, 10))
    guided = ClassifierGuidance(denoiser, trained, targets, 1.0)
    with torch.no_grad():
        direction = -guided(x, t, condition).eps
        before, after = (trained(at, t).log_softmax(1) for at in (x, x + 0.02 * direction))
    increase = (after - before).gather(1, targets[:, None])
    assert (increase > 0).float().mean() > 0.95
    assert all(parameter.grad is None for parameter in trained.parameters())


def test_a_saved_and_loaded_classifier_gives_the_same_logits(trained, tmp_path: Path):
    trained.save(tmp_path, {"steps": 200})
    loaded = NoisyClassifier.load(tmp_path)
    assert loaded.config == trained.config and loaded.schedule.to_dict() == trained.schedule.to_dict()
    images, t = digits()[0][:8], torch.arange(8) * 100
    torch.testing.assert_close(loaded(images, t), trained(images, t), atol=0.05, rtol=0.01)


@pytest.mark.parametrize(
    "options", [{}, {"block": "convnext", "resampling": "residual", "activation": "gelu", "heads": 4}]
)
def test_a_new_classifier_is_uniform_and_every_parameter_has_a_gradient(options):
    torch.manual_seed(0)
    classifier = NoisyClassifier(CONFIG.model_copy(update=options))
    x, t = torch.randn(3, 1, 8, 8), torch.tensor([0, 500, 999])
    assert classifier(x, t).count_nonzero() == 0
    for parameter in classifier.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    classifier(x, t).square().mean().backward()
    assert not [name for name, p in classifier.named_parameters() if p.grad is None or not p.grad.any()]
    torch._dynamo.reset()
    compiled = torch.compile(classifier, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, t), classifier(x, t))


def test_inconsistent_configs_and_inputs_raise_errors():
    with pytest.raises(ValidationError, match="size 9 is not a multiple of 4"):
        ClassifierConfig(**{**CONFIG.model_dump(), "size": 9})
    with pytest.raises(ValidationError, match="width 64 is not a multiple of the number of heads, 7"):
        ClassifierConfig(**{**CONFIG.model_dump(), "attention": (False, False), "heads": 7})
    with pytest.raises(UserError, match="noise schedule 'bumpy'"):
        NoisyClassifier(CONFIG.model_copy(update={"noise_schedule": {"name": "bumpy"}}))
    with pytest.raises(ValueError, match="images must be"):
        NoisyClassifier(CONFIG)(torch.zeros(1, 1, 16, 16), torch.tensor([0]))
    with pytest.raises(UserError, match="3 images need as many labels"):
        ClassifierTask(torch.zeros(3, 1, 8, 8), torch.zeros(2, dtype=torch.long))
    linear = Denoiser(ZeroNetwork(), NoiseSchedule.linear(), Parameterization.EPS)
    with pytest.raises(ValueError, match="classifier has the schedule NoiseSchedule.cosine"):
        ClassifierGuidance(linear, NoisyClassifier(CONFIG), torch.tensor([0]))
