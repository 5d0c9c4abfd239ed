"""The image model: sampling against a known Gaussian, one seed one image, folders."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.attributes import CAMERA, SHADOW, encode_attributes
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.models.image_model import ImageModel, ImageModelConfig
from core.models.text_encoder import TextEncoder
from core.nn.unet import UNetConfig

TINY = ImageModelConfig(size=16, network=UNetConfig(widths=(32,), blocks=(1,), attention=(True,)))


class Gaussian(nn.Module):
    """The exact v-predictor of pixels from N(mean, deviation^2); remembers the conditions it was given."""

    def __init__(self, schedule: NoiseSchedule, mean: float, deviation: float) -> None:
        super().__init__()
        self.schedule, self.mean, self.deviation = schedule, mean, deviation
        self.place = nn.Parameter(torch.zeros(()))
        self.asked: list[Condition] = []

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        self.asked.append(condition)
        alpha, sigma = self.schedule.alpha(t, x), self.schedule.sigma(t, x)
        variance = alpha**2 * self.deviation**2 + sigma**2
        x0 = self.mean + alpha * self.deviation**2 / variance * (x - alpha * self.mean)
        eps = (x - alpha * x0) / sigma
        return alpha * eps - sigma * x0


@pytest.fixture(scope="module")
def text() -> TextEncoder:
    return TextEncoder()


def random_model(text: TextEncoder) -> ImageModel:
    torch.manual_seed(0)
    denoiser = TINY.denoiser()
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.1)  # those that start at zero too
    return ImageModel(TINY, denoiser, text)


def test_samples_have_the_distribution_the_denoiser_knows(text: TextEncoder) -> None:
    schedule = NoiseSchedule.cosine()
    network = Gaussian(schedule, mean=0.2, deviation=0.15)
    model = ImageModel(
        TINY.model_copy(update={"size": 32}), Denoiser(network, schedule, Parameterization.V), text
    )
    images = model.sample(["a fox"] * 4, steps=1000, guidance=3.0)
    assert images.shape == (4, 3, 32, 32)
    assert images.mean().item() == pytest.approx(0.2, abs=0.006)  # standard error 0.0014
    assert images.std().item() == pytest.approx(0.15, rel=0.025)  # standard error 0.6%, steps 0.5%


def test_what_is_said_reaches_the_network_in_both_halves_of_guidance(text: TextEncoder) -> None:
    schedule = NoiseSchedule.cosine()
    network = Gaussian(schedule, 0.0, 1.0)
    model = ImageModel(TINY, Denoiser(network, schedule, Parameterization.V), text)
    model.sample(["a fox"], steps=1, negative="blue", azimuth=90.0, elevation=0.0, shadow=False)
    (asked,) = network.asked
    expected, mask = text(["blue", "a fox"])
    torch.testing.assert_close(asked.tokens, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(asked.mask, mask)
    for row in asked.attributes:
        torch.testing.assert_close(row[CAMERA], torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0]))
        assert row[SHADOW].tolist() == [0.0, 1.0]


def test_a_model_never_trained_without_text_is_guided_by_a_negative_prompt_only(text: TextEncoder) -> None:
    model = random_model(text)
    model.config = TINY.model_copy(update={"unconditional": False})
    with pytest.raises(UserError, match="never trained without text.* a guidance scale of 1"):
        model.sample(["a fox"], steps=1, guidance=3.0)
    assert model.sample(["a fox"], steps=1, guidance=1.0).shape == (1, 3, 16, 16)
    assert model.sample(["a fox"], steps=1, guidance=3.0, negative="a bear").shape == (1, 3, 16, 16)


def test_encode_says_nothing_unless_told(text: TextEncoder) -> None:
    model = random_model(text)
    assert not model.encode(["a fox", "a panda"]).attributes.any()
    attributes = encode_attributes(2, phase=torch.tensor([0.0, 0.5]))
    assert torch.equal(model.encode(["a fox", "a panda"], attributes).attributes, attributes)


def test_an_image_depends_on_its_own_seed_only(text: TextEncoder) -> None:
    model = random_model(text)
    both = model.sample(["a fox", "a fox"], steps=3, seeds=[7, 8])
    alone = model.sample(["a fox"], steps=3, seeds=[8])
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-4)
    assert (both[0] - both[1]).abs().mean() > 0.1
    assert torch.equal(alone, model.sample(["a fox"], steps=3, seeds=[8]))


def test_on_state_sees_every_step(text: TextEncoder) -> None:
    seen: list[tuple[int, int]] = []
    random_model(text).sample(
        ["a fox"], steps=3, on_step=lambda state: seen.append((state.step, state.steps))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_saved_model_is_the_same_to_half_precision(text: TextEncoder, tmp_path: Path) -> None:
    model = random_model(text)
    model.save(tmp_path)
    loaded = ImageModel.load(tmp_path)
    assert loaded.config == model.config
    state = loaded.denoiser.network.state_dict()
    for name, value in model.denoiser.network.state_dict().items():
        assert torch.equal(state[name], value.half().float()), name
    again = ImageModel.load(tmp_path)
    loaded.text = again.text = text
    assert torch.equal(loaded.sample(["a fox"], steps=2), again.sample(["a fox"], steps=2))


def test_a_config_of_another_network_is_refused(text: TextEncoder, tmp_path: Path) -> None:
    random_model(text).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())

    def write(**changes: object) -> None:
        (tmp_path / "config.json").write_text(json.dumps(config | changes))

    write(network=config["network"] | {"widths": [64]})
    with pytest.raises(UserError, match="do not fit their config.json"):
        ImageModel.load(tmp_path)
    write(network=config["network"] | {"widths": [33]})
    with pytest.raises(UserError, match="config.json: network: width 33"):
        ImageModel.load(tmp_path)
    write(color="red")
    with pytest.raises(UserError, match="config.json: color: "):
        ImageModel.load(tmp_path)


@pytest.mark.parametrize(
    ("prompts", "settings", "sentence"),
    [
        ([], {}, "The prompt is empty"),
        (["a fox", " "], {}, "The prompt is empty"),
        (["a fox"], {"seeds": [1, 2]}, "1 prompts need as many seeds, not 2"),
        (["a fox"], {"seeds": [-1]}, "A seed must be"),
        (["a fox"], {"steps": 0}, "steps"),
        (["a fox"], {"steps": 1001}, "steps"),
        (["a fox"], {"guidance": -1.0}, "guidance scale"),
        (["a fox"], {"guidance": float("nan")}, "guidance scale"),
        (["a fox"], {"azimuth": 10.0}, "both azimuth and elevation"),
    ],
)
def test_impossible_requests(text: TextEncoder, prompts: list[str], settings: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        random_model(text).sample(prompts, **settings)


LEARNED = {"learned_variance": True, "network": TINY.network.model_copy(update={"out_channels": 6})}


def test_a_model_with_learned_variance_is_saved_and_samples_with_guidance(
    text: TextEncoder, tmp_path: Path
) -> None:
    config = ImageModelConfig(**(dict(TINY) | LEARNED))
    torch.manual_seed(0)
    denoiser = config.denoiser()
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.1)
    ImageModel(config, denoiser, text).save(tmp_path / "model")
    model = ImageModel.load(tmp_path / "model")
    assert model.config == config and model.denoiser.learned_variance
    images = model.sample(["a fox"], steps=2, guidance=3.0)
    assert images.shape == (1, 3, 16, 16) and images.isfinite().all()
    x = torch.randn(1, 3, 16, 16)
    fraction = model.denoiser(x, torch.tensor([500]), model.encode(["a fox"])).variance_fraction
    assert fraction is not None and fraction.shape == x.shape


@pytest.mark.parametrize("key", LEARNED)
def test_learned_variance_and_the_networks_channels_must_agree(key: str) -> None:
    with pytest.raises(ValueError, match="out_channels must be 6 with learned_variance and 3 without"):
        ImageModelConfig(**(dict(TINY) | {key: LEARNED[key]}))
