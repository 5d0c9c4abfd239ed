"""The video model: the image model frame by frame until trained, the noise of its frames, folders."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from core.attributes import CAMERA, PHASE, encode_attributes
from core.errors import UserError
from core.models.image_model import ImageModel, ImageModelConfig
from core.models.text_encoder import TextEncoder
from core.nn.unet import UNetConfig
from core.samplers import noise_like
from core.sampling import sample_latents
from core.sampling_options import SamplingOptions
from video.sampling.clip_tensors import clip_attributes, mixed_noise
from video.video_folder import VideoModelConfig
from video.video_model import VideoModel

IMAGE = ImageModelConfig(size=16, network=UNetConfig(widths=(32,), blocks=(1,), attention=(True,)))
CONFIG = VideoModelConfig(image=IMAGE, loop=16)


@pytest.fixture(scope="module")
def text() -> TextEncoder:
    return TextEncoder()


@pytest.fixture(scope="module")
def image(text: TextEncoder) -> ImageModel:
    torch.manual_seed(0)
    denoiser = IMAGE.denoiser()
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.1)
    return ImageModel(IMAGE, denoiser, text)


@pytest.fixture
def trained(text: TextEncoder) -> VideoModel:
    """Whose temporal layers do something."""
    torch.manual_seed(1)
    denoiser = CONFIG.denoiser()
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.1)
    return VideoModel(CONFIG, denoiser, text)


def test_untrained_it_draws_each_frame_as_the_image_model_does(image: ImageModel) -> None:
    prompt, frames = "a panda on a swing", 5
    clip = VideoModel(CONFIG, CONFIG.inflate(image.denoiser), image.text).sample(
        [prompt], frames=frames, steps=3, guidance=2.0, seeds=[3], phase=0.25, noise_share=0.3
    )
    assert clip.shape == (1, 3, frames, 16, 16)

    generator = [torch.Generator().manual_seed(3)]
    common, own = noise_like((1, 3, 1, 16, 16), generator), noise_like((1, 3, frames, 16, 16), generator)
    noise = (0.3**0.5 * common + 0.7**0.5 * own)[0].transpose(0, 1)
    attributes = encode_attributes(frames, phase=0.25 + torch.arange(frames) / 16)
    condition = image.encode([prompt] * frames, attributes)
    options = SamplingOptions(steps=3, guidance_scale=2.0)
    expected = sample_latents(image.denoiser, noise, condition, image.encode([""]), options, [])
    torch.testing.assert_close(clip[0].transpose(0, 1), expected, rtol=0, atol=1e-4)


def test_a_clip_depends_on_its_own_seed_only(trained: VideoModel) -> None:
    both = trained.sample(["a fox", "a fox"], frames=3, steps=2, seeds=[7, 8])
    alone = trained.sample(["a fox"], frames=3, steps=2, seeds=[8])
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-4)
    assert (both[0] - both[1]).abs().mean() > 0.05


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_frames_share_as_much_noise_as_asked(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(4, 3, 1, 40, 40, generator=generator)
    own = torch.randn(4, 3, 6, 40, 40, generator=generator)
    frames = mixed_noise(common, own, share).transpose(0, 2).flatten(1).double()  # 19,200 values each
    expected = torch.full((6, 6), share).fill_diagonal_(1.0).double()
    torch.testing.assert_close(torch.cov(frames), expected, rtol=0, atol=0.04)


def test_a_given_image_is_the_first_frame_and_leads_the_others(trained: VideoModel) -> None:
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    settings = {"frames": 3, "steps": 3, "seeds": [4]}
    plain = trained.sample(["a fox"], **settings)
    alone = trained.sample(["a fox"], **settings, image=picture, image_scale=0.0)
    led = trained.sample(["a fox"], **settings, image=picture)
    for clip in (alone, led):
        torch.testing.assert_close(clip[:, :, 0], picture)
    assert (alone - plain)[:, :, 1:].abs().max() > 1e-3
    assert (led - alone)[:, :, 1:].abs().max() > 1e-3


def test_phase_goes_on_from_frame_to_frame_and_the_camera_stays() -> None:
    rows = clip_attributes(
        2, 3, torch.tensor([1 / 16, 1 / 8]), torch.tensor([0.0, 0.5]), azimuth=90.0, elevation=0.0
    )
    assert rows.shape == (2, 3, 10)
    phases = torch.tensor([[0, 1 / 16, 2 / 16], [1 / 2, 5 / 8, 3 / 4]])
    turn = 2 * torch.pi * phases
    expected = torch.stack([turn.sin(), turn.cos(), torch.ones(2, 3)], dim=-1)
    torch.testing.assert_close(rows[..., PHASE], expected)
    torch.testing.assert_close(rows[..., CAMERA], torch.tensor([1.0, 0, 0, 1, 1]).expand(2, 3, 5))
    assert not clip_attributes(2, 3, 1 / 16, None)[..., PHASE].any()


def test_round_trip(trained: VideoModel, tmp_path: Path) -> None:
    trained.save(tmp_path)
    loaded = VideoModel.load(tmp_path)
    assert loaded.config == trained.config
    state = loaded.denoiser.network.state_dict()
    for name, value in trained.denoiser.network.state_dict().items():
        assert torch.equal(state[name], value.half().float()), name


def test_image_weights_that_did_not_change_are_stored_once(image: ImageModel, tmp_path: Path) -> None:
    image.save(tmp_path / "image")
    denoiser = CONFIG.inflate(ImageModel.load(tmp_path / "image").denoiser)
    for parameter in denoiser.network.temporal.parameters():
        nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        denoiser.network.image.stem.bias += 1.0
    model = VideoModel(CONFIG, denoiser)
    model.save(tmp_path / "whole")
    model.save(tmp_path / "video", base=tmp_path / "image")

    def size(name: str) -> int:
        return (tmp_path / name / "model.safetensors").stat().st_size

    assert size("video") < size("whole") - 0.9 * size("image")
    (tmp_path / "moved").mkdir()
    for name in ("image", "video"):
        shutil.move(tmp_path / name, tmp_path / "moved" / name)
    whole = VideoModel.load(tmp_path / "whole").denoiser.network.state_dict()
    apart = VideoModel.load(tmp_path / "moved" / "video").denoiser.network.state_dict()
    assert whole.keys() == apart.keys()
    for name, value in whole.items():
        assert torch.equal(value, apart[name]), name


def test_another_image_model_below_is_refused(image: ImageModel, tmp_path: Path) -> None:
    image.save(tmp_path / "image")
    VideoModel(CONFIG, CONFIG.inflate(image.denoiser)).save(tmp_path / "video", base=tmp_path / "image")
    torch.manual_seed(5)
    ImageModel(IMAGE, IMAGE.denoiser()).save(tmp_path / "image")
    with pytest.raises(UserError, match="rests on another image model than ../image"):
        VideoModel.load(tmp_path / "video")
    shutil.rmtree(tmp_path / "image")
    with pytest.raises(UserError, match="There is no model in .*image"):
        VideoModel.load(tmp_path / "video")


def test_damaged_configs_are_refused(trained: VideoModel, tmp_path: Path) -> None:
    trained.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model": config["model"] | {"loop": 0}}))
    with pytest.raises(UserError, match="config.json: loop: input should be greater than or equal to 1"):
        VideoModel.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"base": {"folder": "x"}}))
    with pytest.raises(UserError, match="config.json: sha256: field required"):
        VideoModel.load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"frames": 0}, "at least one frame"),
        ({"noise_share": 1.0}, r"share of noise .* must be in \[0, 1\)"),
        ({"noise_share": float("nan")}, "share of noise"),
        ({"steps": 0}, "steps"),
        ({"seeds": []}, "need as many seeds"),
        ({"elevation": 3.0}, "both azimuth and elevation"),
        ({"image": torch.zeros(1, 3, 8, 8)}, r"image must be \(1,3,16,16\)"),
    ],
)
def test_impossible_requests(trained: VideoModel, settings: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        trained.sample(["a fox"], **settings)


def test_a_model_never_trained_without_text_needs_a_negative(
    trained: VideoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = trained.config.image.model_copy(update={"unconditional": False})
    monkeypatch.setattr(trained, "config", trained.config.model_copy(update={"image": image}))
    with pytest.raises(UserError, match="never trained without text"):
        trained.sample(["a fox"], frames=1, steps=1)
    assert trained.sample(["a fox"], frames=1, steps=1, negative="a bear").shape[2] == 1
