"""One clip on several GPUs: the tokens of a pipeline's transformer are spread over processes.

Diffusers' context parallelism, by the method of Jacobs et al. 2023, "DeepSpeed Ulysses": every process has
all weights and a part of the tokens; before attention they exchange tokens for heads, and afterwards back.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from datetime import timedelta

import torch
from torch import Tensor, distributed

from core.batches.run import process_count
from core.errors import UserError
from core.sampling import StepCallback
from video.options import ClipOptions, ClipRequest
from video.pipelines.pipelines import PipelineModel

PATIENCE = timedelta(hours=2)  # that the others wait while the first process decodes and writes


class ParallelModel:
    """A pipeline model on several processes. The first one leads, and the others sample what it samples.

    All see the same latents; only the first decodes them.
    """

    keeps_latents = True

    def __init__(self, model: PipelineModel) -> None:
        """model: with its weights on this process's device, see `spread`."""
        self.model = model
        self.record = model.record

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return distributed.get_rank() == 0

    def group(self, prompt: str, options: ClipOptions) -> str | None:
        """As of the pipeline model."""
        return self.model.group(prompt, options)

    def read(self, prompt: str) -> str:
        """As of the pipeline model."""
        return self.model.read(prompt)

    def sample(self, requests: Sequence[ClipRequest], on_step: StepCallback) -> Tensor:
        """Clips (B,3,F,H,W) in [-1, 1] of one group, while the other processes are in `follow`."""
        _broadcast(requests)
        return self.model.decode(self.model.sample_latents(requests, on_step))

    def follow(self) -> None:
        """Samples what the first process samples, until it calls `close`. Errors are the first one's too."""
        while requests := _broadcast(None):
            try:
                self.model.sample_latents(requests, lambda state: None)
            except Exception as error:  # the first process has it too, records it, and goes on
                print(f"process {distributed.get_rank()}: {error}")

    def close(self) -> None:
        """Ends `follow` in the other processes."""
        _broadcast(None)

    def decode(self, x: Tensor) -> Tensor:
        """As of the pipeline model, by this process alone."""
        return self.model.decode(x)

    def preview_frames(self, x: Tensor) -> Tensor:
        """As of the pipeline model, by this process alone."""
        return self.model.preview_frames(x)


def check_parallel(options: ClipOptions) -> None:
    """Raises UserError unless --context-parallel, where given, has its processes and a GPU for each."""
    count = options.context_parallel
    if not count:
        return
    if process_count() != count:
        raise UserError(
            f"--context-parallel {count} needs {count} processes, not {process_count()}: start it with "
            f"torchrun --nproc-per-node {count} --no-python gen-video."
        )
    here, found = int(os.environ.get("LOCAL_WORLD_SIZE", count)), torch.accelerator.device_count()
    if found < here:
        raise UserError(
            f"--context-parallel {count} needs a GPU for each process: there are {found} here, not {here}."
        )


def spread(model: PipelineModel, count: int) -> ParallelModel:
    """The model with its transformers' tokens on `count` processes, which find each other.

    Raises UserError where the installed diffusers cannot spread them.
    """
    import diffusers

    config = getattr(diffusers, "ContextParallelConfig", None)
    names = [name for name in ("transformer", "transformer_2") if getattr(model.pipeline, name, None)]
    transformers = [getattr(model.pipeline, name) for name in names]
    fields = getattr(config, "__dataclass_fields__", {})
    if config is None or "ulysses_anything" not in fields or not all(each._cp_plan for each in transformers):
        raise UserError(
            f"diffusers {diffusers.__version__} has no context parallelism for {model.family.title}: install "
            "a newer version, or omit --context-parallel."
        )
    if model.device.type == "cuda":
        torch.cuda.set_device(model.device)
    if not distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if model.device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE)
        atexit.register(distributed.destroy_process_group)  # without it processes hang when they end
    for transformer in transformers:
        # "anything": numbers of tokens and of heads need not be multiples of the number of processes.
        transformer.enable_parallelism(config=config(ulysses_degree=count, ulysses_anything=True))
    return ParallelModel(model)


def _broadcast(requests: Sequence[ClipRequest] | None) -> Sequence[ClipRequest] | None:
    """The requests of the first process; what the others give does not count."""
    box = [requests]
    distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]
