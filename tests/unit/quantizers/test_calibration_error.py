"""What the histogram tells of a quantizer, against quantizing the values themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from int8gate.quantizers.calibration.expected_error import (
    best_ends,
    levels_used,
    mean_square,
    of_ends,
    saturation,
    sqnr,
)
from int8gate.quantizers.calibration.statistics import (
    Magnitudes,
    TensorStatistics,
    magnitudes,
    outlier_ratio,
)

SIDE = st.lists(st.integers(0, 50), max_size=12).map(lambda counts: np.array([*counts, 1]))
RANDOM = np.random.default_rng(0)
TENSORS = {
    "normal": RANDOM.standard_normal(200_000),
    "relu": np.maximum(RANDOM.standard_normal(200_000), 0),
    "swish": (lambda x: x / (1 + np.exp(-x)))(RANDOM.standard_normal(200_000) * 4),
    "heavy": RANDOM.standard_t(3, 200_000),
    "outlier": np.append(RANDOM.standard_normal(200_000), [900.0]),
    "far": RANDOM.random(200_000) + 9,
}
RANGES = [(-4.0, 4.0), (-0.3, 6.0), (0.0, 2.5), (0.0, 10.0)]


def of(values: np.ndarray) -> TensorStatistics:
    stats = TensorStatistics()
    stats.update(np.asarray(values, np.float32))
    return stats


def quantized(values: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """The values after int8's way there and back, and their codes before they are clipped."""
    step = (high - low) / 255
    zero = round(-low / step)
    codes = np.rint(values / step) + zero
    return (np.clip(codes, 0, 255) - zero) * step, codes


@pytest.mark.parametrize("ends", RANGES)
@pytest.mark.parametrize("name", TENSORS)
def test_figures_are_those_of_the_values(name, ends):
    values, stats = TENSORS[name].astype(np.float32).astype(np.float64), of(TENSORS[name])
    after, codes = quantized(values, *ends)
    error = np.mean((values - after) ** 2)
    assert mean_square(stats, *ends) == pytest.approx(error, rel=0.02)
    decibels = 10 * np.log10(np.mean(values**2) / error)
    assert sqnr(stats, *ends) == pytest.approx(decibels, abs=0.1)
    clipped = np.mean((codes < 0) | (codes > 255))
    in_a_bin = stats.histogram.counts.max() / stats.count
    assert saturation(stats, *ends) == pytest.approx(clipped, abs=2 * in_a_bin)
    assert abs(levels_used(stats, *ends) - len(np.unique(after))) <= 8


def test_nothing_is_clipped_by_its_own_range():
    for values in TENSORS.values():
        stats = of(values)
        assert saturation(stats, min(stats.minimum, 0), max(stats.maximum, 0)) == 0


def test_the_ends_of_a_range_are_exact():
    assert mean_square(of([0.0, 1000.0]), 0, 1000) == pytest.approx(0, abs=1e-12)


def test_zeros_cost_nothing_and_take_a_level():
    stats = of(np.zeros(10))
    assert mean_square(stats, 0, 1) == saturation(stats, 0, 1) == 0
    assert sqnr(stats, 0, 1) == np.inf
    assert levels_used(stats, -1, 1) == 1


@given(SIDE, SIDE, st.integers(1, 4), st.data())
def test_the_error_of_every_range_agrees_with_plain_sums(negative, positive, bits, data):
    error = of_ends(Magnitudes(negative, positive, 1.0), bits)
    below = data.draw(st.integers(0, len(negative)))
    above = data.draw(st.integers(0 if below else 1, len(positive)))
    step, total = (below + above) / (2**bits - 1), 0.0
    for end, counts in ((below, negative), (above, positive)):
        for place, count in enumerate(counts):
            beyond = (place + 0.5 - end) ** 2 + 1 / 12
            total += count * (step**2 / 12 if place < end else beyond)
    assert error(below, above) == pytest.approx(total, rel=1e-12)


@given(SIDE, SIDE, st.integers(2, 4))
def test_the_best_ends_agree_with_brute_force(negative, positive, bits):
    sizes = Magnitudes(negative, positive, 1.0)
    error = of_ends(sizes, bits)
    pairs = [(i, j) for i in range(len(negative) + 1) for j in range(len(positive) + 1)]
    least = min(float(error(*pair)) for pair in pairs)
    assert error(*best_ends(sizes, bits, symmetric=False)) == least
    reach = range(1, max(len(negative), len(positive)) + 1)
    found = best_ends(sizes, bits, symmetric=True)
    assert error(*found) == min(float(error(i, i)) for i in reach)


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("name", TENSORS)
def test_the_search_finds_the_best_of_all_pairs(name, bits):
    sizes = magnitudes(of(TENSORS[name]), 1024)
    error = of_ends(sizes, bits)
    every = [np.arange(len(side) + 1) for side in (sizes.negative, sizes.positive)]
    least = error(every[0][:, None], every[1]).min()
    assert error(*best_ends(sizes, bits, symmetric=False)) == pytest.approx(least, rel=1e-3)


def test_levels_take_elements():
    stats = of([0.5, 1000.0])
    assert stats.histogram.width > 0.1  # of the range below, whose levels are 0.004 apart
    assert levels_used(stats, 0, 1) == 2


@pytest.mark.parametrize("bins", [16, 4096])
def test_magnitudes_are_counted_on_both_sides_of_zero(bins):
    values = RANDOM.standard_normal(5000) * 3
    values = np.append(values, np.zeros(100)).astype(np.float32)
    sizes = magnitudes(of(values), bins)
    assert bins / 2 < len(sizes.both) <= bins
    for counts, side in ((sizes.positive, values), (sizes.negative, -values)):
        edges = np.arange(len(counts) + 1) * sizes.width
        assert counts.tolist() == np.histogram(side[side > 0], edges)[0].tolist()
    assert sizes.both.sum() == 5000


def test_the_outlier_ratio():
    assert outlier_ratio(of(np.zeros(5))) == 1
    assert outlier_ratio(of([2.0, -2.0, 0.0])) == 1
    values = np.append(np.linspace(0.5, 1, 100_000), [-25.0])
    for zeros in (0, 500_000):
        assert 24.5 < outlier_ratio(of(np.append(values, np.zeros(zeros)))) <= 25.01
