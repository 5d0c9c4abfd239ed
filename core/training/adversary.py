"""The adversary of an autoencoder: a discriminator that learns beside it, by an optimizer of its own."""

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
    """An adversary and how it is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: DiscriminatorConfig = DiscriminatorConfig()
    weight: float = Field(default=0.8, gt=0, description="of the adversarial loss, times the adaptive weight")
    start: float = Field(
        default=0.3, ge=0, lt=1, description="first share of the run, where there is no adversary"
    )
    rate: float = Field(default=1.0, gt=0, description="factor on the run's learning rate")
    betas: tuple[float, float] = (0.5, 0.9)


class Adversary:
    """Learns to tell drawn images from real ones, and says how a decoder should mislead it.

    It is what the trainer calls `Beside`: that sets its learning rate and keeps its state in checkpoints.
    """

    def __init__(self, config: AdversaryConfig, last_layer: nn.Parameter, accelerator: Accelerator) -> None:
        """last_layer: the weight of the decoder's last layer, for `adaptive_weight`."""
        self.config, self.last_layer, self.accelerator = config, last_layer, accelerator
        self.network = Discriminator(config.network).to(accelerator.device)
        self.optimizer = torch.optim.AdamW(
            [{"params": [*self.network.parameters()], "factor": config.rate}],
            betas=config.betas,
            weight_decay=0.0,
        )
        self.active = False

    def begin(self, done: float) -> None:
        """Before a step: done is the share of the run that is over."""
        self.active = done >= self.config.start

    def loss(self, images: Tensor, drawn: Tensor, reconstruction: Tensor) -> Tensor:
        """What the decoder is to lower beside `reconstruction`, (B,); the discriminator takes a step first.

        images, drawn: (B,3,H,W), drawn and reconstruction (B,) with their graph.
        """
        self._learn(images, drawn.detach())
        self.network.requires_grad_(False)
        adversarial = generator_loss(self.network(drawn))
        self.network.requires_grad_(True)
        weight = adaptive_weight(reconstruction.mean(), adversarial.mean(), self.last_layer)
        return self.config.weight * weight * adversarial

    def _learn(self, images: Tensor, drawn: Tensor) -> None:
        real, unreal = self.network(torch.cat([images, drawn])).chunk(2)
        self.optimizer.zero_grad()
        discriminator_loss(real, unreal).backward()
        for parameter in self.network.parameters():
            parameter.grad = self.accelerator.reduce(parameter.grad, "mean")  # pyright: ignore
        self.optimizer.step()
