"""Presets of short runs, and what tests read of a run."""

import json
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

TRAINING = {
    "batch_size": 2,
    "compile": False,
    "bfloat16": False,
    "log_steps": 1,
    "warmup_steps": 0,
    "decay": 0.0,
    "learning_rate": 1e-2,
}


def preset(path: Path, training: dict | None = None, **values: object) -> str:
    path.write_text(yaml.safe_dump({**values, "training": TRAINING | (training or {})}))
    return str(path)


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


def checkpoint_of(run: Path) -> dict[str, Tensor]:
    return load_file(run / "checkpoint.safetensors")


def prepared_clips(cache: Path) -> Tensor:
    """Clips (N,3,F,H,W) in [-1, 1] of the prepared shards."""
    return load_file(cache / "clips-00000.safetensors")["pixels"].transpose(1, 2).float() / 127.5 - 1


def prepared_captions(cache: Path) -> list[str]:
    """The caption of each prepared clip or picture."""
    lines = (cache / "captions.txt").read_text().splitlines()
    (shard,) = [path for path in cache.glob("*-00000.safetensors") if not path.name.startswith("latents")]
    return [lines[i] for i in load_file(shard)["caption"].tolist()]


def noise_like(x: Tensor, seed: int = 0) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
