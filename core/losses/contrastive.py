"""Contrastive loss of pairs."""

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """Cross-entropy of recognizing each one's partner in the batch, images and texts in turn, (B,) in nats.

    Radford et al. 2021 (CLIP), figure 3: the mean of the loss over rows and that over columns of the matrix
    of cosines.

    images, texts: (B,D) unit vectors, row i of both of one pair; scale: factor on the cosines.
    """
    logits = scale * images @ texts.T
    partner = torch.arange(len(images), device=images.device)
    of_texts = F.cross_entropy(logits, partner, reduction="none")
    of_images = F.cross_entropy(logits.T, partner, reduction="none")
    return (of_texts + of_images) / 2
