"""The work of the peers is the same as ours, at toy size."""

from pathlib import Path

import pytest
import torch

from core.attributes import encode_attributes
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from dreamlift.bench.peers import animatediff, checkpoints, full_size, sampling_loops, stable_diffusion
from dreamlift.bench.peers.stable_diffusion import Place
from dreamlift.bench.plan import Settings
from dreamlift.bench.suites import gpu

CPU = torch.device("cpu")


def test_overhead_of_every_sampler_is_of_ours_and_of_each_peer() -> None:
    for name, case in sampling_loops.cases(None).items():
        measured = sampling_loops.measure(name, case, steps=3, repeats=1)
        assert [*measured.sides] == ["ours", "diffusers"]
        missing = [] if name in ("UniPC", "flow Euler") else ["k-diffusion"]
        assert measured.missing == missing
    alone = sampling_loops.measure(name, case, steps=3, repeats=1, peers=False)
    assert [*alone.sides] == ["ours"] and not alone.missing


def test_loops_over_one_network_give_it_the_same_calls() -> None:
    seen: list[tuple[float, ...]] = []

    class Watched(torch.nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
            seen.append(tuple(t.tolist()))
            return torch.tanh(x)

    condition = Condition(torch.zeros(2, 1, 8), torch.ones(2, 1, dtype=torch.bool), encode_attributes(2))
    denoiser = Denoiser(Watched(), NoiseSchedule.cosine(), Parameterization.V)
    calls: list[list[tuple[float, ...]]] = []
    for prepare in sampling_loops.with_network(denoiser, condition, (2, 3, 4, 4)).values():
        prepare(4)()
        calls.append([*seen])
        seen.clear()
    assert calls[0] == calls[1] and len(calls[0]) == 4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints.stable_diffusion(folder / "sd", tiny=True)
    checkpoints.motion_adapter(folder / "motion", tiny=True)
    return Place(folder / "sd", CPU, torch.float32, size=64, frames=2, motion=folder / "motion")


@pytest.mark.parametrize(
    "prepared",
    [stable_diffusion.SAMPLING, stable_diffusion.DISTILLATION, animatediff.CLIPS],
    ids=["sampling", "distillation", "clips"],
)
def test_steps_of_ours_and_of_diffusers_have_the_same_result(place: Place, prepared: dict) -> None:
    ours, theirs = (prepared[library](place)() for library in ("ours", "diffusers"))
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert Path(place.folder).is_dir()


def test_gpu_suite_measures_each_library_eager_and_compiled(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, with sides that do nothing, in this process."""
    compiled: list[bool] = []

    class InThisProcess:
        work, output, peak_gb = None, 0.0, 0.0

        def __init__(
            self, device: torch.device, threads: int, prepare: object, place: Place, count: bool
        ) -> None:
            assert count != place.compiled and place.dtype == torch.bfloat16
            compiled.append(place.compiled)

        def __call__(self) -> float:
            return 2.0

        def __enter__(self) -> "InThisProcess":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(full_size, "Worker", InThisProcess)
    monkeypatch.setattr(gpu, "_place", lambda settings: place._replace(dtype=torch.bfloat16))
    for row in gpu.rows():
        measured = row.measure(Settings(CPU, tmp_path, repeats=1, quick=True))
        assert [*measured.sides] == ["ours", "diffusers", "ours compiled", "diffusers compiled"]
    assert compiled == [True, True, False, False] * 3


def test_repeated_steps_return_the_last_result() -> None:
    results = iter([1.0, 2.0, 3.0])
    assert gpu.repeated(lambda place: lambda: next(results), 3, None)() == 3
