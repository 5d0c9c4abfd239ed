"""Checkpoints through our own engine, against diffusers' pipelines of the same folders."""

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline

from core.pretrained.image_model import load_image_model

PROMPTS = ["a fox on a swing", "two pandas, 1 guitar"]
SEEDS = [3, 4]
STEPS, GUIDANCE = 10, 7.5


def relative(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def generators():
    return [torch.Generator().manual_seed(seed) for seed in SEEDS]


def diffusers_pipeline(folder, **settings):
    """As published, but DDIM for the latent ones, of the published schedule."""
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    if hasattr(pipeline, "vae"):
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, **settings)
    return pipeline


@pytest.mark.parametrize("name", ["sd_eps", "sd_v", "sdxl", "deepfloyd"])
def test_same_noise_prompt_and_steps_give_diffusers_pictures(name, request):
    folder = request.getfixturevalue(name)
    pipeline = diffusers_pipeline(folder)
    settings = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "output_type": "pt"}
    theirs = pipeline(PROMPTS, generator=generators(), **settings).images
    if name != "deepfloyd":
        theirs = theirs * 2 - 1
    states = []
    model = load_image_model(folder)
    ours = model.sample(PROMPTS, steps=STEPS, guidance=GUIDANCE, seeds=SEEDS, on_state=states.append)
    assert ours.shape == theirs.shape and len(states) == STEPS
    print(name, relative(ours, theirs.clamp(-1, 1)), states[-1].x.std())
    assert relative(ours, theirs.clamp(-1, 1)) < 1e-4
