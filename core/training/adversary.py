"""The adversary of an autoencoder: a discriminator that is trained with it, by a separate optimizer."""

import torch
from accelerate import Accelerator
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from core.models.discriminator import (
    Discriminator,
    DiscriminatorConfig,
    adaptive_weight,
    discriminator_loss,
    generator_loss,
)


class AdversaryConfig(BaseModel):
    """Architecture and training of an adversary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: DiscriminatorConfig = DiscriminatorConfig()
    weight: float = Field(
        default=0.8, gt=0, description="weight of the adversarial loss, multiplied by the adaptive one"
    )
    start: float = Field(
        default=0.3, ge=0, lt=1, description="fraction of the run before the adversary starts"
    )
    rate: float = Field(default=1.0, gt=0, description="factor on the run's learning rate")
    betas: tuple[float, float] = (0.5, 0.9)


class Adversary:
    """A discriminator of reconstructed and real images, and the adversarial loss of the decoder.

    It is the trainer's `AuxiliaryNetwork`: the trainer sets its learning rate and stores its state in
    checkpoints.
    """

    def __init__(self, config: AdversaryConfig, last_layer: nn.Parameter, accelerator: Accelerator) -> None:
        """last_layer: weight of the decoder's last layer, for `adaptive_weight`."""
        self.config, self.last_layer, self.accelerator = config, last_layer, accelerator
        self.network = Discriminator(config.network).to(accelerator.device)
        self.optimizer = torch.optim.AdamW(
            [{"params": [*self.network.parameters()], "factor": config.rate}],
            betas=config.betas,
            weight_decay=0.0,
        )
        self.active = False

    def begin(self, done: float) -> None:
        """Called before every step. done: completed fraction of the run."""
        self.active = done >= self.config.start

    def loss(self, images: Tensor, drawn: Tensor, reconstruction: Tensor) -> Tensor:
        """Weighted adversarial loss of the decoder, (B,), computed after one step of the discriminator.

        images, drawn: real and reconstructed images, (B,3,H,W). reconstruction: reconstruction loss, (B,).
        drawn and reconstruction must carry their autograd graph.
        """
        self._train_discriminator(images, drawn.detach())
        self.network.requires_grad_(False)
        adversarial = generator_loss(self.network(drawn))
        self.network.requires_grad_(True)
        weight = adaptive_weight(reconstruction.mean(), adversarial.mean(), self.last_layer)
        return self.config.weight * weight * adversarial

    def _train_discriminator(self, images: Tensor, reconstructions: Tensor) -> None:
        real, fake = self.network(torch.cat([images, reconstructions])).chunk(2)
        self.optimizer.zero_grad()
        discriminator_loss(real, fake).backward()
        for parameter in self.network.parameters():
            parameter.grad = self.accelerator.reduce(parameter.grad, "mean")  # pyright: ignore
        self.optimizer.step()
