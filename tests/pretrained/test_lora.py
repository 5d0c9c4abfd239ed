"""LoRA weights against W + scale B A computed here, and against diffusers' pipeline with them."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from core.errors import UserError
from core.pretrained import lora
from core.pretrained.image_model import load_image_model

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"


@pytest.fixture(scope="module")
def style(sd_eps, tmp_path_factory) -> Path:
    """LoRA weights of the attention of network and text encoder, as diffusers' training writes them."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("style")
    pipeline = StableDiffusionPipeline.from_pretrained(sd_eps)
    states = {}
    for part, layers in (("unet", ["to_q", "to_v"]), ("text_encoder", ["q_proj"])):
        module = getattr(pipeline, part)
        module.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights="gaussian", target_modules=layers))
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        states[part] = get_peft_model_state_dict(module)
    pipeline.save_lora_weights(
        folder, unet_lora_layers=states["unet"], text_encoder_lora_layers=states["text_encoder"]
    )
    return folder


def weights(folder, **options):
    return load_image_model(folder, **options).pipeline.unet.state_dict()


def test_weights_become_w_plus_scale_b_a(sd_eps, style):
    stored = load_file(style / "pytorch_lora_weights.safetensors")
    down, up = (stored[f"unet.{LAYER}.lora_{side}.weight"] for side in "AB")
    before, after = weights(sd_eps), weights(sd_eps, lora=[f"{style}@0.5"])
    assert before.keys() == after.keys()  # merged: no weights of peft remain
    twice = weights(sd_eps, lora=[str(style / "pytorch_lora_weights.safetensors")])
    name = f"{LAYER}.weight"
    torch.testing.assert_close(after[name], before[name] + 0.5 * up @ down, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(twice[name], before[name] + up @ down, atol=1e-6, rtol=1e-5)


def test_network_and_text_encoder_equal_diffusers(sd_eps, style):
    pipeline = StableDiffusionPipeline.from_pretrained(sd_eps)
    pipeline.load_lora_weights(style)
    model, plain = load_image_model(sd_eps, lora=[str(style)]), load_image_model(sd_eps)
    condition = model.encode(["a fox"])
    tokens = pipeline.encode_prompt("a fox", "cpu", 1, False)[0]
    torch.testing.assert_close(condition.tokens, tokens, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(condition.tokens, plain.encode(["a fox"]).tokens, atol=1e-2)
    x, t = torch.randn(1, *model.shape, generator=torch.Generator().manual_seed(0)), torch.tensor([400])
    with torch.no_grad():
        eps = pipeline.unet(x, t, encoder_hidden_states=tokens).sample
        torch.testing.assert_close(model.denoiser(x, t, condition).eps, eps, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(plain.denoiser(x, t, condition).eps, eps, atol=1e-2)


def test_mismatched_or_missing_weights_raise(sd_eps, sdxl, deepfloyd, style, tmp_path):
    with pytest.raises(UserError, match="do not fit this checkpoint"):
        load_image_model(sdxl, lora=[str(style)])
    with pytest.raises(UserError, match="has a tensor that is not supported: see decoder.conv_in.bias"):
        load_image_model(sd_eps, lora=[str(sd_eps / "vae" / "diffusion_pytorch_model.safetensors")])
    with pytest.raises(UserError, match="There is no folder .*@much"):
        load_image_model(sd_eps, lora=[f"{style}@much"])
    for scale in ("nan", "inf", "-inf"):
        with pytest.raises(UserError, match=f"cannot be {scale}: give a finite number"):
            load_image_model(sd_eps, lora=[f"{style}@{scale}"])
    with pytest.raises(UserError, match="it contains none"):
        load_image_model(sd_eps, lora=[str(tmp_path)])


def lora_file(folder: Path, change) -> str:
    """A copy of the weights of `style` with a change to its tensors."""
    tensors = load_file(folder / "pytorch_lora_weights.safetensors")
    change(tensors)
    folder = folder.parent / f"changed-{len(list(folder.parent.iterdir()))}"
    folder.mkdir()
    save_file(tensors, folder / "style.safetensors")
    return str(folder / "style.safetensors")


@pytest.mark.parametrize(
    ("tensor", "sentence"),
    [
        (f"unet.{LAYER}.dora_scale", r"has DoRA weights, which are not supported: see unet\..*\.dora_scale"),
        ("lora_unet_x.hada_w1_a", "has LoHa weights, which are not supported: see lora_unet_x.hada_w1_a"),
        ("lora_unet_x.lokr_w1", "has LoKr weights, which are not supported: see lora_unet_x.lokr_w1"),
        ("unet.conv_in.diff", "has a tensor that is not supported: see unet.conv_in.diff"),
        ("unet.x.to_q.lora_A.weight", "unet.x.to_q lacks its up matrix"),
    ],
)  # fmt: skip
def test_tensors_that_cannot_be_added_are_named(sd_eps, style, tensor, sentence):
    file = lora_file(style, lambda tensors: tensors.update({tensor: torch.zeros(2, 2)}))
    with pytest.raises(UserError, match=sentence):
        load_image_model(sd_eps, lora=[file])


def test_layers_that_the_checkpoint_lacks_are_named_and_not_dropped(sd_eps, style):
    def rename(tensors):
        for side in "AB":
            tensors[f"unet.mid.to_q.lora_{side}.weight"] = tensors.pop(f"unet.{LAYER}.lora_{side}.weight")

    with pytest.raises(UserError, match="it lacks 1 of their 19 layers, such as unet.mid.to_q"):
        load_image_model(sd_eps, lora=[lora_file(style, rename)])


def test_files_that_may_run_code_are_refused(sd_eps, tmp_path):
    torch.save({"unet.x.lora_A.weight": torch.zeros(1)}, tmp_path / "style.bin")
    with pytest.raises(UserError, match="from .safetensors files only, not from .*style.bin"):
        load_image_model(sd_eps, lora=[str(tmp_path / "style.bin")])


def test_an_at_sign_in_a_name_is_no_scale(sd_eps, style, tmp_path):
    shutil.copy(style / "pytorch_lora_weights.safetensors", tmp_path / "style@v2.safetensors")
    named = weights(sd_eps, lora=[str(tmp_path / "style@v2.safetensors")])
    plain = weights(sd_eps, lora=[str(style)])
    assert all(torch.equal(plain[name], value) for name, value in named.items())


def test_dora_of_peft_becomes_its_formula(sd_eps, tmp_path):
    """W = m (W0 + B A) / |W0 + B A|, by rows: Liu et al. 2024, equation 5."""
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline.from_pretrained(sd_eps)
    config = LoraConfig(
        r=2, lora_alpha=2, use_dora=True, init_lora_weights="gaussian", target_modules=["to_q"]
    )
    pipeline.unet.add_adapter(config)
    for name, parameter in pipeline.unet.named_parameters():
        if "lora_B" in name or "magnitude" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    pipeline.save_lora_weights(tmp_path, unet_lora_layers=get_peft_model_state_dict(pipeline.unet))
    stored = load_file(tmp_path / "pytorch_lora_weights.safetensors")
    down, up = (stored[f"unet.{LAYER}.lora_{side}.weight"] for side in "AB")
    changed = weights(sd_eps)[f"{LAYER}.weight"] + up @ down
    expected = stored[f"unet.{LAYER}.lora_magnitude_vector"][:, None] * changed / changed.norm(dim=1)[:, None]
    found = weights(sd_eps, lora=[str(tmp_path)])[f"{LAYER}.weight"]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_error_without_peft_names_the_package(monkeypatch):
    monkeypatch.setattr(lora, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install peft"):
        lora.add_lora(None, "a/b")
