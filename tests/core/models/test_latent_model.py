"""Image models on latents: shapes, sampling to pixels, model folders, and cached latents of shards."""

import json
import os
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.io.presets import load_preset
from core.io.weights import write_tensors
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.models.image_model import ImageModel, ImageModelConfig, decode_latents
from core.models.text_encoder import TextEncoder
from core.nn.unet import UNetConfig
from core.training import latents as latents_module
from core.training.data import Captions, ConditionDropout, ImageData, Shards, latents_path
from core.training.latents import encode_shards
from core.training.tasks.autoencoders import AutoencoderPreset
from core.training.tasks.images import ImagePreset, ImageTask

STAGE = AutoencoderConfig(size=16, latent_channels=4, widths=(8, 16), decoder_blocks=(1, 1))
NETWORK = UNetConfig(in_channels=4, patch=1, widths=(32,), blocks=(1,), attention=(True,))
CONFIG = ImageModelConfig(size=16, network=NETWORK, clip=None, first_stage=STAGE)
CAPTIONS = Captions.from_states([torch.ones(2, 384), torch.zeros(3, 384), torch.ones(1, 384)])


@pytest.fixture(scope="module")
def text() -> TextEncoder:
    return TextEncoder()


@pytest.fixture(scope="module")
def stage() -> Autoencoder:
    torch.manual_seed(0)
    autoencoder = Autoencoder(STAGE).eval().requires_grad_(False)
    for parameter in autoencoder.parameters():
        nn.init.normal_(parameter, std=0.1)
    autoencoder.fit_statistics([torch.rand(8, 3, 16, 16) * 2 - 1])
    return autoencoder


@pytest.fixture(scope="module")
def model(text: TextEncoder, stage: Autoencoder) -> ImageModel:
    torch.manual_seed(1)
    denoiser = CONFIG.denoiser()
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.1)
    return ImageModel(CONFIG, denoiser, text, stage)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"clip": 1.0}, "clip must be null with a first_stage"),
        ({"size": 32}, "size is 32, but first_stage.size is 16"),
        ({"network": NETWORK.model_copy(update={"in_channels": 3})}, "in_channels must be 4, not 3"),
        ({"network": NETWORK.model_copy(update={"patch": 8})}, "multiples of 8, not 4"),
        ({"first_stage": None}, "in_channels must be 3, not 4"),
    ],
)
def test_inconsistent_configs_raise_validation_error(changes: dict, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        ImageModelConfig.model_validate(dict(CONFIG) | changes)


def test_the_bundled_presets_are_consistent() -> None:
    model = load_preset("bundled-image", ImagePreset).model
    assert model.first_stage == load_preset("autoencoder-64", AutoencoderPreset).model
    assert model.shape == (16, 16, 16)


class OptimalNetwork(nn.Module):
    """The optimal v-predictor for data that always equal `x0` (C,h,w)."""

    def __init__(self, x0: Tensor, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.x0, self.schedule = nn.Parameter(x0), schedule

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        alpha, sigma = self.schedule.alpha(t, x), self.schedule.sigma(t, x)
        return alpha * (x - alpha * self.x0) / sigma - sigma * self.x0


def test_samples_are_the_pictures_of_the_latents_the_network_knows(
    text: TextEncoder, stage: Autoencoder
) -> None:
    data_latents = 3 * torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(0))  # far beyond [-1, 1]
    schedule = NoiseSchedule.cosine()
    denoiser = Denoiser(OptimalNetwork(data_latents, schedule), schedule, Parameterization.V)
    model = ImageModel(CONFIG, denoiser, text, stage)
    previews = []
    samples = model.sample(["a fox"], steps=4, on_step=lambda state: previews.append(model.decode(state.x0)))
    expected = stage.decode(data_latents[None])
    assert samples.shape == (1, 3, 16, 16) and expected.std() > 0.05
    torch.testing.assert_close(samples, expected.clamp(-1, 1), atol=1e-3, rtol=0)
    for preview in previews:  # previews are decoded images too
        torch.testing.assert_close(preview, samples, atol=1e-2, rtol=0)


def test_decoded_images_are_clamped(stage: Autoencoder) -> None:
    images = decode_latents(100 * torch.randn(2, 4, 4, 4), stage)
    assert images.shape == (2, 3, 16, 16) and images.min() == -1 and images.max() == 1
    pixels = 2 * torch.randn(2, 3, 4, 4)
    assert torch.equal(decode_latents(pixels, None), pixels.clamp(-1, 1))


def test_a_saved_model_includes_its_first_stage(model: ImageModel, text: TextEncoder, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = ImageModel.load(tmp_path)
    assert loaded.config == CONFIG and loaded.first_stage
    for ours, theirs in ((loaded.first_stage, model.first_stage), (loaded.denoiser, model.denoiser)):
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value.half().float()), name
    assert loaded.first_stage.fingerprint == model.first_stage.fingerprint
    loaded.text = text
    samples = loaded.sample(["a fox"], steps=2)
    assert samples.shape == (1, 3, 16, 16) and samples.isfinite().all()

    config = json.loads((tmp_path / "config.json").read_text())
    config["first_stage"]["decoder_blocks"] = [2, 1]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="do not fit their config.json"):
        ImageModel.load(tmp_path)


def test_a_model_with_another_first_stage_than_its_config_raises_value_error(
    model: ImageModel, stage: Autoencoder
) -> None:
    with pytest.raises(ValueError, match="not the one of the config"):
        ImageModel(CONFIG, model.denoiser, model.text)
    pixels = ImageModelConfig(size=16, network=UNetConfig(widths=(32,), blocks=(1,), attention=(True,)))
    with pytest.raises(ValueError, match="not the one of the config"):
        ImageModel(pixels, pixels.denoiser(), model.text, stage)


def write_shard(path: Path, count: int, seed: int, *frames: int) -> None:
    columns = {name: torch.rand(count) for name in ("azimuth", "elevation", "phase")}
    columns |= {name: torch.arange(count) % 2 for name in ("caption", "shadow")}
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, *frames, 3, 16, 16), generator=random)
    save_file({"pixels": pixels.to(torch.uint8), **columns}, path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(2)
    write_shard(tmp_path / "images-00000.safetensors", 5, 0)
    write_shard(tmp_path / "images-00001.safetensors", 3, 1)
    write_shard(tmp_path / "clips-00000.safetensors", 2, 2, 4)
    return tmp_path


def test_training_sees_what_encoding_on_the_fly_gives(
    folder: Path, stage: Autoencoder, model: ImageModel
) -> None:
    data = {}
    for latents in (False, True):
        names = (
            [encode_shards(folder, kind, stage) for kind in ("images", "clips")] if latents else [None] * 2
        )
        sources = [Shards(folder, k, latents=n) for k, n in zip(("images", "clips"), names, strict=True)]
        data[latents] = ImageData(sources, CAPTIONS, ConditionDropout())
    assert len(data[True]) == len(data[False]) == 8 + 2 * 4

    index = torch.tensor([7, 0, 4, 5, 8, 15])  # both shards of images, and frames of both clips
    torch.manual_seed(0)
    pixels, condition = data[False].batch(index)
    torch.manual_seed(0)
    latents, cached_condition = data[True].batch(index)
    on_the_fly = stage.to_latents(pixels)
    assert latents.dtype == torch.float32
    torch.testing.assert_close(latents, on_the_fly, rtol=2**-10, atol=1e-5)  # half precision
    assert torch.equal(condition.attributes, cached_condition.attributes) and torch.equal(
        condition.tokens, cached_condition.tokens
    )

    torch.manual_seed(0)
    loss = ImageTask(data[True]).loss(model.denoiser, index)

    class OnTheFly(ImageData):
        def batch(self, index: Tensor) -> tuple[Tensor, Condition]:
            pixels, condition = super().batch(index)
            return stage.to_latents(pixels), condition

    torch.manual_seed(0)
    expected = ImageTask(OnTheFly(data[False].sources, CAPTIONS, ConditionDropout())).loss(
        model.denoiser, index
    )
    torch.testing.assert_close(loss, expected, rtol=2e-3, atol=0)

    frames = torch.tensor([[3, 0], [1, 1]])
    clips = data[False].sources[1].pixels(torch.tensor([1, 0]), frames)
    encoded = data[True].sources[1].pixels(torch.tensor([1, 0]), frames)
    assert encoded.shape == (2, 4, 2, 4, 4)
    for frame in range(2):
        expected = stage.to_latents(clips[:, :, frame])
        torch.testing.assert_close(encoded[:, :, frame], expected, rtol=2**-10, atol=1e-5)


def test_shards_are_encoded_again_only_if_they_or_the_encoder_change(
    folder: Path, stage: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def write(path: Path, tensors: dict, metadata: dict) -> None:
        written.append(path.name.split("-")[3][:5])
        write_tensors(path, tensors, metadata)

    monkeypatch.setattr(latents_module, "write_tensors", write)
    progress: list[tuple[int, int]] = []
    name = encode_shards(folder, "images", stage, lambda done, count: progress.append((done, count)))
    assert written == ["00000", "00001"] and progress == [(1, 2), (2, 2)]
    assert encode_shards(folder, "images", stage) == name and len(written) == 2
    second = folder / "images-00001.safetensors"
    latents_path(second, name).write_bytes(b"cut")
    encode_shards(folder, "images", stage)
    assert written[2:] == ["00001"]
    os.utime(second, ns=(0, 0))
    encode_shards(folder, "images", stage)
    assert written[3:] == ["00001"]
    other = Autoencoder(STAGE)
    assert encode_shards(folder, "images", other) != name
    assert written[4:] == ["00000", "00001"]
    assert len(Shards(folder, "images")) == 8  # cached latents do not count as shards


def test_missing_latents_and_wrong_sizes_raise_user_error(folder: Path, stage: Autoencoder) -> None:
    with pytest.raises(UserError, match="latents-abc-images-00000.safetensors"):
        Shards(folder, "images", latents="abc")
    with pytest.raises(UserError, match="are 16 pixels wide, the first stage takes 64"):
        encode_shards(folder, "images", Autoencoder(AutoencoderConfig()))
    name = encode_shards(folder, "images", stage)
    write_shard(folder / "images-00001.safetensors", 4, 1)
    with pytest.raises(UserError, match="are of another shard: encode it again"):
        Shards(folder, "images", latents=name)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_decoder_that_overflows_is_refused_and_not_drawn_black_or_white(
    model: ImageModel, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    assert model.first_stage
    whole = model.first_stage.decode
    monkeypatch.setattr(model.first_stage, "decode", lambda x: whole(x) * value)
    with pytest.raises(UserError, match="The first stage's output is not finite: .* another dtype"):
        model.sample(["a fox"], steps=2, guidance=1.0)
