"""Training of the contrastive model and of the diffusion prior. The decoder is trained as an image model."""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.losses import contrastive_loss, simple_loss
from core.models.unclip.contrastive import ContrastiveConfig, ContrastiveModel
from core.models.unclip.prior import PriorConfig, with_text_embedding
from core.nn.embeddings import masked_mean
from core.nn.unet import UNet
from core.training.config import TrainingConfig
from core.training.data import NO_DROPOUT, ConditionDropout, ImageData
from core.training.trainer import BareNetwork, stratified_timesteps


class ContrastivePreset(BaseModel):
    """Architecture and training of a contrastive model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ContrastiveConfig = ContrastiveConfig()
    gray: float = Field(
        default=0.0, ge=0, le=1, description="share of the images that are shown without color"
    )
    training: TrainingConfig = TrainingConfig(batch_size=128)


class PriorPreset(BaseModel):
    """Architecture and training of a diffusion prior."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: PriorConfig = PriorConfig()
    dropout: ConditionDropout = NO_DROPOUT.model_copy(update={"text": 0.1})
    training: TrainingConfig = TrainingConfig(batch_size=128)


class ContrastiveTask:
    """Recognition of the caption of each image among those of the batch, and the reverse."""

    def __init__(self, data: ImageData, gray: float = 0.0) -> None:
        """data: of pixels, without dropout. gray: as in `ContrastivePreset`."""
        self.data, self.gray = data, gray

    def __len__(self) -> int:
        return len(self.data)

    def loss(self, model: BareNetwork, index: Tensor) -> Tensor:
        """`contrastive_loss` of each pair, (B,). index: (B,) on the CPU."""
        images, condition = self.data.batch(index)
        gray = torch.rand(len(images), 1, 1, 1).to(images.device) < self.gray
        images = torch.where(gray, images.mean(1, keepdim=True), images)
        return contrastive_loss(*model.network(images, condition.tokens, condition.mask))


class PriorTask:
    """Denoising of image embeddings, given the text."""

    def __init__(self, data: ImageData, texts: ContrastiveModel) -> None:
        """data: of unit embeddings, see `core.training.latents.embed_shards`; texts: embeds the texts."""
        self.data, self.texts = data, texts

    def __len__(self) -> int:
        return len(self.data)

    def loss(self, denoiser: Denoiser, index: Tensor) -> Tensor:
        """Mean squared error of the predicted embedding times sqrt(D), (B,). index: (B,) on the CPU."""
        embeddings, condition = self.data.batch(index)
        with torch.no_grad():
            condition = with_text_embedding(condition, self.texts)
        x0 = embeddings * embeddings.shape[1] ** 0.5
        t = stratified_timesteps(len(x0), denoiser.schedule.timesteps, x0.device)
        return simple_loss(denoiser, x0, t, condition, torch.randn_like(x0))


@torch.no_grad()
def read_as_texts(network: UNet, images: Condition, empty: Condition, ridge: float = 1e-3) -> None:
    """Sets how a network reads image embeddings: as it reads the images' texts, as far as a linear map can.

    The map from an embedding to what the pooled text adds to the network, and that to the token states, each
    token one part of the text, are ridge regressions. Training starts from them.

    images: N embeddings, `image`, with the texts; more than their width. empty: the empty prompt.

    Raises ValueError where the network or the condition have no image embeddings.
    """
    reader, x = network.image, images.image
    if reader is None or x is None:
        raise ValueError("the network and the condition must have image embeddings")

    def fit(targets: Tensor) -> Tensor:
        """The matrix (outputs,D) that maps embeddings to targets (N,outputs)."""
        square = x.T @ x
        return torch.linalg.solve(square + ridge * len(x) * torch.eye(len(square)).to(x), x.T @ targets).T

    def pooled(texts: Condition) -> Tensor:
        embedding = network.embedding
        return embedding.text(embedding.text_norm(masked_mean(texts.tokens, texts.mask)))

    reader.added.weight.copy_(fit(pooled(images) - pooled(empty)))
    place = torch.arange(images.mask.shape[1], device=x.device) / images.mask.sum(1, keepdim=True)
    parts = (place * reader.token_count).long()  # the part of its text that each token is in
    masks = [images.mask & (parts == number) for number in range(reader.token_count)]
    means = [masked_mean(images.tokens, mask | ~mask.any(1, keepdim=True)) for mask in masks]
    reader.tokens.weight.copy_(fit(torch.cat(means, dim=1)))
    reader.norm.load_state_dict(network.context_norm.state_dict())
