"""The processes of a training run, which accelerate or torchrun has started."""

import os
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import parse_flag_from_env

from core.errors import UserError


def make_accelerator(tracker: str | None = None, folder: Path | None = None) -> Accelerator:
    """Accelerator with the detected device and processes. The trainer does its own autocasting.

    tracker, folder: see `core.training.monitoring.trackers`; the run folder.

    Raises UserError for accelerate's FSDP and DeepSpeed. Optimizer and averages are of whole weights here, so
    that a network in shards would not be trained.
    """
    for name in ("FSDP", "DEEPSPEED"):
        if parse_flag_from_env(f"ACCELERATE_USE_{name}"):
            raise UserError(
                f"Each process holds the whole network, so {name} cannot divide it: choose distributed_type "
                "MULTI_GPU, as in configs/accelerate/gpus.yaml."
            )
    # In joint image-video training the temporal layers have no gradient in some steps.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    torch.set_float32_matmul_precision("high")  # TF32 on CUDA; no effect on CPUs
    processes()
    return Accelerator(kwargs_handlers=[unused], log_with=tracker, project_dir=folder)


def processes() -> PartialState:
    """The processes that accelerate or torchrun has started for this run; they find each other at first use.

    Of several on a machine without an accelerator, accelerate would know only with ACCELERATE_USE_CPU: each
    would train alone, in one folder.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.accelerator.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
