"""Networks of clips in other libraries: video-diffusion-pytorch and imagen-pytorch."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from dreamlift.bench.peers.imports import import_part

VIDEO_DIFFUSION, IMAGEN = "video-diffusion-pytorch", "imagen-pytorch"
WIDTH = 64  # of their first layers, as in their examples

Builder = Callable[[int], nn.Module]
"""A network, called with clips (B,C,F,H,W) and timesteps (B,), for a number of channels."""


def video_diffusion() -> Builder | None:
    """The network of Ho et al. 2022, "Video Diffusion Models", by video-diffusion-pytorch."""
    transforms = {"transforms": SimpleNamespace(ToTensor=lambda: None), "utils": None}
    text = {"tokenize": None, "bert_embed": None, "BERT_MODEL_DIM": 768}
    part = import_part(
        "video_diffusion_pytorch",
        "video_diffusion_pytorch",
        {"torchvision": transforms, "video_diffusion_pytorch.text": text},
    )
    return part and (lambda channels: part.Unet3D(dim=WIDTH, channels=channels).eval())


def imagen_video() -> Builder | None:
    """The network of Ho et al. 2022, "Imagen Video", by imagen-pytorch, without its text."""
    names: dict[str, Any] = {"t5_encode_text": None, "get_encoded_dim": lambda _: 768, "DEFAULT_T5_NAME": ""}
    part = import_part("imagen_pytorch", "imagen_video", {"imagen_pytorch.t5": names})
    return part and (lambda channels: part.Unet3D(dim=WIDTH, channels=channels, cond_on_text=False).eval())


BUILDERS: dict[str, Callable[[], Builder | None]] = {VIDEO_DIFFUSION: video_diffusion, IMAGEN: imagen_video}


def clip_call(network: nn.Module, shape: tuple[int, ...], device: torch.device) -> Callable[[], object]:
    """A call of such a network without gradient, on noise (B,C,F,H,W)."""
    network = network.to(device)
    x, t = torch.randn(*shape, device=device), torch.full((shape[0],), 500, device=device)

    @torch.no_grad()
    def call() -> object:
        return network(x, t)

    return call
