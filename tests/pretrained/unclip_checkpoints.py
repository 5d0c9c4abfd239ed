"""Tiny checkpoints of unCLIP's family, random weights in the layouts of Karlo and Kandinsky 2.2."""

from importlib import import_module

import torch
from diffusers import (
    DDIMScheduler,
    KandinskyV22CombinedPipeline,
    PriorTransformer,
    UnCLIPPipeline,
    UnCLIPScheduler,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.pretrained.checkpoints import LENGTH, WIDTH, clip, clip_tokenizer

LEVELS = {
    "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "resnet_time_scale_shift": "scale_shift",
    "cross_attention_dim": WIDTH,
}


def karlo() -> UnCLIPPipeline:
    """Images of 32 pixels from a decoder of 16."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    blocks = {
        "down_block_types": ("ResnetDownsampleBlock2D",) * 2,
        "up_block_types": ("ResnetUpsampleBlock2D",) * 2,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "in_channels": 6,
        "out_channels": 3,
    }
    return UnCLIPPipeline(
        prior=prior(),
        decoder=UNet2DConditionModel(
            sample_size=16, in_channels=3, out_channels=6, class_embed_type="identity", **LEVELS
        ),
        text_encoder=clip(tokenizer, WIDTH),
        tokenizer=tokenizer,
        text_proj=import_module(UnCLIPPipeline.__module__).UnCLIPTextProjModel(
            clip_embeddings_dim=WIDTH, time_embed_dim=128, cross_attention_dim=WIDTH
        ),
        super_res_first=UNet2DModel(sample_size=32, **blocks),
        super_res_last=UNet2DModel(sample_size=32, **blocks),
        prior_scheduler=prior_scheduler(),
        decoder_scheduler=UnCLIPScheduler(variance_type="learned_range", prediction_type="epsilon"),
        super_res_scheduler=UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="epsilon"),
    )


def kandinsky() -> KandinskyV22CombinedPipeline:
    """Images of a latent U-Net, with the prior in the same folder."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=37,
        num_hidden_layers=1,
        num_attention_heads=4,
        image_size=16,
        patch_size=8,
        projection_dim=WIDTH,
    )
    return KandinskyV22CombinedPipeline(
        unet=UNet2DConditionModel(
            in_channels=4,
            out_channels=8,
            sample_size=8,
            addition_embed_type="image",
            encoder_hid_dim=WIDTH,
            encoder_hid_dim_type="image_proj",
            **LEVELS,
        ),
        scheduler=DDIMScheduler(
            beta_schedule="linear", beta_start=0.00085, beta_end=0.012, clip_sample=False
        ),
        movq=VQModel(
            block_out_channels=(32, 64),
            down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=8,
            norm_type="spatial",
            num_vq_embeddings=12,
            vq_embed_dim=4,
        ),
        prior_prior=prior(),
        prior_image_encoder=CLIPVisionModelWithProjection(vision),
        prior_text_encoder=clip(tokenizer, WIDTH),
        prior_tokenizer=tokenizer,
        prior_scheduler=prior_scheduler(),
        prior_image_processor=CLIPImageProcessor(size=16, crop_size=16),
    )


def prior() -> PriorTransformer:
    """A transformer of one layer with statistics of its embeddings that are not the default."""
    network = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=1,
        embedding_dim=WIDTH,
        num_embeddings=LENGTH,
        additional_embeddings=4,
    )
    torch.nn.init.normal_(network.clip_mean, std=0.1)
    torch.nn.init.constant_(network.clip_std, 0.7)
    return network


def prior_scheduler() -> UnCLIPScheduler:
    """The scheduler of both families' priors."""
    return UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=5.0)
