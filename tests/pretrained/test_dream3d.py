"""`dream3d` on checkpoints: gradients against diffusers' parts, and the command as a subprocess."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import trimesh
import yaml
from diffusers import DDPMScheduler, DiffusionPipeline

from core.condition import Condition
from core.guidance import ClassifierFreeGuidance
from core.pretrained.image_model import load_image_model
from dream3d.distill import CSD, ISM, SDS, VSD, LinearAnnealing, make_model_space
from dream3d.distill.contract import noise_for
from dream3d.optimization.build_loss import build_distillation
from dream3d.optimization.view_conditioning import ViewTextDenoiser, ViewTexts, camera_condition
from dream3d.options import ObjectOptions, Stage
from tests.conftest import ROOT

SCALE = 100.0


@pytest.mark.parametrize("name", ["sd_eps", "sd_v", "deepfloyd"])
def test_gradient_equals_one_from_diffusers_parts(name, request):
    """w(t) (eps^ - eps) d latents / d render, computed with the pipeline's U-Net, VAE and scheduler."""
    folder = request.getfixturevalue(name)
    model = load_image_model(folder)
    renders = torch.rand(2, 3, model.size, model.size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    condition, unconditional = model.encode(["a fox, front view", "a fox, back view"]), model.encode([""])

    guided = ClassifierFreeGuidance(model.denoiser, SCALE, unconditional)
    ours = renders.clone().requires_grad_()
    generator = torch.Generator().manual_seed(5)
    result = SDS(guided, LinearAnnealing((0.3, 0.6), (0.3, 0.6)), make_model_space(model.first_stage))(
        ours, condition, 0.0, generator
    )
    result.loss.backward()

    pipeline = DiffusionPipeline.from_pretrained(folder)
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    theirs = renders.clone().requires_grad_()
    x = theirs
    if hasattr(pipeline, "vae"):
        x = pipeline.vae.encode(theirs).latent_dist.mode() * pipeline.vae.config.scaling_factor
    again = torch.Generator().manual_seed(5)
    LinearAnnealing((0.3, 0.6), (0.3, 0.6)).draw(2, 0.0, 1000, again)
    eps = noise_for(x, again)
    with torch.no_grad():
        noised = scheduler.add_noise(x, eps, result.t)
        texts = torch.cat(
            [
                pipeline.encode_prompt(
                    p, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
                )[0]
                for p in ("", "", "a fox, front view", "a fox, back view")
            ]
        )
        out = pipeline.unet(noised.repeat(2, 1, 1, 1), result.t.repeat(2), encoder_hidden_states=texts).sample
        uncond, cond = out[:, : x.shape[1]].chunk(2)
        predicted = uncond + SCALE * (cond - uncond)
        abar = scheduler.alphas_cumprod[result.t].view(-1, 1, 1, 1)
        if scheduler.config.prediction_type == "v_prediction":
            predicted = abar.sqrt() * predicted + (1 - abar).sqrt() * noised
        gradient = (1 - abar) * (predicted - eps)
    x.backward(gradient)
    assert (ours.grad - theirs.grad).abs().max() < 1e-4 * theirs.grad.abs().max()


def test_every_pixel_of_a_latent_model_has_a_gradient(sdxl):
    model = load_image_model(sdxl)
    renders = torch.zeros(1, 3, model.size, model.size, requires_grad=True)
    guided = ClassifierFreeGuidance(model.denoiser, SCALE, model.encode([""]))
    space = make_model_space(model.first_stage)
    result = SDS(guided, LinearAnnealing(), space)(renders, model.encode(["a fox"]), 0.5, torch.Generator())
    result.loss.backward()
    assert (renders.grad.abs().sum(1) > 0).float().mean() > 0.99
    assert result.to_images().shape == renders.shape


def options(loss: str) -> ObjectOptions:
    stage = Stage(share=1, size=16, samples=8, grid=12)
    chosen = ObjectOptions(iterations=2, views=2, learning_rate=0.1, loss=loss, stages=(stage,))
    return chosen.with_model_defaults(takes_camera=False, latents=True)


@pytest.mark.parametrize(("loss", "kind"), [("csd", CSD), ("ism", ISM), ("vsd", VSD), ("sds", SDS)])
def test_every_loss_is_conditioned_on_view_texts(loss, kind, sdxl, monkeypatch):
    model = load_image_model(sdxl)
    conditions = []
    network = model.denoiser.network
    forward = type(network).forward
    monkeypatch.setattr(
        type(network), "forward", lambda self, x, t, c: conditions.append(c) or forward(self, x, t, c)
    )
    build_loss = build_distillation(model, "a fox", options(loss), seed=0)
    distillation = build_loss(options(loss).stages[0])
    assert type(distillation) is kind
    azimuth = torch.tensor([0.0, 180.0])
    condition = camera_condition(model.encode(["a fox on a blue ground"]), azimuth, torch.zeros(2))
    renders = torch.zeros(2, 3, model.size, model.size, requires_grad=True)
    distillation(renders, condition, 0.5, torch.Generator().manual_seed(0)).loss.backward()
    views = model.encode(["a fox, front view", "a fox, back view"])
    with_text = next(c for c in conditions if any(torch.equal(row, views.tokens[0]) for row in c.tokens))
    for tokens, pooled in zip(views.tokens, views.pooled, strict=True):
        row = next(i for i, other in enumerate(with_text.tokens) if torch.equal(other, tokens))
        assert torch.equal(with_text.pooled[row], pooled)


def test_view_texts_replace_the_text_of_rows_with_a_camera():
    """Rows in front, behind and halfway to the side, and a row without a camera."""

    class ConditionRecorder:
        schedule = None

        def predict(self, x, t, condition):
            self.condition = condition

    texts = torch.arange(3.0).view(3, 1, 1).expand(3, 2, 4)

    def condition(tokens):
        return Condition(
            tokens, torch.ones(tokens.shape[:2], dtype=torch.bool), torch.zeros(len(tokens), 10), tokens[:, 0]
        )

    rows = camera_condition(
        condition(torch.full((4, 2, 4), 9.0)),
        torch.tensor([0.0, 180.0, -45.0, math.nan]),
        torch.tensor([0.0, 0.0, 0.0, math.nan]),
    )
    denoiser = ConditionRecorder()
    ViewTextDenoiser(denoiser, ViewTexts(condition(texts))).predict(None, None, rows)
    assert denoiser.condition.tokens[:, 0, 0].tolist() == [0.0, 2.0, 0.5, 9.0]
    assert denoiser.condition.pooled[:, 0].tolist() == [0.0, 2.0, 0.5, 9.0]
    assert not denoiser.condition.attributes[:, :5].any()


TINY = {
    "iterations": 4,
    "views": 2,
    "learning_rate": 0.2,
    "loss": "sds",
    "texture": 64,
    "faces": 2000,
    "turn": 4,
    "stages": [{"share": 1.0, "size": 16, "samples": 16, "grid": 16}],
}


def dream3d(folder: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    code = "import sys; sys.argv[0] = 'dream3d'; from dream3d.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
    )


@pytest.mark.parametrize(
    ("name", "scale"), [("sd_eps", 100.0), ("sd_v", 100.0), ("sdxl", 100.0), ("deepfloyd", 20.0)]
)
def test_the_command_makes_an_object_with_every_checkpoint(name, scale, request, tmp_path):
    folder = request.getfixturevalue(name)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    done = dream3d(tmp_path, "a fox", "--model", folder, "--preset", "tiny.yaml", "--out", "fox.obj")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") < 5 and "Warning" not in done.stderr, done.stderr
    assert len(trimesh.load(tmp_path / "fox.glb", force="mesh").faces) > 0
    record = json.loads((tmp_path / "fox.dream3d.json").read_text())
    assert record["model"] == str(folder) and record["dtype"] == "float32"
    assert record["model_kind"] == json.loads((folder / "model_index.json").read_text())["_class_name"]
    assert record["options"]["camera"] == "words"
    assert [stage["guidance"] for stage in record["options"]["stages"]] == [scale]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--model", "someone/missing"],
            "someone/missing is not in the local cache, and HF_HUB_OFFLINE is set",
        ),
        (["--model", "UNET"], "has the class UNet2DConditionModel, which is not supported"),
        (["--model", "SD", "--lora", "nothing.safetensors"], "There is no folder nothing.safetensors"),
        (["--model", "SD", "--dtype", "int4"], "--dtype cannot be 'int4'"),
        (["--model", "SD", "--offload", "--loss", "vsd"], "--offload cannot be combined with --loss vsd"),
        (["--lora", "x.safetensors"], "--lora, --dtype and --offload are for checkpoints"),
    ],
)
def test_invalid_arguments_are_errors_before_any_work(arguments, sentence, sd_eps, tmp_path):
    places = {"SD": sd_eps, "UNET": sd_eps / "unet"}
    done = dream3d(tmp_path, "a fox", *(places.get(word, word) for word in arguments))
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
