"""Tiny checkpoints of random weights, written by diffusers and transformers in the real layouts."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    IFPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

LENGTH = 77
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789,."
WIDTH = 32  # width of the text encoders' states


def clip_tokenizer(pad: str | None = None) -> CLIPTokenizer:
    """A tokenizer with letters, digits and their end-of-word forms; no merges."""
    words = [c + end for end in ("", "</w>") for c in CHARACTERS]
    words += ["<|startoftext|>", "<|endoftext|>"] + ([pad] if pad else [])
    return CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)},
        merges=[],
        pad_token=pad or "<|endoftext|>",
        model_max_length=LENGTH,
    )


def t5_tokenizer() -> T5Tokenizer:
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    return T5Tokenizer(vocab=special + [(c, -3.0) for c in CHARACTERS], extra_ids=0, model_max_length=LENGTH)


def clip(
    tokenizer: CLIPTokenizer, projection: int | None = None
) -> CLIPTextModel | CLIPTextModelWithProjection:
    """A CLIP text encoder of three layers; projection: width of the projected pooled state, if any."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        hidden_act="gelu" if projection else "quick_gelu",
        projection_dim=projection or WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def vae(scaling: float = 0.18215) -> AutoencoderKL:
    """An autoencoder that downscales by 8, as the real ones do."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=scaling,
    ).eval()


def unet(size: int = 8, **config) -> UNet2DConditionModel:
    """A U-Net of two levels with cross-attention at one of them. config: changes to its settings."""
    network = UNet2DConditionModel(
        **{
            "sample_size": size,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "cross_attention_dim": WIDTH,
            "attention_head_dim": 2,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            **config,
        }
    )
    return network.eval()


STABLE_DIFFUSION_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def stable_diffusion(
    folder: Path, prediction_type: str = "epsilon", seed: int = 0, network: dict | None = None, **schedule
) -> Path:
    """Stable Diffusion 1.x (epsilon) or 2.x (v_prediction).

    network, schedule: changes to the settings of its U-Net and of its scheduler.
    """
    torch.manual_seed(seed)
    tokenizer = clip_tokenizer("!" if prediction_type == "v_prediction" else None)
    settings = {**STABLE_DIFFUSION_SCHEDULE, "prediction_type": prediction_type, **schedule}
    StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip(tokenizer),
        tokenizer=tokenizer,
        unet=unet(**network or {}),
        scheduler=DDIMScheduler(**settings),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def sdxl(folder: Path, seed: int = 0) -> Path:
    """Stable Diffusion XL: two text encoders; the pooled state and the image sizes are conditions too."""
    torch.manual_seed(seed)
    first, second = clip_tokenizer(), clip_tokenizer("!")
    projection = 24
    StableDiffusionXLPipeline(
        vae=vae(0.13025),
        text_encoder=clip(first),
        text_encoder_2=clip(second, projection),
        tokenizer=first,
        tokenizer_2=second,
        unet=unet(
            cross_attention_dim=2 * WIDTH,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=projection + 6 * 8,
        ),
        scheduler=DDIMScheduler(**STABLE_DIFFUSION_SCHEDULE),
    ).save_pretrained(folder)
    return folder


DEEPFLOYD_NETWORK = {
    "in_channels": 3,
    "out_channels": 6,
    "act_fn": "gelu",
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 2,
    "attention_head_dim": 4,
    "encoder_hid_dim": WIDTH,
    "encoder_hid_dim_type": "text_proj",
    "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "resnet_time_scale_shift": "scale_shift",
    "time_embedding_act_fn": "gelu",
}


def deepfloyd(folder: Path, seed: int = 0, network: dict | None = None) -> Path:
    """DeepFloyd IF's first stage: pixels, a T5 encoder, learned variance, DDPM with dynamic thresholding.

    network: changes to the settings of its U-Net.
    """
    torch.manual_seed(seed)
    text_encoder = T5EncoderModel(
        T5Config(
            vocab_size=4 + len(CHARACTERS),
            d_model=WIDTH,
            d_kv=8,
            d_ff=37,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
        )
    ).eval()
    IFPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=text_encoder,
        unet=unet(16, **DEEPFLOYD_NETWORK | (network or {})),
        scheduler=DDPMScheduler(
            beta_schedule="squaredcos_cap_v2",
            variance_type="learned_range",
            thresholding=True,
            dynamic_thresholding_ratio=0.95,
            sample_max_value=1.5,
            prediction_type="epsilon",
        ),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder
