"""A pretrained image U-Net inflated to clips by the layers of a motion adapter."""

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
    """An image U-Net with a motion module after each of its blocks: AnimateDiff (Guo et al. 2023).

    The image network is unchanged and its weights are under `image.`. The motion modules are under `motion.`
    and run in hooks on the blocks of the U-Net: after each attention, or after each residual block at levels
    without attention, as in diffusers' `UNetMotionModel`. With newly initialized `MotionLayers` the output of
    each frame is that of the image network.

    With gradients enabled, activations are recomputed in the backward pass (gradient checkpointing) unless
    `recompute` is false, because those of a clip would not fit a GPU.
    """

    def __init__(
        self, image: nn.Module, unet: nn.Module, motion: MotionLayers, recompute: bool = True
    ) -> None:
        """Hooks the motion modules into `unet`; `deflate` removes the hooks.

        image: `(x (B,C,H,W), t (B,), condition) -> Tensor` around `unet`.
        unet: diffusers' UNet2DConditionModel, on the device of `motion`. Its dtype is that of `motion`, or
            autocast is on.

        Raises UserError when the motion adapter does not match the U-Net.
        """
        super().__init__()
        self.image = image
        self.motion = motion
        self._frames = 1
        self._motion_enabled = True
        self._recompute = recompute
        _check_fit(fresh_config(unet), motion.config)
        if recompute:
            unet.enable_gradient_checkpointing()  # pyright: ignore[reportCallIssue]
        self._hooks = [
            site.register_forward_hook(partial(self._motion_hook, module))
            for site, module in zip(_sites(unet), _modules(motion), strict=False)
        ]

    def forward(
        self, clip: Tensor, t: Tensor, condition: Condition, independent_frames: bool = False
    ) -> Tensor:
        """Raw output (B,C,F,H,W) for clips; the motion modules exchange information between the frames.

        clip: (B,C,F,H,W), with at most as many frames as the adapter has positions.
        t: (B,). condition: of length B.
        independent_frames: skip the motion modules.

        Raises ValueError for other shapes and for too many frames.
        """
        if clip.ndim != 5 or t.shape != (len(clip),):
            raise ValueError(f"expected clips (B,C,F,H,W) and t (B,), not {clip.shape} and {t.shape}")
        frames = clip.shape[2]
        self._frames, self._motion_enabled = frames, not independent_frames
        images = clip.transpose(1, 2).flatten(0, 1)
        out = self.image(images, t.repeat_interleave(frames), condition.repeat_interleave(frames))
        return out.unflatten(0, (-1, frames)).transpose(1, 2)

    def deflate(self) -> nn.Module:
        """Removes the hooks and returns the image network; this module must not be called afterwards."""
        for hook in self._hooks:
            hook.remove()
        return self.image

    def _motion_hook(self, module: MotionModule, block: nn.Module, inputs: Any, output: Any) -> Any:
        """Forward hook: applies the motion module to a block's output, a tensor or a tuple of one."""
        if not self._motion_enabled:
            return output
        if isinstance(output, tuple):
            return (self._apply_motion(module, output[0]),)
        return self._apply_motion(module, output)

    def _apply_motion(self, module: MotionModule, x: Tensor) -> Tensor:
        """The module's output, with gradient checkpointing if gradients are enabled."""
        if self._recompute and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(module, x, self._frames, use_reentrant=False))
        return module(x, self._frames)


def fresh_config(unet: nn.Module) -> MotionConfig:
    """Config of an adapter for a U-Net, with the layout of AnimateDiff v2 for Stable Diffusion 1.x."""
    settings: Any = unet.config
    layers = settings.layers_per_block
    return MotionConfig(
        block_out_channels=tuple(settings.block_out_channels),
        motion_layers_per_block=layers if isinstance(layers, int) else tuple(layers),
        motion_norm_num_groups=settings.norm_num_groups,
    )


def _check_fit(of_unet: MotionConfig, of_adapter: MotionConfig) -> None:
    """Raises UserError unless layers and channels per level are the same."""

    def shape(config: MotionConfig) -> str:
        layers = config.per_level("motion_layers_per_block")
        return ", ".join(f"{n} x {width}" for n, width in zip(layers, config.block_out_channels, strict=True))

    if shape(of_unet) != shape(of_adapter):
        raise UserError(
            f"The motion adapter is for a U-Net of {shape(of_adapter)} channels, and the image model's has "
            f"{shape(of_unet)}: give an adapter for this model. One for Stable Diffusion 1.x does not fit "
            "SDXL, or vice versa."
        )


def _sites(unet: Any) -> Iterator[nn.Module]:
    """The modules of the U-Net that get a hook, in the order of `_modules`.

    The middle block is last, so that it gets no hook if the adapter has no module for it.
    """
    for block in (*unet.down_blocks, *unet.up_blocks):
        yield from getattr(block, "attentions", block.resnets)
    yield from unet.mid_block.attentions


def _modules(motion: Any) -> Iterator[MotionModule]:
    """The motion modules: downward levels, upward levels, then the middle block if there is one."""
    for level in (*motion.down_blocks, *motion.up_blocks, motion.mid_block):
        if level is not None:
            yield from level.motion_modules
