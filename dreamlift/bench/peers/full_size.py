"""Comparisons of checkpoints at full size: every side is a process of its own, with its weights alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import NamedTuple

from dreamlift.bench.peers.stable_diffusion import Place
from dreamlift.bench.plan import Settings, compare
from dreamlift.bench.results import OURS, Comparison
from dreamlift.bench.worker import Step, Worker

TABLE = "Checkpoints at full size, random weights"
SIZE, QUICK_SIZE = 512, 64  # pixels


class Side(NamedTuple):
    """A side of a comparison: what prepares its step, and at which place."""

    prepare: Callable[..., Step]
    place: Place


def compare_at_full_size(
    name: str, sides: Mapping[str, Side], settings: Settings, *, per: str = "step"
) -> Comparison:
    """Compares sides in turn; without the peers, only ours.

    The last side is loaded first: the peers take more memory while they load than afterwards. The work of
    compiled sides is not counted: a compiler traces it.
    """
    chosen = [side for side in sides if settings.peers or side.startswith(OURS)]
    with ExitStack() as processes:
        workers: dict[str, Worker] = {}
        for side in reversed(chosen):
            prepare, place = sides[side]
            workers[side] = processes.enter_context(
                Worker(settings.device, settings.threads, prepare, place, count=not place.compiled)
            )
        work = {side: worker.work for side, worker in workers.items() if worker.work}
        return compare(
            TABLE, name, {side: workers[side] for side in chosen}, settings.repeats, per=per, work=work
        )
