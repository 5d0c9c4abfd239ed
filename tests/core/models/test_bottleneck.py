"""The codebook: nearest codes, straight-through gradient, and the update of the codes."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.spatial.distance import cdist
from torch import Tensor

from core.condition import Condition
from core.losses import simple_loss
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.models.bottleneck import DEAD, DECAY, Quantized, VectorQuantizer, perplexity
from core.models.image_model import ImageModel, ImageModelConfig
from core.nn.unet import UNetConfig

STAGE = AutoencoderConfig(
    size=16, latent_channels=4, widths=(8, 16), decoder_blocks=(1, 1), bottleneck="vq", codes=12
)


def points(latents: Tensor) -> np.ndarray:
    """(B,C,h,w) -> (B*h*w,C), float64."""
    return latents.detach().double().permute(0, 2, 3, 1).reshape(-1, latents.shape[1]).numpy()


@pytest.fixture
def quantizer() -> VectorQuantizer:
    torch.manual_seed(0)
    return VectorQuantizer(4, 12)


def test_every_position_is_quantized_to_its_nearest_code(quantizer: VectorQuantizer) -> None:
    encoded = torch.randn(3, 4, 5, 6)
    quantized = quantizer.eval()(encoded)
    nearest = cdist(points(encoded), quantizer.codes.numpy()).argmin(1)
    assert np.array_equal(quantized.index.flatten().numpy(), nearest)
    assert np.array_equal(points(quantized.nearest), quantizer.codes.double().numpy()[nearest])
    torch.testing.assert_close(quantizer.quantize(encoded), quantized.nearest)
    assert torch.equal(quantized.mean, encoded) and torch.equal(quantized.sample(), encoded)


def test_the_gradient_is_straight_through(quantizer: VectorQuantizer) -> None:
    encoded = torch.randn(2, 4, 3, 3, requires_grad=True)
    quantized = quantizer.quantize(encoded)
    weight = torch.randn_like(quantized)
    (quantized.square() * weight).sum().backward()
    # As if the codes were the encoder's output: 2 code weight, not 2 encoded weight.
    torch.testing.assert_close(encoded.grad, 2 * quantized.detach() * weight)


def test_commitment_pulls_the_encoder_only(quantizer: VectorQuantizer) -> None:
    encoded = torch.randn(2, 4, 3, 3, requires_grad=True)
    quantized = quantizer.eval()(encoded)
    commitment = quantized.commitment_loss()
    distances = cdist(points(encoded), quantizer.codes.numpy()).min(1).reshape(2, 9)
    np.testing.assert_allclose(commitment.detach(), (distances**2).sum(1) / (4 * 9), rtol=1e-5)
    commitment.sum().backward()
    torch.testing.assert_close(encoded.grad, 2 * (encoded.detach() - quantized.nearest) / (4 * 9))
    assert not quantized.nearest.requires_grad


def test_codes_are_moving_averages_of_those_that_chose_them() -> None:
    torch.manual_seed(0)
    quantizer = VectorQuantizer(4, 3).train()
    quantizer.usage.fill_(1 / 3)
    counts, sums = np.full(3, 1 / 3), quantizer.codes.double().numpy() / 3
    for _ in range(5):
        encoded = torch.randn(4, 4, 2, 2, requires_grad=True)
        nearest = cdist(points(encoded), sums / counts[:, None]).argmin(1)
        for code in range(3):  # van den Oord et al., equations 6 to 8, of shares instead of counts
            assigned = points(encoded)[nearest == code]
            counts[code] = DECAY * counts[code] + (1 - DECAY) * len(assigned) / 16
            sums[code] = DECAY * sums[code] + (1 - DECAY) * assigned.sum(0) / 16
        quantizer(encoded)
    np.testing.assert_allclose(quantizer.usage, counts, rtol=1e-5)
    np.testing.assert_allclose(quantizer.codes, sums / counts[:, None], rtol=1e-4, atol=1e-6)


def test_codebook_and_perplexity_of_a_mixture_of_points() -> None:
    """Six points far away, with known shares: each gets a code, and the other codes remain unused."""
    torch.manual_seed(0)
    quantizer = VectorQuantizer(4, 16).train()
    assert quantizer.codes.abs().max() < 5
    centers = 100 + 10 * torch.randn(6, 4)
    shares = torch.tensor([9, 7, 5, 3, 2, 6]) / 32
    samples = centers.repeat_interleave((shares * 32).long(), 0)
    for _ in range(1500):  # long enough for unused codes to be replaced several times
        encoded = samples[torch.randperm(32)].T.reshape(1, 4, 4, 8).requires_grad_()
        quantized = quantizer(encoded)
    torch.testing.assert_close(quantized.nearest, encoded.detach(), rtol=1e-4, atol=0)
    expected = math.exp(-sum(share * math.log(share) for share in shares.tolist()))
    assert perplexity([quantized.index], 16) == pytest.approx(expected, rel=1e-6)
    halves = quantized.index.flatten().split(16)
    assert perplexity(halves, 16) == pytest.approx(expected, rel=1e-6)


def test_a_dead_code_is_replaced_by_a_latent_of_the_batch(quantizer: VectorQuantizer) -> None:
    encoded = torch.randn(2, 4, 8, 8, requires_grad=True)
    quantizer.usage.fill_(1 / 12)
    quantizer.codes[7] = 1e3  # far from all latents
    steps = math.ceil(math.log(DEAD) / math.log(DECAY))  # until the usage decays below the limit
    for step in range(steps + 1):
        assert (quantizer.codes[7].abs() > 10).all() == (step < steps)
        quantizer.train()(encoded)
    assert cdist(quantizer.codes[7:8].numpy(), points(encoded)).min() < 0.1


def test_codes_are_unchanged_in_evaluation_and_with_a_frozen_encoder(quantizer: VectorQuantizer) -> None:
    before = quantizer.codes.clone()
    quantizer.train()(torch.randn(1, 4, 3, 3))  # as with a frozen encoder
    quantizer.eval()(torch.randn(1, 4, 3, 3, requires_grad=True))
    assert torch.equal(quantizer.codes, before) and not quantizer.usage.any()


def test_an_autoencoder_with_a_codebook_decodes_codes_only() -> None:
    torch.manual_seed(0)
    autoencoder = Autoencoder(STAGE).eval().requires_grad_(False)
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    autoencoder.fit_statistics([images])
    encoded, latents = autoencoder.encode(images), autoencoder.to_latents(images)
    assert isinstance(encoded, Quantized) and latents.shape == (4, *STAGE.latent_shape)
    assert latents.std(dim=(0, 2, 3), correction=0).sub(1).abs().max() < 1e-3
    torch.testing.assert_close(autoencoder.decode(latents), autoencoder.decoder(encoded.nearest))
    # A sampler's small errors do not change the codes, so they do not change the image.
    gap = torch.cdist(torch.from_numpy(points(encoded.mean)).float(), autoencoder.bottleneck.codes)
    first, second = gap.sort(dim=1).values[:, :2].T
    step = 0.4 * ((second - first) / 2).min() / autoencoder.latent_deviation.max()
    moved = latents + step * torch.nn.functional.normalize(torch.randn_like(latents), dim=1)
    torch.testing.assert_close(autoencoder.decode(moved), autoencoder.decode(latents))

    for wrong in ({"codes": None}, {"bottleneck": "kl"}):
        with pytest.raises(
            ValidationError, match="codes is required for the bottleneck vq, and allowed for no other"
        ):
            AutoencoderConfig.model_validate(STAGE.model_dump() | wrong)


def test_the_fingerprint_of_models_without_a_codebook_is_unchanged() -> None:
    # The fingerprint of the config before codebooks were added, with all weights zero.
    stage = Autoencoder(AutoencoderConfig())
    for value in stage.state_dict().values():
        value.zero_()
    assert stage.fingerprint == "f70e256dce6f"


def test_diffusion_trains_and_samples_on_quantized_latents() -> None:
    torch.manual_seed(0)
    stage = Autoencoder(STAGE).eval().requires_grad_(False)
    images = (torch.rand(6, 3, 1, 1) * 2 - 1).expand(-1, -1, 16, 16)  # one color per image
    stage.fit_statistics([images])
    network = UNetConfig(in_channels=4, patch=1, widths=(32,), blocks=(1,), attention=(True,))
    config = ImageModelConfig(size=16, network=network, clip=None, first_stage=STAGE)
    model = ImageModel(config, config.denoiser(), first_stage=stage)
    latents, condition = stage.to_latents(images), Condition.cat([model.encode(["a fox"])] * 6)
    optimizer = torch.optim.Adam(model.denoiser.network.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        t, noise = torch.arange(100, 1000, 160), torch.randn_like(latents)
        loss = simple_loss(model.denoiser, latents, t, condition, noise).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    samples = model.sample(["a fox"], steps=3)
    assert samples.shape == (1, 3, 16, 16) and samples.isfinite().all() and samples.std() > 0
