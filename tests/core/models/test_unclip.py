"""unCLIP: loss against transformers, prior on a known denoiser, decoder against the image model."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.attributes import encode_attributes
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.losses import contrastive_loss
from core.models.image_model import ImageModel, ImageModelConfig
from core.models.text_encoder import TextEncoder
from core.models.unclip.contrastive import ContrastiveConfig, ContrastiveModel
from core.models.unclip.prior import DiffusionPrior, PriorConfig, with_text_embedding
from core.models.unclip.unclip_model import UnclipModel, slerp, text_difference
from core.nn.unet import UNet, UNetConfig, with_image_conditioning
from core.sampling import make_generators
from core.sampling_options import SamplingOptions
from core.training.tasks.unclip import ContrastiveTask, read_as_texts
from core.training.trainer import BareNetwork

D = 8
NETWORK = UNetConfig(widths=(32,), blocks=(1,), attention=(True,), image_width=D, image_tokens=2)
TINY = ImageModelConfig(size=16, network=NETWORK)
CONTRASTIVE = ContrastiveConfig(
    size=16, widths=(32,), blocks=(1,), attention=(True,), embedding=D, context_width=384
)
PRIOR = PriorConfig(embedding=D, width=32, layers=2)


def randomized(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with random values in place of the layers that start at zero too."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    return network


@pytest.fixture(scope="module")
def text() -> TextEncoder:
    return TextEncoder()


def condition_of(text: TextEncoder, *prompts: str) -> Condition:
    return Condition(*text(prompts), encode_attributes(len(prompts)))


def make_model(text: TextEncoder) -> UnclipModel:
    decoder = ImageModel(TINY, randomized(TINY.denoiser()), text)  # pyright: ignore[reportArgumentType]
    prior = DiffusionPrior(PRIOR, randomized(PRIOR.denoiser(), 1))  # pyright: ignore[reportArgumentType]
    contrastive = randomized(ContrastiveModel(CONTRASTIVE), 2).eval()
    return UnclipModel.combine(decoder, contrastive, prior)  # pyright: ignore[reportArgumentType]


def test_contrastive_loss_is_that_of_clip() -> None:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    layers = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    clip = CLIPModel(
        CLIPConfig(
            text_config=layers | {"vocab_size": 50, "eos_token_id": 49},
            vision_config=layers | {"image_size": 16, "patch_size": 8},
            projection_dim=D,
        )
    )
    out = clip(input_ids=torch.randint(49, (6, 5)), pixel_values=torch.randn(6, 3, 16, 16), return_loss=True)
    ours = contrastive_loss(out.image_embeds, out.text_embeds, clip.logit_scale.exp())
    torch.testing.assert_close(ours.mean(), out.loss)


class Pairs:
    """Eight random images, and their texts."""

    def __init__(self, texts: Condition) -> None:
        self.images, self.texts = torch.rand(8, 3, 16, 16), texts

    def batch(self, index: Tensor) -> tuple[Tensor, Condition]:
        return self.images[index], self.texts[index]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_the_images_is_shown_without_color(text: TextEncoder, share: float) -> None:
    model = randomized(ContrastiveModel(CONTRASTIVE), 2).eval()
    pairs = Pairs(condition_of(text, *["a fox", "a panda"] * 4))
    task, index = ContrastiveTask(pairs, share), torch.arange(8)  # pyright: ignore[reportArgumentType]
    shown = pairs.images.mean(1, keepdim=True).expand(-1, 3, -1, -1) if share else pairs.images
    expected = contrastive_loss(*model(shown, pairs.texts.tokens, pairs.texts.mask))
    torch.testing.assert_close(task.loss(BareNetwork(model), index), expected)


def test_embeddings_are_unit_vectors_of_each_row_alone(text: TextEncoder) -> None:
    model = make_model(text)
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    embeddings = model.embed_images(images)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(model.embed_images(images[1:2])[0], embeddings[1])
    texts = model.embed_texts(["a fox", "a panda on a swing in the snow"])
    torch.testing.assert_close(model.embed_texts(["a fox"])[0], texts[0])  # padding changes nothing


def test_an_image_that_is_not_given_leaves_the_former_network(text: TextEncoder) -> None:
    torch.manual_seed(0)
    former = UNet(NETWORK.model_copy(update={"image_width": None}))
    randomized(former)
    network = UNet(NETWORK)
    network.load_state_dict(with_image_conditioning(network, former.state_dict()))
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([10, 700])
    plain = condition_of(text, "a fox", "a panda on a swing")
    expected = former(x, t, plain)
    zeros = Condition(plain.tokens, plain.mask, plain.attributes, image=torch.zeros(2, D))
    assert torch.equal(network(x, t, plain), expected)
    torch.testing.assert_close(network(x, t, zeros), expected)
    image = torch.stack([torch.zeros(D), torch.ones(D)])
    out = network(x, t, Condition(plain.tokens, plain.mask, plain.attributes, image=image))
    torch.testing.assert_close(out[0], expected[0])
    assert (out[1] - expected[1]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="image embeddings are 3 wide"):
        network(x, t, Condition(plain.tokens, plain.mask, plain.attributes, image=torch.ones(2, 3)))


def test_the_prior_reads_its_text_and_no_padding(text: TextEncoder) -> None:
    model = make_model(text)
    network, x, t = model.prior.denoiser.network, torch.randn(1, D), torch.tensor([300])
    alone = with_text_embedding(condition_of(text, "a fox"), model.contrastive)
    padded = with_text_embedding(condition_of(text, "a fox", "a panda on a swing"), model.contrastive)
    expected = network(x, t, alone)
    torch.testing.assert_close(network(x.expand(2, -1), t.expand(2), padded)[:1], expected)
    assert (network(x.expand(2, -1), t.expand(2), padded)[1] - expected[0]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="condition.pooled"):
        network(x, t, condition_of(text, "a fox"))


class Echo(nn.Module):
    """Predicts that x_t is clean, so that one step returns the noise it began with."""

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return x


def test_the_prior_keeps_the_candidate_nearest_to_the_text(text: TextEncoder) -> None:
    model = make_model(text)
    condition = with_text_embedding(condition_of(text, "a fox", "a panda"), model.contrastive)
    prior = DiffusionPrior(PRIOR, Denoiser(Echo(), NoiseSchedule.cosine(), Parameterization.X0))
    options = SamplingOptions(1, 1.0)
    seeds = [3, 4]
    found = prior.sample(condition, condition[0], make_generators(["-"] * 2, seeds), options, candidates=5)
    texts = model.embed_texts(["a fox", "a panda"]).detach()
    for row, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed)
        noises = F.normalize(torch.stack([torch.randn(D, generator=generator) for _ in range(5)]), dim=1)
        nearest = max(noises, key=lambda noise: (noise @ texts[row]).item())
        torch.testing.assert_close(found[row], nearest)


def test_slerp_moves_on_the_circle_at_constant_speed() -> None:
    first, second = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    shares = torch.tensor([0.0, 0.25, 1.0])
    expected = [[math.cos(share * math.pi / 2), math.sin(share * math.pi / 2)] for share in shares.tolist()]
    torch.testing.assert_close(slerp(first, second, shares), torch.tensor(expected))
    torch.testing.assert_close(slerp(first, first, shares), first.expand(3, -1))


def test_a_text_difference_turns_by_its_share_of_the_angle() -> None:
    image, before, after = torch.eye(3)
    turned = text_difference(image, before, after, 0.25)
    assert math.acos(float(turned @ image)) == pytest.approx(0.25 * math.pi / 2, abs=1e-6)
    assert turned[2] > 0 > turned[1]


def test_samples_depend_on_their_seed_alone(text: TextEncoder) -> None:
    model = make_model(text)
    arguments = {"steps": 2, "guidance": 2.0}
    both = model.sample(["a fox", "a panda on a swing"], seeds=[5, 6], **arguments)
    torch.testing.assert_close(model.sample(["a panda on a swing"], seeds=[6], **arguments)[0], both[1])
    varied = model.sample_embeddings(model.embed_images(both), SamplingOptions(2, 2.0), [0, 1])
    assert varied.shape == both.shape
    assert not torch.equal(varied[0], varied[1])


def test_a_folder_holds_all_three(text: TextEncoder, tmp_path: Path) -> None:
    model = make_model(text)
    model.save(tmp_path / "unclip")
    assert UnclipModel.exists_at(tmp_path / "unclip")
    loaded = UnclipModel.load(tmp_path / "unclip")
    expected = model.sample(["a fox"], steps=1)
    assert (loaded.sample(["a fox"], steps=1) - expected).abs().max() < 0.05  # float16 weights
    model.save(tmp_path / "bytes", int8=True)
    weights = [
        sum(path.stat().st_size for path in (tmp_path / name).rglob("*")) for name in ("bytes", "unclip")
    ]
    assert weights[0] < 0.7 * weights[1]
    assert (UnclipModel.load(tmp_path / "bytes").sample(["a fox"], steps=1) - expected).abs().max() < 0.2
    narrow = PRIOR.model_copy(update={"embedding": 4})
    other = DiffusionPrior(narrow, narrow.denoiser())
    with pytest.raises(UserError, match="the decoder 8, the contrastive model 8, the prior 4"):
        UnclipModel.combine(loaded, loaded.contrastive, other)


def test_embeddings_are_read_as_the_texts_that_they_determine() -> None:
    torch.manual_seed(0)
    network = UNet(NETWORK)
    randomized(network)
    parts = torch.randn(2, 384, D)  # one linear map for each token of a text
    images = F.normalize(torch.randn(200, D), dim=1)
    tokens = torch.einsum("kcd,nd->nkc", parts, images)
    pairs = tokens.repeat_interleave(2, dim=1)  # texts of four tokens: each half is one token twice
    mask = torch.ones(200, 4, dtype=torch.bool)
    texts = Condition(
        F.pad(pairs, (0, 0, 0, 1), value=9.0), F.pad(mask, (0, 1)), encode_attributes(200), image=images
    )
    empty = Condition(torch.zeros(1, 1, 384), torch.ones(1, 1, dtype=torch.bool), encode_attributes(1))
    read_as_texts(network, texts, empty, ridge=1e-7)
    assert network.image
    added, read, given = network.image(images)
    torch.testing.assert_close(read, network.context_norm(tokens), atol=1e-3, rtol=1e-3)
    assert given.all()
    embedding = network.embedding
    pooled = [embedding.text(embedding.text_norm(each.mean(1))) for each in (pairs, empty.tokens)]
    wanted = pooled[0] - pooled[1]
    assert (added - wanted).norm() < 0.5 * wanted.norm()  # the norm of the pooled text is not linear
    with pytest.raises(ValueError, match="must have image embeddings"):
        read_as_texts(network, empty, empty)
