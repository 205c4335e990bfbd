"""Times as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from int8gate.engine.duration import SECONDS, seconds_of


@given(number=st.integers(0, 9999), unit=st.sampled_from(sorted(SECONDS)))
def test_a_number_and_a_unit_are_seconds(number, unit):
    assert seconds_of(f" {number}{unit} ") == number * SECONDS[unit]
    assert seconds_of(f"{number}.5 {unit}") == (number + 0.5) * SECONDS[unit]


@pytest.mark.parametrize("text", ["", "m", "-1s", "1d", "1e3", "nan", "1m30s", "٣٣x", "1 2"])
def test_other_texts_are_no_time(text):
    with pytest.raises(ValueError, match="expected a time such as"):
        seconds_of(text)
