"""`dreamlift bench`: what it writes and what it refuses."""

import json
from pathlib import Path

import pytest
import torch

from core.errors import UserError
from core.machine_rates import MachineRates
from dreamlift.bench import run
from dreamlift.bench.plan import Row, Settings, compare, grow
from dreamlift.bench.results import BenchResult, Comparison, Cost, Part, Parts
from dreamlift.bench.tables import as_markdown
from dreamlift.commands import bench as command
from dreamlift.commands.bench import bench


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def three_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row of each kind, in place of the suite's."""

    def comparison(settings: Settings) -> Comparison:
        sides = {"ours": lambda: 1.0, "peer": lambda: 2.0, "other": None}
        return compare("Table", "row", sides, settings.repeats, per="call")

    def cost(settings: Settings) -> Cost:
        return grow("Cost", "frames", {1: lambda: None, 2: lambda: None}, settings)

    def parts(settings: Settings) -> Parts:
        return Parts(name="Parts", per="clip", parts={"a": Part(seconds=[1.0] * settings.repeats)})

    rows = [Row("compared", comparison), Row("grown", cost), Row("split", parts)]
    monkeypatch.setattr(run, "rows_of", lambda suite: rows)
    monkeypatch.setattr(run, "measure_rates", lambda *_: MachineRates(1, 2, 3, 4))


@pytest.mark.usefixtures("three_rows")
def test_figures_and_chart_are_written_and_not_replaced_once_they_are_changed(
    in_a_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench("core")
    text = (in_a_folder / "bench-core.json").read_text(encoding="utf-8")
    result = BenchResult.model_validate(json.loads(text))
    assert result.comparisons[0].relative("peer")[:3] == (0.5, 0.5, 0.5)
    assert result.comparisons[0].missing == ["other"]
    assert len(result.costs[0].points[1].seconds) == len(result.parts[0].parts["a"].seconds) == 5
    assert result.rates.memory == 4
    assert result.environment.threads == 1 and result.environment.clock.startswith("processor time")
    assert (in_a_folder / "bench-core.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr()
    assert "bench-core.json" in printed.out
    assert "compared: ours 1 s, peer 2 s, other not installed per call" in printed.err

    bench("core", quick=True)  # replaces its own
    (in_a_folder / "bench-core.json").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="not as an earlier run has left it"):
        bench("core")
    bench("core", overwrite=True)


@pytest.mark.usefixtures("three_rows")
def test_without_matplotlib_there_is_no_chart(
    in_a_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    bench("start", out=Path("figures.json"), quick=True)
    assert (in_a_folder / "figures.json").is_file() and not (in_a_folder / "figures.png").exists()
    assert "matplotlib is not installed" in capsys.readouterr().err


def test_what_cannot_be_measured_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="needs a CUDA GPU, and PyTorch finds none"):
        bench("gpu")
    with pytest.raises(UserError, match=r"end in \.json"):
        bench("core", out=Path("figures.txt"))
    with pytest.raises(UserError, match="--repeats cannot be 4"):
        bench("core", repeats=4)
    monkeypatch.setattr(command, "free_disk", lambda folder: 2**30)
    with pytest.raises(UserError, match="set TMPDIR"):
        bench("core")


def test_a_row_without_its_memory_is_reported_and_the_others_are_measured(
    in_a_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(settings: Settings) -> Comparison:
        raise UserError("The process has ended.")

    def comparison(settings: Settings) -> Comparison:
        return compare("Table", "row", {"ours": lambda: 1.0}, settings.repeats, per="call")

    rows = [Row("large", comparison, memory=22), Row("failing", fails), Row("small", comparison, memory=1)]
    monkeypatch.setattr(run, "rows_of", lambda suite: rows)
    monkeypatch.setattr(run, "measure_rates", lambda *_: MachineRates(1, 2, 3, 4))
    monkeypatch.setattr(run, "free_memory", lambda: 2**31)
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    bench("dream3d")
    result = BenchResult.model_validate_json((in_a_folder / "bench-dream3d.json").read_text(encoding="utf-8"))
    assert [each.name for each in result.comparisons] == ["row"]
    assert result.not_run.keys() == {"large", "failing"}
    assert "22 GiB of memory, of which 2.0 GiB are free" in result.not_run["large"]
    assert "failing: not run. The process has ended." in capsys.readouterr().err
    assert "| failing | The process has ended. |" in as_markdown(result)


def test_differences_alone_have_a_chart(in_a_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def difference(settings: Settings) -> Comparison:
        sides = {"ours": lambda: 2.0, "nothing": lambda: 0.5}
        return compare("Table", "row", sides, settings.repeats, per="process", relation="difference")

    monkeypatch.setattr(run, "rows_of", lambda suite: [Row("row", difference)])
    monkeypatch.setattr(run, "measure_rates", lambda *_: MachineRates(1, 2, 3, 4))
    bench("start")
    assert (in_a_folder / "bench-start.png").read_bytes().startswith(b"\x89PNG")
