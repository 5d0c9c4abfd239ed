"""`dreamlift doctor`: what it finds, and the commands that mend it."""

from pathlib import Path

import pytest
import torch

from core.errors import UserError
from core.io import machine
from core.machine_rates import MachineRates
from dreamlift.commands import findings
from dreamlift.commands.doctor import describe_tier, doctor
from dreamlift.commands.findings import EXTRAS, REPAIR, Finding, find_problems

CPU = torch.device("cpu")


def test_a_machine_without_room_processors_and_extras(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(findings, "free_memory", lambda: 2**20)
    monkeypatch.setattr(findings, "free_disk", lambda folder: 2**20)
    monkeypatch.setattr(findings.os, "sched_getaffinity", lambda process: {0}, raising=False)
    monkeypatch.setattr(findings.torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(findings.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(findings, "find_spec", lambda module: None)
    monkeypatch.setattr(findings.os, "access", lambda path, mode: False)
    found = [*find_problems(CPU)]
    problems = " ".join(finding.problem for finding in found)
    for words in (
        "NVIDIA GPU",
        "1 MiB of memory",
        "1 MiB are free",
        "cannot be written",
        "8 threads on 1 processor",
    ):
        assert words in problems
    assert "export OMP_NUM_THREADS=1" in [finding.hint for finding in found]
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f"\n{extra} = [" in project for extra, _ in EXTRAS.values())
    assert all(f'pip install ".[{extra}]"' in [each.hint for each in found] for extra, _ in EXTRAS.values())


def test_damaged_weights_are_named_with_what_mends_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def damaged(*_: object) -> None:
        raise UserError("The weights are damaged.")

    for network in ("core.models.image_model.ImageModel.load", "video.video_model.VideoModel.load"):
        monkeypatch.setattr(network, damaged)
    rates = MachineRates(matmul=100.0, convolution=120.0, bfloat16=250.0, memory=12.0)
    monkeypatch.setattr("core.machine_rates.measure_rates", lambda device, seconds: rates)
    monkeypatch.setattr(findings, "find_problems", lambda device: [Finding("It is cold.", "heat")])
    with pytest.raises(UserError, match="The weights are damaged"):
        doctor()
    printed = capsys.readouterr().out
    for line in ("100 GFLOP/s in float32, 250 in bfloat16", "120 GFLOP/s in float32\n", "12 GB/s\n"):
        assert line in printed
    assert "It is cold." in printed and "not usable" in printed and "heat" not in printed
    with pytest.raises(UserError, match="The weights are damaged"):
        doctor(fix_hints=True)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[lines.index("found        It is cold.") + 1] == "heat" and lines[-1] == REPAIR


@pytest.mark.parametrize(
    ("device", "flags", "sentence"),
    [
        (
            "cpu",
            {"avx512_bf16"},
            "fast: this processor computes bfloat16 products in hardware, here 2.5 times",
        ),
        ("cpu", {"avx2"}, "exact: this processor has no instructions for bfloat16 (2.5 times"),
        ("cuda", set[str](), "exact: fast has not been measured on GPUs; bfloat16 is 2.5 times as fast"),
    ],
)
def test_the_tier_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, device: str, flags: set[str], sentence: str
) -> None:
    monkeypatch.setattr(machine, "_cpu_flags", lambda: flags)
    rates = MachineRates(matmul=100.0, convolution=120.0, bfloat16=250.0, memory=12.0)
    assert describe_tier(torch.device(device), rates).startswith(sentence)
