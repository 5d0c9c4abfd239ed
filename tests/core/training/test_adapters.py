"""Adapters: networks with frozen weights in the trainer, stored text states, examples, timesteps."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import kstest, norm
from torch import Tensor, nn

from core.condition import Condition
from core.errors import UserError
from core.training import checkpoint
from core.training.adapters.encoded import EncodedData, TextStates, read_text_states
from core.training.adapters.network import AdaptedNetwork, trained_weights
from core.training.adapters.task import AdapterPreset, AdapterTask
from core.training.config import Budget, TrainingConfig
from core.training.data import Shards
from core.training.latents import store_latents
from core.training.trainer import BareNetwork, Trainer


class Sum(nn.Module):
    """x + frozen + a.b, as a network with one frozen parameter and one trained."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.part = nn.ModuleDict({"a": nn.Linear(3, 3)})

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        return x + self.frozen + self.part["a"](x)


class Fit:
    """Fits the network's output to zero."""

    def __len__(self) -> int:
        return 4

    def loss(self, model: BareNetwork, index: Tensor) -> Tensor:
        x = torch.eye(4, 3)[index]
        return model.network(x, index, None).square().mean(1)


def test_trainer_average_and_checkpoint_see_the_trained_weights_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Sum()
    adapted = AdaptedNetwork(network)
    config = TrainingConfig(batch_size=2, learning_rate=0.1, warmup_steps=0, decay=0, compile=False)
    trainer = Trainer(BareNetwork(adapted), Fit(), config, tmp_path)
    assert trainer.run(Budget(steps=3))
    assert torch.equal(network.frozen, torch.ones(3))
    names = {name for name, _ in network.named_parameters()} - {"frozen"}
    averaged = trained_weights(checkpoint.read_ema(tmp_path))
    assert averaged.keys() == names == {"part.a.weight", "part.a.bias"}
    x = torch.randn(2, 3)
    assert torch.equal(adapted(x, x, None), network(x, x, None))  # the same parameters, also after training
    assert not torch.equal(averaged["part.a.weight"], network.part["a"].weight)


def test_a_copy_shares_the_frozen_network() -> None:
    network = Sum()
    adapted = AdaptedNetwork(network)
    twin = copy.deepcopy(adapted)
    assert twin._frozen.network is network
    for own, copied in zip(adapted.parameters(), twin.parameters(), strict=True):
        assert own is not copied and torch.equal(own, copied)
    with pytest.raises(ValueError, match="no parameter"):
        AdaptedNetwork(network.requires_grad_(False))


def captions_folder(folder: Path, *lines: str) -> Path:
    (folder / "captions.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


class Encoder:
    """Token states of two tokens: the length of the text, and its number of words, masked if it has none."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, prompts: list[str]) -> Condition:
        self.calls += prompts
        values = torch.tensor([[len(prompt), len(prompt.split())] for prompt in prompts], dtype=torch.float32)
        mask = torch.stack([torch.ones(len(prompts)), values[:, 1]], dim=1) > 0
        return Condition(values[..., None], mask, torch.zeros(len(prompts), 1), pooled=values[:, :1])


def test_text_states_are_encoded_once_for_each_different_caption(tmp_path: Path) -> None:
    lines = ["a fox", "", "a red fox", "a fox", *(f"number {i}" for i in range(9))]
    encoder = Encoder()
    texts = read_text_states(captions_folder(tmp_path, *lines), "one", encoder)
    assert sorted(encoder.calls) == sorted({*lines})
    condition = texts(torch.tensor([2, 3, -1]))
    assert condition.tokens.flatten().tolist() == [9, 3, 5, 2, 0, 0]
    assert condition.mask.tolist() == [[True, True], [True, True], [True, False]]
    assert condition.pooled is not None and condition.pooled.flatten().tolist() == [9, 5, 0]
    assert len(texts) == len(lines) + 1

    count = len(encoder.calls)
    again = read_text_states(tmp_path, "one", encoder)
    assert len(encoder.calls) == count and torch.equal(again.tokens, texts.tokens)
    read_text_states(tmp_path, "two", encoder)  # another encoder
    assert len(encoder.calls) == 2 * count
    (tmp_path / "text-one.safetensors").write_bytes(b"damaged")
    read_text_states(tmp_path, "one", encoder)
    assert len(encoder.calls) == 3 * count
    read_text_states(captions_folder(tmp_path, "other"), "one", encoder)
    assert len(encoder.calls) == 3 * count + 2
    with pytest.raises(UserError, match="captions.txt is missing"):
        read_text_states(tmp_path / "nowhere", "one", encoder)


def write_shard(path: Path, pixels: Tensor) -> None:
    columns = {name: torch.full((len(pixels),), torch.nan) for name in Shards.COLUMNS}
    save_file({**columns, "pixels": pixels, "caption": torch.arange(len(pixels))}, path)


def test_examples_are_pictures_frames_of_clips_or_clips(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "images-00000.safetensors",
        torch.arange(2).byte().view(2, 1, 1, 1).expand(2, 3, 4, 4).contiguous(),
    )
    frames = (10 * torch.arange(3)[:, None] + torch.arange(2)).byte()
    write_shard(
        tmp_path / "clips-00000.safetensors", frames[..., None, None, None].expand(3, 2, 3, 4, 4).contiguous()
    )
    for kind in ("images", "clips"):
        store_latents(tmp_path, kind, "k", lambda pixels: pixels[..., :1, ::2, ::2].half())
    sources = [Shards(tmp_path, kind, latents="k") for kind in ("images", "clips")]
    pictures = EncodedData(sources, single_frames=True)
    assert (len(pictures), pictures.shape) == (8, (1, 2, 2))
    latents, lines = pictures(torch.tensor([7, 1, 2]))
    assert latents[:, 0, 0, 0].tolist() == [1, 21, 0] and lines.tolist() == [1, 2, 0]  # sorted by source
    store_latents(
        tmp_path, "clips", "whole", lambda pixels: pixels[:, :, 0].transpose(1, 2)[:, None, :, :2].half()
    )
    clips = EncodedData([Shards(tmp_path, "clips", latents="whole")], single_frames=False)
    assert len(clips) == 3 and clips(torch.tensor([1]))[1].tolist() == [1]


def task_of(**values: object) -> AdapterTask:
    tensors = {"lines": torch.tensor([0, 1]), "tokens": torch.zeros(2, 1, 1), "mask": torch.ones(2, 1).bool()}
    return AdapterTask(EncodedData([], True), TextStates(tensors), AdapterPreset(**values), 1000)


def test_timesteps_are_logit_normal_and_stratified() -> None:
    torch.manual_seed(0)
    t = task_of(timesteps="logit_normal")._timesteps(4000)
    logit = ((t.double() + 0.5) / 1000).logit()
    assert kstest(logit, norm.cdf).statistic < 2e-3  # independent draws would give about 0.02
    assert t.min() >= 0 and t.max() < 1000
    uniform = task_of()._timesteps(1000)
    assert torch.equal(uniform.sort().values, torch.arange(1000))
