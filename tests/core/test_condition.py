"""Attribute rows, and batches of conditions."""

import math
from dataclasses import replace

import pytest
import torch

from core.attributes import CAMERA, PHASE, SHADOW, WIDTH, decode_camera, encode_attributes
from core.condition import Condition
from core.errors import UserError
from tests.core.guidance.guided import condition


def test_attribute_rows_have_the_documented_columns():
    row = encode_attributes(1, azimuth=90.0, elevation=30.0, phase=0.25, shadow=True)[0]
    expected = [1, 0, 0.5, math.sqrt(3) / 2, 1, 1, 0, 1, 1, 0]
    torch.testing.assert_close(row, torch.tensor(expected), atol=1e-6, rtol=0)
    assert encode_attributes(1, shadow=False)[0].tolist() == [0] * 8 + [0, 1]


def test_decode_camera_inverts_encode_attributes():
    azimuth, elevation = torch.tensor([0.0, 90.0, -135.0, 180.0]), torch.tensor([0.0, 30.0, -60.0, 90.0])
    decoded_azimuth, decoded_elevation = decode_camera(
        encode_attributes(4, azimuth=azimuth, elevation=elevation)
    )
    torch.testing.assert_close((decoded_azimuth - azimuth + 1) % 360, torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(decoded_elevation, elevation, atol=1e-4, rtol=0)
    assert all(read.isnan().all() for read in decode_camera(encode_attributes(2, phase=0.5)))


def test_missing_groups_are_zero_and_do_not_affect_other_groups():
    assert encode_attributes(3).tolist() == [[0.0] * WIDTH] * 3
    nan = math.nan
    rows = encode_attributes(
        3,
        azimuth=torch.tensor([0.0, nan, 10.0]),
        elevation=torch.tensor([0.0, 5.0, nan]),
        phase=torch.tensor([nan, 0.5, 0.0]),
        shadow=torch.tensor([1.0, nan, 0.0]),
    )
    assert rows[:, CAMERA].any(1).tolist() == [True, False, False]
    assert rows[:, PHASE].any(1).tolist() == [False, True, True]
    assert rows[:, SHADOW].tolist() == [[1, 0], [0, 0], [0, 1]]
    assert rows.isfinite().all()


def test_phase_and_azimuth_are_periodic():
    a = encode_attributes(1, azimuth=-30.0, elevation=0.0, phase=1.125)
    b = encode_attributes(1, azimuth=330.0, elevation=0.0, phase=0.125)
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_an_incomplete_camera_and_an_elevation_out_of_range_raise_errors():
    with pytest.raises(UserError, match="both"):
        encode_attributes(1, azimuth=10.0)
    with pytest.raises(UserError, match="Elevation"):
        encode_attributes(2, azimuth=0.0, elevation=torch.tensor([0.0, 91.0]))
    with pytest.raises(ValueError, match="azimuth"):
        encode_attributes(3, azimuth=torch.zeros(2), elevation=0.0)


def test_cat_pads_text_and_masks_the_padding():
    short, long = condition(2, 3), condition(1, 5, seed=1)
    joined = Condition.cat([short, long])
    assert joined.tokens.shape == (3, 5, 4)
    assert joined.mask.tolist() == [[True] * 3 + [False] * 2] * 2 + [[True] * 5]
    assert torch.equal(joined.tokens[:2, :3], short.tokens) and not joined.tokens[:2, 3:].any()
    assert torch.equal(joined[2].tokens, long.tokens)


def test_rows_are_selected_by_int_slice_and_tensor():
    c = condition(4, 2, frames=3)
    assert torch.equal(c[-1].attributes, c.attributes[3:]) and len(c[1]) == 1
    assert torch.equal(c[1:3].tokens, c.tokens[1:3])
    assert torch.equal(c[torch.tensor([2, 0])].tokens, c.tokens[[2, 0]])
    assert len(c[torch.tensor([True, False, True, False])]) == 2
    assert [len(row) for row in c] == [1] * 4
    with pytest.raises(IndexError):
        c[4]


def test_repeat_interleave_repeats_every_row_in_place():
    c = condition(2, 2)
    assert torch.equal(c.repeat_interleave(2).tokens, c.tokens[[0, 0, 1, 1]])


def test_to_casts_all_but_the_mask():
    moved = condition(1, 2).to("cpu", torch.float64)
    assert moved.tokens.dtype == moved.attributes.dtype == torch.float64
    assert moved.mask.dtype == torch.bool


def test_inconsistent_shapes_raise_value_error():
    c = condition(2, 3)
    with pytest.raises(ValueError, match="mask"):
        Condition(c.tokens, c.mask[:, :2], c.attributes)
    with pytest.raises(ValueError, match="attributes"):
        Condition(c.tokens, c.mask, c.attributes[:1])


@pytest.mark.parametrize("name", ["pooled", "image"])
def test_an_embedding_is_indexed_and_required_in_all_or_none(name):
    rows = torch.arange(6.0).view(3, 2)
    c = replace(condition(3, 2), **{name: rows})

    def of(other):
        return getattr(other, name)

    assert torch.equal(of(c[1]), rows[1:2])
    assert torch.equal(of(c[torch.tensor([2, 0])]), rows[[2, 0]])
    assert torch.equal(of(c.repeat_interleave(2)), rows[[0, 0, 1, 1, 2, 2]])
    assert torch.equal(of(Condition.cat([c, c[0]])), rows[[0, 1, 2, 0]])
    assert of(c.to("cpu", torch.float64)).dtype == torch.float64
    with pytest.raises(ValueError, match=f"1 of 2 conditions have the embedding '{name}'"):
        Condition.cat([c, condition(1, 2)])
    with pytest.raises(ValueError, match=name):
        replace(c, **{name: rows[:2]})
