"""Space-time U-Net: an image U-Net with temporal layers, equal to it frame by frame at initialization."""

from collections.abc import Iterator

from torch import Tensor, nn

from core.condition import Condition
from core.nn.unet import UNet
from video.nn.temporal import TemporalBlock, TemporalConfig


class SpaceTimeUNet(nn.Module):
    """A U-Net on images with temporal layers after each of its spatial blocks.

    Ho et al. 2022, "Video Diffusion Models", section 3 (factorized space-time attention), and Singer et al.
    2022, "Make-A-Video", section 3.2 (pseudo-3D convolution, identity at initialization).

    The weights of the image network keep their names under `image.`, those of the temporal layers lie under
    `temporal.`: a checkpoint may hold the second alone, beside the image model it belongs to.
    """

    def __init__(self, image: UNet, config: TemporalConfig):
        super().__init__()
        self.config = config
        self.image = image
        self.temporal = nn.ModuleList(
            TemporalBlock(width, image.config.embedding_width, config) for width in image.block_widths
        )

    def forward(
        self,
        clip: Tensor,
        t: Tensor,
        condition: Condition,
        independent_frames: bool = False,
        appended_images: int = 0,
    ) -> Tensor:
        """The raw output of the network, in the denoiser's parameterization.

        Args:
            clip: (B,C,F,H,W), any F >= 1.
            t: (B,) timesteps, integer or fractional: one noise level for all frames of a clip.
            condition: of length B; its attributes are (B,V), or (B,F,V) to tell each frame its own. With
                appended images of length B*F: one for each frame, in the order of the clips.
            independent_frames: leave out the temporal layers: every frame is an image by itself and comes out
                as the image network has it.
            appended_images: the last so many of the F frames are images by themselves, which pass the
                temporal layers as clips of one frame each. For joint training (Ho et al. 2022, section 3).

        Returns:
            A tensor like clip.

        Raises:
            ValueError: the shapes do not fit the configuration or each other.
        """
        if clip.ndim != 5:
            raise ValueError(f"clips must be (B,C,F,H,W), not {tuple(clip.shape)}")
        if t.ndim != 1 or t.shape[0] != clip.shape[0]:
            raise ValueError(f"{clip.shape[0]} clips, timesteps {tuple(t.shape)}: one timestep per clip")
        frames = clip.shape[2]
        if not 0 <= appended_images < frames:
            raise ValueError(
                f"{appended_images} of {frames} frames are appended images: one must be the clip's"
            )
        if appended_images:
            t = t.repeat_interleave(frames)

        def mix_frames(index: int, h: Tensor, embedding: Tensor) -> Tensor:
            return self.temporal[index](h, embedding, frames - appended_images, appended_images)

        images = clip.transpose(1, 2).flatten(0, 1)
        out = self.image(images, t, condition, None if independent_frames else mix_frames)
        return out.unflatten(0, (-1, frames)).transpose(1, 2)

    def spatial_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the image network."""
        return self.image.parameters()

    def temporal_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the temporal layers."""
        return self.temporal.parameters()


class EachFrame(nn.Module):
    """An image network applied to every frame of a clip by itself."""

    def __init__(self, image: nn.Module) -> None:
        super().__init__()
        self.image = image

    def forward(self, clip: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """clip: (B,C,F,H,W); returns a tensor like it. Other arguments as in `SpaceTimeUNet.forward`."""
        out = self.image(clip.transpose(1, 2).flatten(0, 1), t, condition)
        return out.unflatten(0, (len(clip), -1)).transpose(1, 2)


def inflate(unet: UNet, config: TemporalConfig | None = None) -> SpaceTimeUNet:
    """A space-time U-Net that returns, frame by frame, what `unet` returns, until it is trained.

    It holds `unet` itself, not a copy: training all of it trains `unet` too.
    """
    return SpaceTimeUNet(unet, config or TemporalConfig())
