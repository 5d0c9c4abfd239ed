"""Text-conditioned U-Net on patches of pixels, the network of the image model.

In most of core, tensors (B,C,...) may have any number of trailing axes. The convolutions here are 2D, so that
this network requires images (B,C,H,W).
"""

from collections.abc import Callable, Mapping
from itertools import count, pairwise

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from core.attributes import WIDTH as ATTRIBUTE_WIDTH
from core.condition import Condition
from core.nn.backbone import BackboneConfig, apply_resampling
from core.nn.blocks import SpatialBlock, TransformerBlock, group_norm, zero_init
from core.nn.embeddings import ConditionEmbedding, ImageConditioning

IMAGE_CONDITIONING = "image"  # name of the module that reads image embeddings

BlockHook = Callable[[int, Tensor, Tensor], Tensor]
"""(index of the spatial block, its output (B,C,H,W), embedding (B,E)) -> replacement of that output."""


class UNetConfig(BackboneConfig):
    """Configuration of a U-Net."""

    out_channels: int | None = Field(default=None, ge=1, description="in_channels unless given")
    feed_forward: int = Field(default=2, ge=0, description="hidden width over width; 0 disables feed-forward")
    context_width: int = Field(default=384, ge=1)
    attribute_width: int = Field(default=ATTRIBUTE_WIDTH, ge=1)
    image_width: int | None = Field(
        default=None, ge=1, description="of the image embedding that conditions it; null for none"
    )
    image_tokens: int = Field(default=4, ge=1, description="tokens that an image embedding becomes")


class UNet(nn.Module):
    """U-Net with the blocks of Dhariwal and Nichol 2021 and cross-attention to text.

    Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation". It works on
    patch x patch squares of pixels (space to depth), with one skip connection per block. The output layer is
    initialized to zero, so that a new network returns zeros.

    checkpoint_activations: with gradients enabled, the backward pass recomputes the activations inside the
        blocks, which takes less memory and more time (Chen et al. 2016, "Training Deep Nets with Sublinear
        Memory Cost").
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        self.checkpoint_activations = False
        self.activation = config.nonlinearity
        widths = config.widths

        def block(level: int, in_width: int) -> SpatialBlock:
            transformer = None
            if config.attention[level]:
                transformer = TransformerBlock(
                    widths[level], config.head_width_at(level), config.context_width, config.feed_forward
                )
            return SpatialBlock(config.make_block(level, in_width), transformer)

        levels = range(len(widths))
        self.embedding = ConditionEmbedding(
            widths[0], config.embedding_width, config.context_width, config.attribute_width
        )
        self.image = None
        if config.image_width:
            self.image = ImageConditioning(
                config.image_width, config.embedding_width, config.context_width, config.image_tokens
            )
        self.context_norm = nn.LayerNorm(config.context_width)
        self.stem = nn.Conv2d(config.patch_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.ModuleList(block(level, widths[level]) for _ in range(config.blocks[level]))
            for level in levels
        )
        self.downsample = nn.ModuleList(
            config.make_downsample(fine, coarse) for fine, coarse in pairwise(widths)
        )
        self.middle = block(levels[-1], widths[-1])
        self.up = nn.ModuleList(
            nn.ModuleList(block(level, 2 * widths[level]) for _ in range(config.blocks[level]))
            for level in levels
        )
        self.upsample = nn.ModuleList(config.make_upsample(coarse, fine) for fine, coarse in pairwise(widths))
        self.out_norm = group_norm(widths[0])
        out_channels = (config.out_channels or config.in_channels) * config.patch**2
        self.out = zero_init(nn.Conv2d(widths[0], out_channels, 3, padding=1))

    @property
    def block_widths(self) -> list[int]:
        """Output channels of every spatial block, in the order of execution."""
        levels = zip(self.config.widths, self.config.blocks, strict=True)
        down = [width for width, count in levels for _ in range(count)]
        return [*down, self.config.widths[-1], *reversed(down)]

    def forward(
        self, x: Tensor, t: Tensor, condition: Condition, block_hook: BlockHook | None = None
    ) -> Tensor:
        """The network's output, in the parameterization that it is trained for.

        Args:
            x: (B*n,C,H,W), H and W multiples of `config.stride`. n consecutive images, such as the frames of
                a clip, share one timestep and text; n is 1 for images (B,C,H,W).
            t: (B,) timesteps, integer or fractional.
            condition: of length B. Its attributes are (B,V), shared by the n images, or (B,n,V). Its image
                embedding (B,`image_width`) is read where the network has one; None is the same as zeros.
            block_hook: called after every spatial block; its result replaces the block's output.

        Returns:
            A tensor shaped like x, but with `out_channels` channels.

        Raises:
            ValueError: the shapes do not fit the configuration or each other.
        """
        self._check(x, t, condition)
        embedding = self.embedding(t, condition.tokens, condition.mask, condition.attributes)
        context, mask = self.context_norm(condition.tokens), condition.mask
        if self.image is not None and condition.image is not None:
            added, tokens, given = self.image(condition.image)
            embedding = embedding + (added if embedding.ndim == 2 else added[:, None])
            context, mask = torch.cat([context, tokens], dim=1), torch.cat([mask, given], dim=1)
        images_per_condition = x.shape[0] // t.shape[0]
        if embedding.ndim == 3:
            embedding = embedding.flatten(0, 1)
        elif images_per_condition > 1:
            embedding = embedding.repeat_interleave(images_per_condition, dim=0)
        index = count()
        recompute = self.checkpoint_activations and torch.is_grad_enabled()

        def apply(block: nn.Module, index: int, h: Tensor) -> Tensor:
            h = block(h, embedding, context, mask)
            return h if block_hook is None else block_hook(index, h, embedding)

        def run(block: nn.Module, h: Tensor) -> Tensor:
            if recompute:
                return checkpoint(apply, block, next(index), h, use_reentrant=False)  # pyright: ignore
            return apply(block, next(index), h)

        h = self.stem(F.pixel_unshuffle(x, self.config.patch))
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            if level > 0:
                h = apply_resampling(self.downsample[level - 1], h, embedding)
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
                h = run(block, h)
                skips.append(h)
        h = run(self.middle, h)
        for level, blocks in reversed(list(enumerate(self.up))):
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
                h = run(block, torch.cat([h, skips.pop()], dim=1))
            if level > 0:
                h = apply_resampling(self.upsample[level - 1], h, embedding)
        return F.pixel_shuffle(self.out(self.activation(self.out_norm(h))), self.config.patch)

    def _check(self, x: Tensor, t: Tensor, condition: Condition) -> None:
        """Raises ValueError for shapes that do not fit the configuration or each other."""
        config, batch = self.config, t.shape[0]
        if x.ndim != 4 or x.shape[1] != config.in_channels:
            raise ValueError(f"images must be (B,{config.in_channels},H,W), not {tuple(x.shape)}")
        if x.shape[2] % config.stride or x.shape[3] % config.stride:
            raise ValueError(f"image sides must be multiples of {config.stride}, not {tuple(x.shape[2:])}")
        if t.ndim != 1 or x.shape[0] % batch or condition.tokens.shape[0] != batch:
            raise ValueError(
                f"{x.shape[0]} images, timesteps {tuple(t.shape)}, {condition.tokens.shape[0]} conditions: "
                "these must agree"
            )
        attributes, images_per_condition = condition.attributes, x.shape[0] // batch
        if attributes.ndim == 3 and attributes.shape[1] != images_per_condition:
            raise ValueError(
                f"attributes for {attributes.shape[1]} frames, {images_per_condition} frames given"
            )
        widths = condition.tokens.shape[2], attributes.shape[-1]
        image = condition.image
        if image is not None and image.shape[1] != config.image_width:
            raise ValueError(
                f"image embeddings are {image.shape[1]} wide; this network requires {config.image_width}"
            )
        if widths != (config.context_width, config.attribute_width):
            raise ValueError(
                f"tokens and attributes are {widths[0]} and {widths[1]} wide; this network requires "
                f"{config.context_width} and {config.attribute_width}"
            )


def with_image_conditioning(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a network that reads no image embeddings, for one that may; what is new keeps its values.

    Without an embedding the output is then that of the former network.
    """
    own = {
        name: value
        for name, value in network.state_dict().items()
        if name.startswith(f"{IMAGE_CONDITIONING}.")
    }
    return {**own, **weights}
