"""A pretrained image U-Net lifted into time by the layers of a motion adapter."""

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from core.condition import Condition
from core.errors import UserError
from video.animatediff.motion_format import MotionConfig
from video.animatediff.motion_layers import MotionLayers, MotionModule


class InflatedUNet(nn.Module):
    """A network of images with a motion module after each block of its U-Net: AnimateDiff (Guo et al. 2023).

    The image network stays what it is, under `image.`; the motion modules, under `motion.`, are called by
    hooks on the U-Net's blocks: after its attentions, or its residual blocks at levels without attention,
    where diffusers' `UNetMotionModel` has them. With fresh `MotionLayers` each frame comes out as the image
    network has it.

    Where gradients are wanted, activations are calculated anew on the way back: a clip's would not fit a GPU.
    """

    def __init__(self, image: nn.Module, unet: nn.Module, motion: MotionLayers) -> None:
        """Hooks the motion modules into `unet`, until `deflate`.

        image: `(x (B,C,H,W), t (B,), condition) -> Tensor` around `unet`.
        unet: diffusers' UNet2DConditionModel, on the device and of the precision of `motion`, as is `image`.

        Raises UserError when the motion adapter is for another U-Net.
        """
        super().__init__()
        self.image = image
        self.motion = motion
        self._frames = 1
        self._mixing = True
        _check_fit(fresh_config(unet), motion.config)
        unet.enable_gradient_checkpointing()  # pyright: ignore[reportCallIssue]
        self._hooks = [
            site.register_forward_hook(partial(self._mix, module))
            for site, module in zip(_sites(unet), _modules(motion), strict=False)
        ]

    def forward(
        self, clip: Tensor, t: Tensor, condition: Condition, independent_frames: bool = False
    ) -> Tensor:
        """The image network's raw output for each frame of clip, told by the motion modules of the others.

        clip: (B,C,F,H,W), with at most as many frames as the adapter has positions; t: (B,); condition: of
            length B.
        independent_frames: leave out the motion modules.

        Returns a tensor like clip. Raises ValueError for other shapes and for too many frames.
        """
        if clip.ndim != 5 or t.shape != (len(clip),):
            raise ValueError(f"expected clips (B,C,F,H,W) and t (B,), not {clip.shape} and {t.shape}")
        frames = clip.shape[2]
        self._frames, self._mixing = frames, not independent_frames
        images = clip.transpose(1, 2).flatten(0, 1)
        out = self.image(images, t.repeat_interleave(frames), condition.repeat_interleave(frames))
        return out.unflatten(0, (-1, frames)).transpose(1, 2)

    def deflate(self) -> nn.Module:
        """The image network as it was; this one must not be called any more."""
        for hook in self._hooks:
            hook.remove()
        return self.image

    def _mix(self, module: MotionModule, block: nn.Module, inputs: Any, output: Any) -> Any:
        """The hook: what a block puts out, a tensor or a tuple of one, after the motion module."""
        if not self._mixing:
            return output
        if isinstance(output, tuple):
            return (self._mixed(module, output[0]),)
        return self._mixed(module, output)

    def _mixed(self, module: MotionModule, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return cast(Tensor, checkpoint(module, x, self._frames, use_reentrant=False))
        return module(x, self._frames)


def fresh_config(unet: nn.Module) -> MotionConfig:
    """The shape of an adapter for a U-Net, as AnimateDiff v2 has it for Stable Diffusion 1.x."""
    settings: Any = unet.config
    layers = settings.layers_per_block
    return MotionConfig(
        block_out_channels=tuple(settings.block_out_channels),
        motion_layers_per_block=layers if isinstance(layers, int) else tuple(layers),
        motion_norm_num_groups=settings.norm_num_groups,
    )


def _check_fit(wanted: MotionConfig, found: MotionConfig) -> None:
    def shape(config: MotionConfig) -> str:
        layers = config.per_level("motion_layers_per_block")
        return ", ".join(f"{n} x {width}" for n, width in zip(layers, config.block_out_channels, strict=True))

    if shape(wanted) != shape(found):
        raise UserError(
            f"The motion adapter is for a U-Net of {shape(found)} channels, and the image model's has "
            f"{shape(wanted)}; one for Stable Diffusion 1.x does not fit SDXL, nor the other way round."
        )


def _sites(unet: Any) -> Iterator[nn.Module]:
    """The modules of the U-Net that motion modules follow, in the order of `_modules`.

    The middle block's is last, so that it has no partner in an adapter without modules for it.
    """
    for block in (*unet.down_blocks, *unet.up_blocks):
        yield from getattr(block, "attentions", block.resnets)
    yield from unet.mid_block.attentions


def _modules(motion: Any) -> Iterator[MotionModule]:
    for level in (*motion.down_blocks, *motion.up_blocks, motion.mid_block):
        if level is not None:
            yield from level.motion_modules
