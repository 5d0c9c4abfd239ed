"""Tiers: which one a device gets, and what computes in which data type."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.bundled import BUNDLED
from core.errors import UserError
from core.io import machine
from core.models.image_model import ImageModel
from core.tiers import compute_dtype, default_tier, tier_context
from dream3d.optimization.build_loss import build_distillation
from dream3d.options import ImageModelReference
from dream3d.presets import load_named_preset, load_object_preset
from dreamlift.text_to_image import TextToImage

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "tier", "dtype"),
    [
        ({"avx512_bf16"}, "fast", "bfloat16"),
        ({"amx_bf16"}, "fast", "bfloat16"),
        ({"fma"}, "exact", "float32"),
    ],
)
def test_cpus_with_bfloat16_are_fast(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], tier: str, dtype: str
) -> None:
    monkeypatch.setattr(machine, "_cpu_flags", lambda: flags)
    assert default_tier(CPU) == tier
    assert [compute_dtype(each, CPU) for each in (None, "exact", "fast", "draft")] == [
        "float32", "float32", dtype, dtype,
    ]  # fmt: skip
    a = torch.randn(4, 4)
    for lowered in ("fast", "draft"):
        with tier_context(lowered, CPU):  # pyright: ignore
            assert str(torch.mm(a, a).dtype) == f"torch.{dtype}"
    for other in ("exact", None):
        with tier_context(other, CPU):  # pyright: ignore
            assert torch.mm(a, a).dtype == torch.float32
    assert torch.mm(a, a).dtype == torch.float32  # the context undoes itself


def test_a_gpu_is_exact_unless_asked() -> None:
    """Nothing of `fast` has been measured on one."""
    cuda = torch.device("cuda")
    assert default_tier(cuda) == "exact" and compute_dtype("fast", cuda) == "bfloat16"


def test_images_are_drawn_in_their_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "fast_bfloat16", lambda device: True)
    pictures = {}
    for tier in ("exact", "fast", None):
        draws = TextToImage.from_pretrained("bundled", device="cpu", tier=tier)
        made = draws("a fox", num_inference_steps=2, super_resolution=0)
        pictures[tier] = np.asarray(made.image).astype(int)
        assert made.record["tier"] == (tier or "fast")
        assert made.record["compute_dtype"] == ("float32" if tier == "exact" else "bfloat16")
    difference = np.abs(pictures["fast"] - pictures["exact"])
    assert np.array_equal(pictures["fast"], pictures[None]) and 0 < difference.mean() < 2


def test_a_checkpoint_has_no_tier(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(UserError, match="has no tiers: a checkpoint's precision is its dtype"):
        TextToImage.from_pretrained(tmp_path, tier="fast")


def test_the_image_model_of_an_object_computes_in_its_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its guidance network, and its weak version, and not what renders."""
    monkeypatch.setattr(machine, "fast_bfloat16", lambda device: True)
    model = ImageModel.load(BUNDLED / "image")
    options = load_named_preset("draft").with_changes(tier="fast").with_model_defaults(True, True)
    distillation = build_distillation(model, "a fox", options, 0)(options.stages[0])
    exact = options.with_changes(tier="exact")
    same = build_distillation(model, "a fox", exact, 0)(options.stages[0])
    torch.manual_seed(0)
    renders, condition = torch.rand(1, 3, 64, 64) * 2 - 1, model.encode(["a fox on a green background"])
    lowered, expected = (
        each.target(renders, condition, 0.5, torch.Generator().manual_seed(0)).images  # pyright: ignore
        for each in (distillation, same)
    )
    assert lowered.dtype == torch.float32
    assert 0 < (lowered - expected).abs().mean() < 0.02


def test_the_draft_tier_of_objects_is_a_preset() -> None:
    reference = ImageModelReference("bundled", bundled=True)
    assert load_object_preset(None, reference, "draft")[0] == "draft"
    assert load_object_preset(None, reference, "fast")[0] == "standard"
    with pytest.raises(UserError, match="--tier draft is the preset draft: leave out --preset"):
        load_object_preset("fine", reference, "draft")
