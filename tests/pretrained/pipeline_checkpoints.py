"""Video checkpoints in the layouts of diffusers' pipelines: their own classes, tiny, with random weights.

Each function fills a folder and returns it. Clips of them are some 32 pixels on a side and a few frames long.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    CogVideoXDDIMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DDIMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    TextToVideoSDPipeline,
    UNet3DConditionModel,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from tests.pretrained.checkpoints import (
    STABLE_DIFFUSION_SCHEDULE,
    WIDTH,
    clip,
    clip_tokenizer,
    t5_tokenizer,
    vae,
)

T5_SIZES = dict(vocab_size=64, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=4)


def t5_encoder() -> T5EncoderModel:
    return T5EncoderModel(T5Config(**T5_SIZES))


def umt5_encoder() -> UMT5EncoderModel:
    return UMT5EncoderModel(UMT5Config(**T5_SIZES))


def wan(folder: Path, *, expand_timesteps: bool = False) -> Path:
    """Wan 2.1 text to video; with expand_timesteps as Wan 2.2's 5B, which takes an image too."""
    torch.manual_seed(0)
    return _saved(
        WanPipeline(
            tokenizer=t5_tokenizer(),
            text_encoder=umt5_encoder(),
            vae=_wan_autoencoder(),
            scheduler=_wan_scheduler(),
            transformer=_wan_transformer(16),
            expand_timesteps=expand_timesteps,
        ),
        folder,
    )


def wan_image(folder: Path) -> Path:
    """Wan 2.1 image to video, with its image encoder."""
    torch.manual_seed(0)
    encoder = CLIPVisionConfig(
        hidden_size=16, projection_dim=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        image_size=16, patch_size=4,
    )  # fmt: skip
    return _saved(
        WanImageToVideoPipeline(
            tokenizer=t5_tokenizer(),
            text_encoder=umt5_encoder(),
            image_encoder=CLIPVisionModel(encoder),
            image_processor=CLIPImageProcessor(size=16, crop_size=16),
            vae=_wan_autoencoder(),
            scheduler=_wan_scheduler(),
            transformer=_wan_transformer(36, image_dim=16, added_kv_proj_dim=24),
        ),
        folder,
    )


def _wan_autoencoder() -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )


def _wan_scheduler() -> UniPCMultistepScheduler:
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, num_train_timesteps=1000
    )


def _wan_transformer(in_channels: int, **image: int) -> WanTransformer3DModel:
    return WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=in_channels,
        out_channels=16, text_dim=WIDTH, freq_dim=16, ffn_dim=32, num_layers=2, cross_attn_norm=True,
        rope_max_seq_len=32, **image,
    )  # fmt: skip


def ltx(folder: Path, *, timestep_conditioning: bool = False) -> Path:
    """LTX-Video, with or without an image; from 0.9.1 on its decoder denoises too and takes a timestep."""
    torch.manual_seed(0)
    widths, layers = (8, 8, 8, 8), (1, 1, 1, 1, 1)
    autoencoder = AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=widths, decoder_block_out_channels=widths,
        layers_per_block=layers, decoder_layers_per_block=layers, timestep_conditioning=timestep_conditioning,
    )  # fmt: skip
    transformer = LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=12, cross_attention_dim=24,
        num_layers=2, caption_channels=WIDTH,
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024,
        max_image_seq_len=4096, shift_terminal=0.1,
    )  # fmt: skip
    tokenizer = t5_tokenizer()
    tokenizer.model_max_length = 128
    return _saved(LTXPipeline(scheduler, autoencoder, t5_encoder(), tokenizer, transformer), folder)


def cogvideox(
    folder: Path, *, image: bool = False, learned_positions: bool = False, patch_size_t: int | None = None
) -> Path:
    """CogVideoX-2b, or a 5b-I2V with an image; learned positions hold it to one size, as in that model.

    patch_size_t: latent frames of a token, 2 in CogVideoX 1.5.
    """
    torch.manual_seed(0)
    autoencoder = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2,
        temporal_compression_ratio=4, sample_height=32, sample_width=48,
    )  # fmt: skip
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=4, attention_head_dim=16, in_channels=8 if image else 4, out_channels=4,
        time_embed_dim=8, text_embed_dim=WIDTH, num_layers=2, sample_width=6, sample_height=4,
        sample_frames=9, max_text_seq_length=226, patch_size_t=patch_size_t, patch_bias=patch_size_t is None,
        use_rotary_positional_embeddings=learned_positions or patch_size_t is not None,
        use_learned_positional_embeddings=learned_positions,
        ofs_embed_dim=8 if image and patch_size_t else None,
    )  # fmt: skip
    scheduler = CogVideoXDDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
        prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=3.0,
        timestep_spacing="trailing",
    )  # fmt: skip
    kind = CogVideoXImageToVideoPipeline if image else CogVideoXPipeline
    tokenizer = t5_tokenizer()
    return _saved(kind(tokenizer, t5_encoder(), autoencoder, transformer, scheduler), folder)


def modelscope(folder: Path) -> Path:
    """ModelScope's text to video."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    network = UNet3DConditionModel(
        sample_size=4, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=2,
        cross_attention_dim=WIDTH, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    )  # fmt: skip
    scheduler = DDIMScheduler(**STABLE_DIFFUSION_SCHEDULE)
    return _saved(TextToVideoSDPipeline(vae(), clip(tokenizer), tokenizer, network, scheduler), folder)


VIDEO: dict[str, Callable[[Path], Path]] = {
    "wan": wan,
    "wan-2.2": partial(wan, expand_timesteps=True),
    "wan-image": wan_image,
    "ltx": ltx,
    "ltx-0.9.1": partial(ltx, timestep_conditioning=True),
    "cogvideox": cogvideox,
    "cogvideox-1.5": partial(cogvideox, patch_size_t=2),
    "cogvideox-1.5-image": partial(cogvideox, patch_size_t=2, image=True),
    "cogvideox-image": partial(cogvideox, image=True, learned_positions=True),
    "modelscope": modelscope,
}


def _saved(pipeline: DiffusionPipeline, folder: Path) -> Path:
    pipeline.save_pretrained(folder)
    return folder
