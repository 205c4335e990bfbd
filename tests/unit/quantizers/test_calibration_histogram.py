"""The histogram is a function of its values: not of their order, nor of how they were split."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from int8gate.quantizers.calibration.histogram import (
    BINS,
    LARGEST_INDEX,
    SMALLEST_EXPONENT,
    Histogram,
)

ANY_FLOAT = st.floats(width=32, allow_nan=False, allow_infinity=False)
FEW_VALUES = hnp.arrays(np.float32, st.integers(1, 60), elements=ANY_FLOAT)


def histogram(values: np.ndarray) -> Histogram:
    made = Histogram()
    if values.size:
        made.add(values, float(values.min()), float(values.max()))
    return made


def facts(made: Histogram) -> tuple:
    return made.counts.tolist(), made.exponent, made.first, made.low, made.high


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@given(FEW_VALUES)
@example(floats(-1e-45, 3.4e38))  # what is negative stays below 0, however wide the bins
@example(floats(1e-45, 1e-38, -1e-45))
@example(floats(1000, np.nextafter(np.float32(1000), np.float32(2000))))
@example(floats(-0.0, 0.0))
def test_every_value_is_in_its_bin(values):
    made = histogram(values)
    width = Fraction(2) ** made.exponent
    expected = Counter(math.floor(Fraction(float(value)) / width) for value in values)
    found = {made.first + i: int(n) for i, n in enumerate(made.counts) if n}
    assert found == dict(expected)


@given(FEW_VALUES)
@example(floats(-0.25, BINS - 0.75))  # as long as BINS bins, but across BINS + 1
def test_its_bins_are_the_finest_that_span_the_values(values):
    made = histogram(values)
    assert len(made.counts) <= BINS
    assert made.counts[0] > 0
    assert made.counts[-1] > 0
    width = Fraction(2) ** (made.exponent - 1)
    ends = [math.floor(Fraction(float(end)) / width) for end in (made.low, made.high)]
    too_fine = ends[1] - ends[0] >= BINS or max(map(abs, ends)) > LARGEST_INDEX
    assert too_fine or made.exponent == SMALLEST_EXPONENT


@given(FEW_VALUES, st.data())
def test_two_parts_merged_are_the_whole(values, data):
    at = data.draw(st.integers(0, values.size))
    merged = histogram(values[:at])
    merged.merge(histogram(values[at:]))
    assert facts(merged) == facts(histogram(values))


@given(FEW_VALUES, st.randoms(use_true_random=False), st.integers(1, 7))
def test_order_and_batches_do_not_matter(values, random, size):
    shuffled = values.copy()
    random.shuffle(shuffled)
    made = Histogram()
    for start in range(0, len(shuffled), size):
        batch = shuffled[start : start + size]
        made.add(batch, float(batch.min()), float(batch.max()))
    assert facts(made) == facts(histogram(values))


def test_many_values_are_counted_as_numpy_does():
    values = np.random.default_rng(0).standard_normal(100_003).astype(np.float32)
    made = histogram(values)
    assert BINS / 2 < len(made.counts) <= BINS
    assert made.counts.tolist() == np.histogram(values, made.edges)[0].tolist()


@given(FEW_VALUES, st.floats(0, 1))
def test_a_quantile_lies_between_the_edges_that_are_told(values, fraction):
    made = histogram(values)
    left, right = made.quantile(fraction)
    assert left <= np.quantile(values, fraction, method="inverted_cdf") <= right
    assert right - left <= made.width
    assert made.low <= left
    assert right <= made.high


def test_an_empty_one_has_no_quantile():
    with pytest.raises(ValueError, match="no value of rank 1: the histogram holds 0"):
        Histogram().quantile(0.5)


@pytest.mark.parametrize("counts", [[1], [1, -1, 1], [1, 0, 0, 1]])
def test_counts_of_another_range_are_refused(counts):
    held = histogram(floats(2**-126, 3 * 2**-126))
    assert held.counts.tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match="expected 3, none below 0"):
        Histogram.of(np.array(counts), held.low, held.high)
