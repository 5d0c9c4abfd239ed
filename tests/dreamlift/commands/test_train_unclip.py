"""`dreamlift train contrastive`, `prior` and `image --contrastive`, and drawing with the three."""

from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from core.errors import UserError
from core.io.weights import load_folder
from core.models.image_model import ImageModel
from core.models.unclip.contrastive import ContrastiveModel
from core.models.unclip.unclip_model import UnclipModel
from core.pretrained.image_model import load_image_model
from core.training import checkpoint
from core.training.monitoring import run_log
from dreamlift.commands.training import train
from dreamlift.commands.training.export import export_command
from dreamlift.commands.training.run_folder import image_model
from dreamlift.commands.training.train_unclip import train_contrastive_command, train_prior_command
from dreamlift.commands.variations import blend_command, edit_command, vary_command
from dreamlift.text_to_image import TextToImage

SIZE = 16
TRAINING = {"batch_size": 8, "compile": False, "log_steps": 1, "warmup_steps": 0, "learning_rate": 3e-3}
CONTRASTIVE = {"size": SIZE, "widths": [32], "blocks": [1], "attention": [True], "embedding": 8}
PRIOR = {"embedding": 8, "width": 32, "layers": 1}
DECODER = {"size": SIZE, "network": {"widths": [32], "blocks": [1], "attention": [True]}}
COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain pictures of four colors, each with its caption."""
    folder = tmp_path_factory.mktemp("data")
    caption = torch.arange(32) % len(COLORS)
    pixels = torch.tensor([*COLORS.values()], dtype=torch.uint8)[caption]
    zeros = torch.zeros(len(caption))
    shard = {"pixels": pixels[:, :, None, None].expand(-1, -1, SIZE, SIZE).contiguous(), "caption": caption}
    shard |= {name: zeros.clone() for name in ("azimuth", "elevation", "phase")}
    save_file(shard | {"shadow": zeros.to(torch.uint8)}, folder / "images-00000.safetensors")
    (folder / "captions.txt").write_text("".join(f"a {name} square\n" for name in COLORS))
    return folder


def preset(folder: Path, **values: object) -> str:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({"training": TRAINING} | values))
    return str(path)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs and folders of all three: contrastive, prior, decoder."""
    folder = tmp_path_factory.mktemp("unclip")
    train_contrastive_command(
        data, folder / "c-run", folder / "contrastive", preset(folder, model=CONTRASTIVE), steps=40
    )
    arguments = data, folder / "p-run", folder / "prior", folder / "contrastive"
    train_prior_command(*arguments, preset=preset(folder, model=PRIOR), steps=2)
    decoder = preset(folder, model=DECODER, monitoring={"validation": 0.25})
    train.image(data, folder / "run", preset=decoder, steps=5, contrastive=folder / "contrastive")
    return folder


def test_the_contrastive_model_recognizes_what_it_was_trained_on(trained: Path, data: Path) -> None:
    model = ContrastiveModel.load(trained / "contrastive")
    losses = [row["loss"] for row in run_log.read(trained / "c-run")]
    assert losses[-1] < losses[0] / 2
    pixels = torch.tensor([*COLORS.values()]).float()[:, :, None, None].expand(-1, -1, SIZE, SIZE)
    decoder = image_model(trained / "run")
    texts = model.embed_texts(*decoder.text([f"a {name} square" for name in COLORS]))
    assert (model.embed_images(pixels / 127.5 - 1) @ texts.T).argmax(1).tolist() == [0, 1, 2, 3]


def test_the_decoder_is_an_image_model_that_reads_embeddings(trained: Path) -> None:
    decoder = image_model(trained / "run")
    assert decoder.config.network.image_width == CONTRASTIVE["embedding"]
    ema = checkpoint.read_ema(trained / "run")
    assert ema["image.added.weight"].abs().max() > 0  # it begins at zero
    assert "validation" in run_log.read(trained / "run")[-1]


@pytest.fixture(scope="module")
def model(trained: Path) -> Path:
    """The exported model."""
    parts = {"contrastive": trained / "contrastive", "prior": trained / "prior"}
    export_command(trained / "run", trained / "model", **parts)
    with pytest.raises(UserError, match="give both --contrastive and --prior"):
        export_command(trained / "run", trained / "other", prior=parts["prior"])
    return trained / "model"


def test_commands_draw_with_it(model: Path, tmp_path: Path) -> None:
    assert isinstance(load_image_model(model), UnclipModel)
    picture = TextToImage.from_pretrained(model)("a red square", num_inference_steps=2)
    picture.save(tmp_path / "red.png")
    Image.new("RGB", (40, 30), "blue").save(tmp_path / "blue.png")
    vary_command(tmp_path / "red.png", model, 2, f"{tmp_path}/vary/")
    blend_command(tmp_path / "red.png", tmp_path / "blue.png", model, 3, f"{tmp_path}/blend/")
    edit_command(tmp_path / "red.png", "a red square", "a blue square", model, 2, f"{tmp_path}/edit/")
    counts = {name: len([*(tmp_path / name).glob("*.png")]) for name in ("vary", "blend", "edit")}
    assert counts == {"vary": 2, "blend": 3, "edit": 2}
    Image.new("RGBA", (40, 30), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    for name, more in (("blue", {}), ("clear", {"background": "blue"})):
        vary_command(tmp_path / f"{name}.png", model, 1, f"{tmp_path}/{name}-varied.png", **more)
    assert (tmp_path / "clear-varied.png").read_bytes() == (tmp_path / "blue-varied.png").read_bytes()
    with pytest.raises(UserError, match="The two texts are equal"):
        edit_command(tmp_path / "red.png", "a fox", "a fox ", model, 2, f"{tmp_path}/edit/")
    with pytest.raises(UserError, match="holds no unCLIP model"):
        vary_command(tmp_path / "red.png", tmp_path, 2, f"{tmp_path}/none/")


def test_what_does_not_fit_is_refused(trained: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="embeddings of width 4, but those of the model in .* have 8"):
        narrow = preset(tmp_path, model=PRIOR | {"embedding": 4})
        train_prior_command(
            data, tmp_path / "run", tmp_path / "out", trained / "contrastive", preset=narrow, steps=1
        )
    other = ContrastiveModel(ContrastiveModel.load(trained / "contrastive").config)
    other.save(tmp_path / "other")
    with pytest.raises(UserError, match="was started with another contrastive model"):
        train_prior_command(
            data, trained / "p-run", tmp_path / "out", tmp_path / "other", steps=3, resume=True
        )


@pytest.fixture(scope="module")
def plain(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image model that reads no embeddings, of the decoder's shape."""
    torch.manual_seed(0)
    start = image_model(trained / "run")
    network = start.config.network.model_copy(update={"image_width": None})
    config = start.config.model_copy(update={"network": network})
    folder = tmp_path_factory.mktemp("plain")
    ImageModel(config, config.denoiser(), start.text).save(folder)
    return folder


def test_a_decoder_may_be_low_rank_changes(trained: Path, plain: Path, data: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "model"
    start = {"init": plain, "rank": 2, "contrastive": trained / "contrastive"}
    train.image(data, run, preset=preset(tmp_path), steps=4, **start)
    parts = {"contrastive": trained / "contrastive", "prior": trained / "prior"}
    export_command(run, out, int8=True, **parts)
    stored = load_folder(out)
    assert stored.tensors["image.tokens.weight"].abs().max() > 0
    assert all(name.startswith("image.") or name.endswith((".down", ".up")) for name in stored.tensors)
    loaded, trained_weights = UnclipModel.load(out), image_model(run).denoiser.network.state_dict()
    for name, value in loaded.denoiser.network.state_dict().items():
        expected = trained_weights[name]
        assert (value - expected).abs().max() < 0.01 * max(1.0, expected.abs().max().item()), name
    embedded = loaded.contrastive.embed_images(torch.ones(1, 3, SIZE, SIZE))
    whole = ContrastiveModel.load(trained / "contrastive").embed_images(torch.ones(1, 3, SIZE, SIZE))
    assert embedded @ whole.T > 0.999


def test_a_decoder_starts_as_the_image_model(trained: Path, plain: Path, data: Path, tmp_path: Path) -> None:
    train.image(
        data,
        tmp_path / "run",
        init=plain,
        preset=preset(tmp_path, training=TRAINING | {"learning_rate": 1e-12}, model=DECODER),
        steps=1,
        contrastive=trained / "contrastive",
    )
    begun, before = image_model(tmp_path / "run"), ImageModel.load(plain)
    for name, value in before.denoiser.network.state_dict().items():
        torch.testing.assert_close(begun.denoiser.network.state_dict()[name], value, atol=1e-6, rtol=0)
