"""The check for finite numbers against torch's own test of each number."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.finite import is_finite, require_finite

NUMBERS = st.floats(width=32) | st.sampled_from([float("nan"), float("inf"), -float("inf"), 3e38, -3e38])


@given(st.lists(NUMBERS, max_size=6), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_a_tensor_is_finite_exactly_where_each_number_is(numbers: list[float], dtype: torch.dtype) -> None:
    tensor = torch.tensor(numbers, dtype=dtype)
    assert is_finite(tensor) == bool(torch.isfinite(tensor).all())


def test_the_sentence_names_tensor_and_step() -> None:
    good, bad = torch.ones(2), torch.tensor([1.0, float("nan")])
    assert require_finite(good, "The sample") is good
    with pytest.raises(UserError, match=r"The sample is not finite after step 3 of 9: .* another dtype"):
        require_finite(bad, "The sample", "after step 3 of 9")
