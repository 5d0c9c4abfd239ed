"""Scaled dot-product attention and multi-head attention. Every attention of the suite uses them.

The kernel is xFormers' memory-efficient one on CUDA where that package is installed, and PyTorch's fused
`scaled_dot_product_attention` otherwise.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Batch of CUDA's kernels, PyTorch's and xFormers': their grid has the batch as an axis of 16 bits.
LARGEST_BATCH = 2**16 - 1


def _memory_efficient_attention():
    """xFormers' kernel, or None without a CUDA device or without a working xFormers for it."""
    if not torch.cuda.is_available():
        return None
    try:
        from xformers.ops import memory_efficient_attention  # pyright: ignore[reportMissingImports]
    except (ImportError, OSError):  # OSError: a build of xFormers for another CUDA
        return None
    return memory_efficient_attention


# Looked up once, at import: an import inside `scaled_dot_product` would break the graph of torch.compile.
memory_efficient_attention = _memory_efficient_attention()


def scaled_dot_product(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Scaled dot-product attention: softmax(query key^T / sqrt(width) + bias) value over the unmasked keys.

    Vaswani et al. 2017, "Attention Is All You Need", eq. 1.

    Args:
        query: (B, heads, N, width).
        key, value: (B, heads, L, width).
        mask: (B, L) bool, True for keys that take part; at least one per row.
        bias: (heads, N, L), added to the logits of every row of the batch.

    Returns:
        (B, heads, N, width).
    """
    batch, heads, count, _ = query.shape
    if query.is_cuda and batch > LARGEST_BATCH:
        masks = [None] * len(query.split(LARGEST_BATCH)) if mask is None else mask.split(LARGEST_BATCH)
        parts = zip(*(each.split(LARGEST_BATCH) for each in (query, key, value)), masks, strict=True)
        return torch.cat([scaled_dot_product(q, k, v, mask=part, bias=bias) for q, k, v, part in parts])
    length = key.shape[2]
    logits = None
    if mask is not None:
        logits = mask[:, None, None, :]
    if bias is not None:
        bias = bias.to(query.dtype)[None]
        logits = bias if logits is None else bias.masked_fill(~logits, float("-inf"))
    if memory_efficient_attention is None or not query.is_cuda:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=logits)

    if logits is not None:
        if logits.dtype == torch.bool:
            logits = torch.zeros_like(logits, dtype=query.dtype).masked_fill(~logits, float("-inf"))
        # The kernel reads rows of the bias in aligned groups of eight.
        padded = F.pad(logits, (0, -length % 8)).expand(batch, heads, count, -1)
        logits = padded[..., :length]
    out = memory_efficient_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_bias=logits
    )
    return out.transpose(1, 2)


class MultiHeadAttention(nn.Module):
    """Multi-head attention of a sequence to itself or to a context.

    The output projection is initialized to zero, so that a residual branch with it initially adds zero.

    Args:
        width: channels of the sequence, input and output.
        head_width: channels of one head.
        context_width: channels of the context; None for self-attention.
        inner_width: channels of all heads together, a multiple of head_width; `width` unless given.

    Raises:
        ValueError: inner_width is not a multiple of head_width.
    """

    def __init__(
        self, width: int, head_width: int, context_width: int | None = None, inner_width: int | None = None
    ):
        super().__init__()
        inner_width = inner_width or width
        if inner_width % head_width:
            raise ValueError(f"attention width {inner_width} is not a multiple of head width {head_width}")
        self.head_width = head_width
        self.query = nn.Linear(width, inner_width, bias=False)
        self.key_value = nn.Linear(context_width or width, 2 * inner_width, bias=False)
        self.out = nn.Linear(inner_width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Attention of x to the context, or to itself without one. Returns a tensor shaped like x.

        Args:
            x: (B*n, N, width). n consecutive rows share one context; n = 1 in self-attention.
            context: (B, L, context_width).
            mask: (B, L) bool.
            bias: (heads, N, L).
        """
        context = x if context is None else context
        query = self._heads(self.query(x).reshape(context.shape[0], -1, self.query.out_features))
        key, value = self.key_value(context).chunk(2, dim=-1)
        out = scaled_dot_product(query, self._heads(key), self._heads(value), mask=mask, bias=bias)
        return self.out(out.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, N, inner_width) -> (B, heads, N, head_width)."""
        return x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
