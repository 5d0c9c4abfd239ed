"""The processes of a training run, which accelerate or torchrun has started."""

import atexit
import gc
import os
from importlib import import_module
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

    Their group ends before the interpreter does. A thread of Gloo that frees its last tensor later than that
    aborts the process, https://github.com/pytorch/pytorch/issues/190489.
    """
    if torch.distributed.is_available():
        # As DistributedDataParallel does later, when its default arguments would be the group, for good.
        import_module("torch.distributed.nn")

    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.accelerator.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))


@atexit.register
def _end_processes() -> None:
    """The group joins its threads when nothing refers to it any more."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        gc.collect()
