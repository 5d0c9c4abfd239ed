"""What watches a run: held-back examples and their loss, sample sheets, curves. Training stays the same."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from core.errors import UserError
from core.losses import clipped_snr_weight, simple_loss
from core.models.image_model import ImageModel
from core.training.config import Budget, MonitoringConfig
from core.training.data import Captions, ImageData, Shards
from core.training.monitoring import curves, run_log
from core.training.monitoring.samples import PROMPTS, SampleSheets, held_prompts
from core.training.monitoring.validation import DRAWN, Validation, hold_back, split
from core.training.tasks.images import ImagePreset, ImageTask
from core.training.trainer import BareNetwork, Trainer

NETWORK = {"patch": 2, "widths": [32], "blocks": [1], "attention": [True], "dropout": 0.1}
TRAINING = {"batch_size": 4, "compile": False, "log_steps": 5, "warmup_steps": 0}
PRESET = ImagePreset.model_validate({"model": {"size": 8, "network": NETWORK}, "training": TRAINING})


def write_shards(folder: Path, kind: str, captions: Tensor, seed: int = 0) -> Shards:
    """Shards of random images, or clips of two frames, with these captions."""
    shape = (len(captions), *((2,) if kind == "clips" else ()), 3, 8, 8)
    pixels = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    unknown = {name: torch.full((len(captions),), torch.nan) for name in Shards.COLUMNS}
    save_file(unknown | {"pixels": pixels, "caption": captions}, folder / f"{kind}-00000.safetensors")
    return Shards(folder, kind)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Shards]:
    """Images with captions 0 to 19, and clips with 20 to 29, of which each has three windows."""
    folder = tmp_path_factory.mktemp("shards")
    clips = torch.arange(20, 30).repeat_interleave(3)
    return [write_shards(folder, "images", torch.arange(20)), write_shards(folder, "clips", clips)]


@pytest.fixture(scope="module")
def captions() -> Captions:
    torch.manual_seed(5)
    return Captions.from_states([torch.randn(3, 384) for _ in range(31)])


def held_of(sources: list[Shards], share: float | None, own: bool = True, seed: int = 0) -> list[int]:
    return hold_back(sources, MonitoringConfig(validation=share), seed, own).tolist()


def test_examples_are_held_back_by_their_captions_alone(sources: list[Shards], tmp_path: Path) -> None:
    held = held_of(sources, 0.2)
    assert len(held) == len(set(held)) == 6 and set(held) < set(range(30))
    assert held != held_of(sources, 0.2, seed=1)
    clips = torch.arange(20, 30).repeat_interleave(3)
    other = [write_shards(tmp_path, "images", torch.arange(20), 1), write_shards(tmp_path, "clips", clips, 2)]
    assert held == held_of(other, 0.2)  # whatever the pictures are
    assert set(held) < set(held_of(sources, 0.4))


def test_the_two_parts_are_all_examples_and_share_no_clip(sources: list[Shards]) -> None:
    held = torch.tensor(held_of(sources, 0.2))
    trained, validated = split(sources, held)
    assert sum(map(len, trained)) + sum(map(len, validated)) == sum(map(len, sources))
    for whole, *parts in zip(sources, trained, validated, strict=True):
        index = [torch.arange(len(part)) for part in parts]
        lines = [set(part.rows(rows)["caption"].tolist()) for part, rows in zip(parts, index, strict=True)]
        assert not lines[0] & lines[1] and lines[1] <= set(held.tolist())
        frames = [torch.zeros(len(rows), 1).long() if whole.frames else None for rows in index]
        for part, rows, at in zip(parts, index, frames, strict=True):
            every = torch.arange(len(whole))
            of_whole = every[torch.isin(whole.columns["caption"], part.columns["caption"])]
            assert torch.equal(part.pixels(rows, at), whole.pixels(of_whole, at))


def test_own_folders_hold_examples_back_once_there_are_enough(tmp_path: Path, sources: list[Shards]) -> None:
    many = [write_shards(tmp_path, "images", torch.arange(100))]
    assert len(held_of(many, None)) == 5
    assert held_of(many, None, own=False) == held_of(many, 0.0) == held_of(sources, None) == []
    for share, part in ((0.001, "none"), (0.999, "all")):
        with pytest.raises(UserError, match=f"of 100 examples is {part}"):
            held_of(many, share)


class NumberTask:
    """The squared distance of a network's number from each example's."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def draw(self, index: Tensor) -> Tensor:
        return index

    def loss(self, model: BareNetwork, batch: Tensor) -> Tensor:
        return (next(model.network.parameters()) - batch) ** 2


def level(value: float) -> nn.Module:
    network = nn.Module()
    network.register_parameter("level", nn.Parameter(torch.tensor([value])))
    return network


@pytest.mark.parametrize("count", [1, 3, DRAWN, 1000])
def test_validation_is_the_mean_loss_of_evenly_chosen_examples(count: int) -> None:
    watch = Validation(BareNetwork(level(0.0)), NumberTask(count), Accelerator(cpu=True), 10, batch_size=7)
    even = torch.arange(DRAWN) * (count - 1) / (DRAWN - 1)
    expected = (even.round() - 2.5).square().mean().item()
    assert watch.loss(level(2.5)) == pytest.approx(expected, rel=0.01)
    assert watch(20, level(2.5), last=False) == watch(3, level(2.5), last=True) != {}
    assert watch(3, level(2.5), last=False) == {}


def test_validation_draws_the_same_noise_at_every_step(sources: list[Shards], captions: Captions) -> None:
    """Complete conditions, and noise and timesteps that depend on neither the step nor the generators."""
    task = ImageTask.validating(sources[:1], captions, PRESET)
    denoiser = PRESET.model.denoiser()
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.1)
    watch = Validation(denoiser, task, Accelerator(cpu=True), 1, batch_size=16)
    network = denoiser.network.eval()
    first = watch.loss(network)
    torch.manual_seed(99)
    assert watch.loss(network) == first
    batch = task.draw(torch.arange(20))
    assert torch.equal(batch.condition.tokens, captions(torch.arange(20))[0])  # none is dropped
    # An estimate with other noise, from the loss's definition, agrees within its standard error.
    losses = []
    for seed in range(60):
        torch.manual_seed(seed)
        b = task.draw(torch.arange(20))
        error = simple_loss(denoiser, b.images, b.t, b.condition, b.noise)
        losses.append((clipped_snr_weight(denoiser, b.t, 200.0) * error).mean().item())
    assert first == pytest.approx(sum(losses) / len(losses), rel=0.2)


def run_of(folder: Path, sources: list[Shards], captions: Captions, watched: bool) -> Trainer:
    held = hold_back(sources, MonitoringConfig(validation=0.2), 0, own=True)
    trained, validated = split(sources, held)
    task = ImageTask(ImageData(trained, captions, PRESET.dropout), PRESET)
    torch.manual_seed(0)
    denoiser = PRESET.model.denoiser()
    accelerator = Accelerator(cpu=True)

    def draw(network: nn.Module, prompts: list[str], seeds: list[int]) -> Tensor:
        return ImageModel(PRESET.model, denoiser.with_network(network)).sample(prompts, seeds=seeds, steps=2)

    monitors = [
        Validation(denoiser, ImageTask.validating(validated, captions, PRESET), accelerator, 2, 4),
        SampleSheets(folder, draw, ["a rug"], 3),
    ]
    trainer = Trainer(
        denoiser, task, PRESET.training, folder, accelerator, monitors=monitors if watched else ()
    )
    assert trainer.run(Budget(steps=7))
    return trainer


def test_the_weights_are_the_same_bytes_with_and_without_monitors(
    tmp_path: Path, sources: list[Shards], captions: Captions
) -> None:
    watched = run_of(tmp_path / "watched", sources, captions, watched=True)
    alone = run_of(tmp_path / "alone", sources, captions, watched=False)
    for ours, theirs in ((watched.network, alone.network), (watched.ema.network, alone.ema.network)):
        for (name, value), expected in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert torch.equal(value, expected), name
    lines = run_log.read(tmp_path / "watched")
    assert [line["step"] for line in lines] == [2, 4, 5, 6, 7]  # log_steps is 5, validation every 2
    assert [line["step"] for line in lines if "validation" in line] == [2, 4, 6, 7]
    assert [line["step"] for line in run_log.read(tmp_path / "alone")] == [5]
    sheets = sorted(path.name for path in (tmp_path / "watched" / "samples").iterdir())
    assert sheets == ["step-000003.png", "step-000006.png", "step-000007.png"]


def colors_of(network: nn.Module, prompts: list[str], seeds: list[int]) -> Tensor:
    """Images of one gray for each prompt and seed."""
    grays = torch.tensor(
        [0.5 * (prompt == "b") + 0.25 * seed for prompt, seed in zip(prompts, seeds, strict=True)]
    )
    return grays.view(-1, 1, 1, 1).expand(-1, 3, 8, 8)


def grays(path: Path, places: list[tuple[int, int]]) -> list[float]:
    """The values of a sheet, in [-1, 1], in the middle of the cells in these rows and columns."""
    sheet = Image.open(path).convert("L")
    top = sheet.height - 12 - 2 * 192 - 4  # two rows of cells of 192 pixels, and their gap
    return [
        sheet.getpixel((12 + 196 * column + 96, top + 196 * row + 96)) / 127.5 - 1 for row, column in places
    ]


def test_a_sheet_has_a_row_for_each_prompt_and_a_column_for_each_seed(tmp_path: Path) -> None:
    SampleSheets(tmp_path, colors_of, ["a", "b"], 5)(10, level(0.0), last=False)
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    shown = grays(tmp_path / "samples" / "step-000010.png", places)
    assert shown == pytest.approx([0.0, 0.25, 0.5, 0.75], abs=0.01)
    SampleSheets(tmp_path / "other", colors_of, ["a"], 5, enabled=False)(10, level(0.0), last=True)
    assert not (tmp_path / "other").exists()


def test_clips_are_shown_by_some_frames_and_play_beside_the_sheet(tmp_path: Path) -> None:
    def brighter(network: nn.Module, prompts: list[str], seeds: list[int]) -> Tensor:
        still = colors_of(network, prompts, seeds)[:, :, None].expand(-1, -1, 7, -1, -1)
        return still - torch.linspace(0, 1, 7).view(-1, 1, 1)

    SampleSheets(tmp_path, brighter, ["a", "b"], 5)(10, level(0.0), last=False)
    shown = grays(tmp_path / "samples" / "step-000010.png", [(0, 0), (0, 3), (0, 4), (1, 7)])
    assert shown == pytest.approx([0.0, -1.0, 0.25, -0.25], abs=0.01)
    with Image.open(tmp_path / "samples" / "step-000010.webp") as clip:
        assert clip.n_frames == 7 and clip.size == (16, 16)
        clip.seek(6)
        assert clip.convert("L").getpixel((12, 12)) / 127.5 - 1 == pytest.approx(-0.25, abs=0.03)


def test_prompts_are_spread_over_the_captions_that_can_be_drawn() -> None:
    assert held_prompts(["a rug", "", "a rug", " ", "a fox"]) == ["a rug", "a fox"]
    assert held_prompts([str(number) for number in range(8)]) == ["0", "2", "4", "6"]
    assert held_prompts([]) == [] and PROMPTS == 4


def test_curves_are_those_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"step": 5 * n, "loss": 1 / n, "lr": 1e-3, "gradient": float(n)} for n in range(1, 5)]
    lines[1]["validation"], lines[3]["validation"] = 0.7, 0.6
    for line in lines:
        run_log.append(tmp_path, line)
    (tmp_path / run_log.LOG).open("a").write('{"step": 2')  # of a run that was killed as it wrote
    loss, rate, gradient = curves.curves(run_log.read(tmp_path)).axes
    assert loss.lines[0].get_xydata().tolist() == [[5, 1], [10, 1 / 2], [15, 1 / 3], [20, 1 / 4]]
    assert loss.lines[1].get_xydata().tolist() == [[10, 0.7], [20, 0.6]]
    assert rate.lines[0].get_ydata().tolist() == [1e-3] * 4
    assert gradient.lines[0].get_ydata().tolist() == [1, 2, 3, 4]
    assert "curves.png: loss" in curves.write_curves(tmp_path)
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (800, 900)
    find = importlib.util.find_spec
    monkeypatch.setattr(curves, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    assert "is left out: pip install matplotlib" in curves.write_curves(tmp_path)
    assert curves.write_curves(tmp_path / "nothing") == ""


def test_a_resumed_run_removes_the_lines_that_it_repeats(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        run_log.append(tmp_path, {"step": step, "loss": 0.5})
    run_log.truncate(tmp_path, 12)
    assert (tmp_path / run_log.LOG).read_text() == "".join(
        json.dumps({"step": step, "loss": 0.5}) + "\n" for step in (5, 10)
    )
