"""R-Precision: whether an image is recognized as that of its text among all texts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.models.text_encoder import TextEncoder
from core.models.unclip.contrastive import ContrastiveModel


def r_precision(images: Tensor, texts: Tensor) -> Tensor:
    """Whether no text is nearer to an image than its own, (N,) bool.

    R-Precision with R = 1 (Park et al. 2021, "Benchmark for Compositional Text-to-Image Synthesis"), the
    measure of DreamFusion's table 1.

    images, texts: unit embeddings (N,D), row i of both of one pair. Equal texts do not compete.
    """
    cosines = images @ texts.T
    own = cosines.diagonal()[:, None]
    same = (texts[:, None] == texts[None]).all(-1)
    return ~((cosines > own) & ~same).any(1)


@torch.no_grad()
def embed_prompts(model: ContrastiveModel, prompts: Sequence[str]) -> Tensor:
    """Unit embeddings (N,D) of prompts, on the CPU; a prompt's never depends on the others."""
    encoder = TextEncoder(model.log_scale.device)
    distinct = {prompt: model.embed_texts(*encoder([prompt]))[0].cpu() for prompt in dict.fromkeys(prompts)}
    return torch.stack([distinct[prompt] for prompt in prompts])
