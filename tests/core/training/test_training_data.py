"""Shards, captions and conditions of examples, and the rates of condition dropout."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.attributes import CAMERA, PHASE, SHADOW, WIDTH, encode_attributes
from core.errors import UserError
from core.models.text_encoder import TextEncoder
from core.training.data import CACHE, CAPTIONS, Captions, ConditionDropout, ImageData, Shards, read_captions

NOTHING_DROPPED = ConditionDropout(text=0, camera=0, phase=0, shadow=0)
STATES = [torch.full((length, 4), float(length)) for length in (3, 5, 2)]  # the last is the empty prompt


def write_shard(path: Path, first: int, count: int, frames: int = 0) -> None:
    """Examples first, first + 1, ...: this number is the pixel value and determines all other columns.

    Frame f of a clip adds f to the pixels.
    """
    number = torch.arange(first, first + count)
    pixels = number.view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    if frames:
        pixels = pixels[:, None] + torch.arange(frames).view(1, -1, 1, 1, 1)
    shard = {
        "pixels": pixels.to(torch.uint8).contiguous(),
        "caption": number % 2,
        "azimuth": number.float(),
        "elevation": -number.float() / 2,
        "phase": number / 256,
        "shadow": (number % 2).to(torch.uint8),
    }
    save_file(shard, path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shard(tmp_path / "images-00000.safetensors", 0, 30)
    write_shard(tmp_path / "images-00001.safetensors", 30, 10)
    write_shard(tmp_path / "clips-00000.safetensors", 100, 6, frames=16)
    write_shard(tmp_path / "clips-00001.safetensors", 106, 4, frames=16)
    return tmp_path


def values(pixels: Tensor) -> list[int]:
    """The uint8 values of constant images (B,3,H,W) in [-1, 1]."""
    byte = (pixels + 1) * 127.5
    assert torch.equal(byte.amin((1, 2, 3)).round(), byte.amax((1, 2, 3)).round())
    return byte[:, 0, 0, 0].round().int().tolist()


def test_images_of_all_shards_with_their_conditions(folder: Path) -> None:
    data = ImageData([Shards(folder, "images")], Captions.from_states(STATES), NOTHING_DROPPED)
    assert len(data) == 40
    indices = [39, 0, 29, 30, 7, 7]
    pixels, condition = data.batch(torch.tensor(indices))
    assert pixels.dtype == torch.float32 and values(pixels) == indices
    number = torch.tensor(indices).float()
    expected = encode_attributes(
        6, azimuth=number, elevation=-number / 2, phase=number / 256, shadow=number % 2
    )
    torch.testing.assert_close(condition.attributes, expected)
    assert condition.mask.sum(1).tolist() == [5, 3, 5, 3, 5, 5]


def test_frames_of_clips_as_images_have_their_own_phase(folder: Path) -> None:
    sources = [Shards(folder, "images"), Shards(folder, "clips")]
    data = ImageData(sources, Captions.from_states(STATES), NOTHING_DROPPED)
    assert len(data) == 40 + 10 * 16
    pixels, condition = data.batch(
        torch.tensor([40 + 7 * 16 + 5, 39, 40])
    )  # frame 5 of clip 107; frame 0 of 100
    assert values(pixels) == [39, 112, 100]  # by source
    phase = torch.tensor([39 / 256, 107 / 256 + 5 / 16, 100 / 256])
    torch.testing.assert_close(condition.attributes[:, PHASE], encode_attributes(3, phase=phase)[:, PHASE])


def test_frames_of_clips_are_in_the_requested_order(folder: Path) -> None:
    clips = Shards(folder, "clips").pixels(torch.tensor([9, 0]), torch.tensor([[15, 0, 1], [2, 2, 3]]))
    assert clips.shape == (2, 3, 3, 8, 8)
    assert values(clips[0].transpose(0, 1)) == [124, 109, 110]
    assert values(clips[1].transpose(0, 1)) == [102, 102, 103]


def test_captions_are_padded_to_one_length(folder: Path) -> None:
    tokens, mask = Captions.from_states(STATES)(torch.tensor([2, 1, 0, 2]))
    assert tokens.shape == (4, 5, 4) and mask.sum(1).tolist() == [2, 5, 3, 2]
    assert tokens[:, :, 0].sum(1).tolist() == [4.0, 25.0, 9.0, 4.0]  # lengths squared: zeros beyond each


def test_parts_are_dropped_independently_at_their_rates() -> None:
    torch.manual_seed(0)
    count = 20_000
    dropout = ConditionDropout(text=0.1, camera=0.5, phase=0.3, shadow=0.2)
    rows = dropout.drop_attributes(torch.ones(count, WIDTH))
    present = torch.stack([rows[:, group].all(1) for group in (CAMERA, PHASE, SHADOW)])
    dropped = torch.stack([~rows[:, group].any(1) for group in (CAMERA, PHASE, SHADOW)])
    assert (present ^ dropped).all()  # a group is dropped as a unit
    torch.testing.assert_close(
        dropped.double().mean(1), torch.tensor([0.5, 0.3, 0.2]).double(), rtol=0, atol=0.015
    )
    both = (dropped[0] & dropped[1]).double().mean().item()
    assert both == pytest.approx(0.15, abs=0.015)

    _, mask = dropout.drop_text(Captions.from_states(STATES), torch.zeros(count, dtype=torch.int64))
    assert (mask.sum(1) == 2).double().mean().item() == pytest.approx(0.1, abs=0.01)


def test_all_frames_of_a_clip_drop_the_same_groups() -> None:
    torch.manual_seed(0)
    rows = ConditionDropout().drop_attributes(torch.ones(200, 8, WIDTH))
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    assert 0 < rows[:, 0, 0].mean() < 1


class Counting(TextEncoder):
    """Counts the encoded prompts; the length of a prompt's states identifies it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def states(self, prompts, on_done=None) -> list[Tensor]:
        self.count += len(prompts)
        if on_done:
            on_done(len(prompts))
        return [torch.full((1 + len(prompt), 4), 0.5) for prompt in prompts]


def test_captions_are_encoded_once_until_they_change(tmp_path: Path) -> None:
    (tmp_path / CAPTIONS).write_text("a\nbb\n")
    encoder, calls = Counting(), []
    first = read_captions(tmp_path, encoder, lambda done, count: calls.append((done, count)))
    assert len(first) == 3 and calls == [(3, 3)]  # the empty prompt comes last
    again = read_captions(tmp_path, encoder)
    assert encoder.count == 3
    assert torch.equal(again.tokens, first.tokens) and torch.equal(again.offsets, first.offsets)

    (tmp_path / CAPTIONS).write_text("a\nbbbb\n")
    changed = read_captions(tmp_path, encoder)
    assert encoder.count == 4  # of what is known nothing is encoded again
    assert changed(torch.arange(3))[1].sum(1).tolist() == [2, 5, 1]
    (tmp_path / CAPTIONS).write_text("bbbb\na\na\nbbbb\n")
    moved = read_captions(tmp_path, encoder)
    assert encoder.count == 4 and moved(torch.arange(5))[1].sum(1).tolist() == [5, 2, 2, 5, 1]
    (tmp_path / CACHE).write_bytes(b"damaged")
    assert len(read_captions(tmp_path, encoder)) == 5 and encoder.count == 7  # equal ones once


def test_missing_or_damaged_files_raise(folder: Path) -> None:
    with pytest.raises(UserError, match="captions.txt is missing"):
        read_captions(folder, TextEncoder())
    with pytest.raises(UserError, match="holds no videos"):
        Shards(folder, "videos")
    save_file({"pixels": torch.zeros(1, 3, 8, 8)}, folder / "images-00002.safetensors")
    with pytest.raises(UserError, match="images-00002.safetensors has no 'caption'"):
        Shards(folder, "images")
    (folder / "images-00002.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="images-00002.safetensors is damaged"):
        Shards(folder, "images")


def test_each_of_several_captions_is_drawn_equally_often(tmp_path: Path) -> None:
    """Example 0 has the captions 0 to 2, example 1 has caption 3: their token states have their lengths."""
    shard = {name: torch.zeros(2) for name in Shards.COLUMNS}
    shard |= {"caption": torch.tensor([0, 3]), "captions": torch.tensor([3, 1])}
    save_file(
        shard | {"pixels": torch.zeros(2, 3, 8, 8, dtype=torch.uint8)}, tmp_path / "images-00000.safetensors"
    )
    captions = Captions.from_states([torch.ones(length, 4) for length in (3, 4, 5, 6, 2)])
    torch.manual_seed(0)
    data = ImageData([Shards(tmp_path, "images")], captions, NOTHING_DROPPED)
    lengths = data.batch(torch.tensor([0, 1]).repeat(3000))[1].mask.sum(1)
    assert (lengths[1::2] == 6).all()
    shares = lengths[::2].bincount(minlength=6)[3:6] / 3000
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), rtol=0, atol=0.03)  # 3.5 standard errors


def test_examples_with_one_caption_draw_no_random_number(folder: Path) -> None:
    """Runs on shards without the column of their number give the bytes that they gave before it existed."""
    torch.manual_seed(0)
    drawn = Shards(folder, "images").draw_captions(torch.arange(6))
    assert drawn.tolist() == [0, 1, 0, 1, 0, 1]
    assert torch.rand(()) == torch.rand((), generator=torch.Generator().manual_seed(0))


def test_frames_of_clips_and_images_are_single_images_of_one_table(folder: Path) -> None:
    mixed = Shards(folder, ["images", "clips"])
    assert len(mixed) == 40 + 10 * 16 and mixed.frames == 0
    index = [39, 40, 40 + 7 * 16 + 5]
    assert values(mixed.pixels(torch.tensor(index))) == [39, 100, 112]
    assert mixed.rows(torch.tensor(index))["azimuth"].tolist() == [39, 100, 107]
    assert [mixed.locate(each) for each in (0, 30, 40, 199)] == [(0, 0), (1, 0), (2, 0), (3, 63)]
