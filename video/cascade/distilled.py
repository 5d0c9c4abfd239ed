"""A video model that needs few steps: low-rank changes of its weights, learned by progressive distillation.

Salimans and Ho 2022; of guided models: Meng et al. 2023, "On Distillation of Guided Diffusion Models". The
student is the teacher's network with adapters, so that its folder stores these alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from core.diffusion.denoiser import Denoiser
from core.errors import UserError
from core.io.base_model import CONFIG
from core.io.presets import validate
from core.io.weights import load_folder, load_weights, save_folder
from core.nn.lora import LoRANetwork


class DistilledConfig(BaseModel):
    """Configuration of a distilled model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=8, ge=1, description="steps of DDIM, at the timesteps of trailing spacing")
    rank: int = Field(default=16, ge=1, description="of the change of every layer")
    guidance: float = Field(default=2.0, ge=1, description="guidance scale that the student has learned")
    teacher: str = Field(default="", description="sha256 of the teacher's weights")

    def student(self, teacher: Denoiser) -> Denoiser:
        """A new student: the teacher with adapters that change nothing yet."""
        generator = torch.Generator().manual_seed(0)
        return teacher.with_network(LoRANetwork(teacher.network, self.rank, generator))


def save_student(
    folder: Path, config: DistilledConfig, adapters: Mapping[str, Tensor], notes: Mapping[str, Any]
) -> None:
    """Writes config.json and model.safetensors (float16). adapters: the state of a `LoRANetwork`."""
    save_folder(folder, {"distilled": config.model_dump(mode="json"), "training": dict(notes)}, adapters)


def load_student(folder: Path, teacher: Denoiser, sha256: str) -> tuple[DistilledConfig, Denoiser]:
    """The student of a teacher, whose own weights stay as they are; see `merged`.

    sha256: of the teacher's weights file.

    Raises UserError when the folder is missing, damaged, or of another teacher.
    """
    stored = load_folder(folder)
    config = validate(stored.config.get("distilled"), DistilledConfig, folder / CONFIG)
    if config.teacher != sha256:
        raise UserError(f"The distilled model in {folder} is of another video model.")
    student = config.student(teacher)
    load_weights(student.network, stored.tensors, folder)
    return config, student


def merged(student: Denoiser) -> Denoiser:
    """A copy of the student with the changes added to its weights, as fast as the teacher."""
    adapted = student.network
    assert isinstance(adapted, LoRANetwork)
    network, weights = deepcopy(adapted.network), adapted.weights()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(weights[name])
    return student.with_network(network.eval().requires_grad_(False))
