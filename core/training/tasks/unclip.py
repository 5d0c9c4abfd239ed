"""Training of the contrastive model and of the diffusion prior. The decoder is trained as an image model."""

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from core.diffusion.denoiser import Denoiser
from core.losses import contrastive_loss, simple_loss
from core.models.unclip.contrastive import ContrastiveConfig, ContrastiveModel
from core.models.unclip.prior import PriorConfig, with_text_embedding
from core.training.config import TrainingConfig
from core.training.data import NO_DROPOUT, ConditionDropout, ImageData
from core.training.trainer import BareNetwork, stratified_timesteps


class ContrastivePreset(BaseModel):
    """Architecture and training of a contrastive model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ContrastiveConfig = ContrastiveConfig()
    training: TrainingConfig = TrainingConfig(batch_size=128)


class PriorPreset(BaseModel):
    """Architecture and training of a diffusion prior."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: PriorConfig = PriorConfig()
    dropout: ConditionDropout = NO_DROPOUT.model_copy(update={"text": 0.1})
    training: TrainingConfig = TrainingConfig(batch_size=128)


class ContrastiveTask:
    """Recognition of the caption of each image among those of the batch, and the reverse."""

    def __init__(self, data: ImageData) -> None:
        """data: of pixels, without dropout."""
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def loss(self, model: BareNetwork, index: Tensor) -> Tensor:
        """`contrastive_loss` of each pair, (B,). index: (B,) on the CPU."""
        images, condition = self.data.batch(index)
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
