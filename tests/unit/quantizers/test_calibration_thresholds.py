"""Ranges from statistics: against references in plain Python, and what each method promises."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from int8gate.quantizers.calibration import thresholds
from int8gate.quantizers.calibration.expected_error import mean_square
from int8gate.quantizers.calibration.statistics import TensorStatistics, magnitudes

MILD = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**99))
ANY_TENSOR = hnp.arrays(np.float32, st.integers(1, 40), elements=MILD)
METHODS = pytest.mark.parametrize("method", sorted(thresholds.METHODS))
# Bulks of counts with thin, gappy tails: only those have candidates that clip less than 1%.
COUNTS = st.tuples(
    st.lists(st.integers(0, 9999), min_size=3, max_size=25),
    st.lists(st.sampled_from([0, 0, 1, 2, 7]), max_size=25),
    st.integers(1, 3),
).map(lambda parts: np.array([*parts[0], *parts[1], parts[2]]))


def of(*batches: np.ndarray) -> TensorStatistics:
    stats = TensorStatistics()
    for batch in batches:
        stats.update(np.asarray(batch, np.float32))
    return stats


def normal(size: int = 200_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def divergence_of(counts: list[int], length: int, bits: int, smaller: int) -> float:
    """KL(P || Q) bin by bin, as the talk has it, with the choices of `thresholds`."""
    span = length + min(length, smaller)
    p = list(counts[:length])
    p[-1] += sum(counts[length:])
    q = [0.0] * length
    levels = [place * 2**bits // span for place in range(length)]
    for level in set(levels):
        members = [place for place in range(length) if levels[place] == level]
        occupied = [place for place in members if p[place]]
        for place in occupied:
            q[place] = (sum(counts[k] for k in members) or 1) / len(occupied)
    pairs = [(a / sum(p), b / sum(q)) for a, b in zip(p, q, strict=True) if a]
    return sum(a * math.log(a / b) for a, b in pairs)


def best_length(counts: list[int], bits: int, smaller: int) -> int:
    found = {
        length: divergence_of(counts, length, bits, smaller)
        for length in range(1, len(counts) + 1)
        if length + min(length, smaller) >= 2**bits
        and sum(counts[:length]) >= (1 - thresholds.OUTLIERS) * sum(counts)
    }
    least = min(found.values(), default=0.0)
    return max((i for i, value in found.items() if value <= least + 1e-9), default=len(counts))


@given(COUNTS, st.integers(2, 4), st.integers(0, 60))
def test_entropy_agrees_with_brute_force(counts, bits, smaller):
    lengths = thresholds.candidates(counts, bits, smaller)
    if len(lengths):
        found = thresholds.divergences(counts, lengths, bits, smaller)
        reference = [divergence_of(counts.tolist(), int(i), bits, smaller) for i in lengths]
        assert found == pytest.approx(reference, abs=1e-12)
    expected = best_length(counts.tolist(), bits, smaller)
    assert thresholds.best_length(counts, bits, smaller) == expected


@pytest.mark.parametrize("symmetric", [False, True])
def test_entropy_of_a_tensor_agrees_with_brute_force(symmetric):
    values = np.concatenate([normal(3000) ** 3, [40, 55, -50]]).astype(np.float32)
    stats = of(np.where(values < -1, values / 4, values))
    sizes = magnitudes(stats, 256)  # as coarse as brute force can bear
    sides = len(sizes.negative), len(sizes.positive)
    smaller = max(sides) if symmetric else min(sides)
    found = thresholds.best_length(sizes.both, 5, smaller)
    assert found == best_length(sizes.both.tolist(), 5, smaller)
    assert found < len(sizes.both)


def test_entropy_clips_an_outlier():
    low, high = thresholds.entropy(of(normal(), [20.0]))
    assert low == normal().min()
    assert normal().max() <= high < 6


def test_entropy_clips_outliers_behind_a_gap():
    bulk = np.random.default_rng(1).random(200_000) * 5
    assert thresholds.entropy(of(bulk, [60.0, 61.0]))[1] < 6


def test_entropy_does_not_clip_what_is_uniform():
    values = np.random.default_rng(2).random(200_000).astype(np.float32)
    assert thresholds.entropy(of(values)) == (0, values.max())
    assert thresholds.entropy(of(values - 0.5)) == ((values - 0.5).min(), (values - 0.5).max())


def test_entropy_does_not_depend_on_how_many_zeros_there_are():
    values = np.maximum(normal() ** 3, 0)
    alone = thresholds.entropy(of(values[values > 0]))
    assert alone[1] < values.max()
    assert thresholds.entropy(of(values, np.zeros(500_000))) == alone


def test_entropy_does_not_clip_a_tensor_that_begins_far_from_zero():
    values = 5 + normal() / 10
    low, high = thresholds.entropy(of(values))
    assert low == 0
    assert high > np.quantile(values, 0.999)


def test_a_symmetric_quantizer_has_half_the_levels_for_one_sign():
    stats = of(np.maximum(normal() ** 3, 0))
    sizes, ends = magnitudes(stats), []
    for symmetric, smaller in ((False, 0), (True, len(sizes.both))):
        length = thresholds.best_length(sizes.both, 8, smaller)
        ends.append(length * sizes.width)
        assert thresholds.entropy(stats, symmetric=symmetric) == (0, ends[-1])
    assert ends[0] > ends[1]


def test_a_long_histogram_is_searched_at_evenly_spaced_lengths():
    counts = np.append(np.full(4000, 5), np.ones(96, np.int64))
    lengths = thresholds.candidates(counts, 8, 0)
    assert lengths[0] == len(counts)
    assert set(np.diff(lengths)) == {-2}


@METHODS
@given(values=ANY_TENSOR)
def test_a_range_holds_zero_and_is_never_empty(method, values):
    low, high = thresholds.METHODS[method](of(values))
    assert low <= 0 <= high
    assert np.float32(high - low) / np.float32(255) >= np.finfo(np.float32).tiny
    assert low >= min(0, values.min())
    assert high <= max(0, values.max()) or (low, high) == (low, 1.0)


@pytest.mark.parametrize("scales", ["symmetric", "power_of_two"])
@pytest.mark.parametrize("is_unsigned", [False, True])
@METHODS
@given(values=ANY_TENSOR)
def test_scales_that_silicon_asks_for(method, scales, is_unsigned, values):
    inner = thresholds.METHODS[method](of(values))
    low, high = thresholds.widened(inner, scales, is_unsigned)
    assert low <= inner[0]
    assert high >= inner[1] * (1 - 1e-12)
    step, is_of_one_sign = (high - low) / 255, is_unsigned and inner[0] == 0
    zero_point = (0 if is_unsigned else -128) - low / step
    assert zero_point == pytest.approx(128 * (is_unsigned and not is_of_one_sign), abs=1e-6)
    least = max(-inner[0] / 127, inner[1] / (255 if is_of_one_sign else 127), thresholds.NARROWEST)
    if scales == "symmetric":
        assert step == pytest.approx(least)
    else:
        assert np.frexp(step)[0] == 0.5, "a power of two"
        assert step < 2.001 * least
    assert thresholds.widened(inner, "affine", is_unsigned) == inner


@METHODS
@pytest.mark.parametrize("value", [0.0, 1e-40, -1e-40, 3.7, -0.25])
def test_constants_get_a_range(method, value):
    low, high = thresholds.METHODS[method](of(np.full(1000, value)))
    tiny = abs(value) < 1e-30
    expected = (min(np.float32(value), 0), 1) if tiny else sorted((0, np.float32(value)))
    assert (low, high) == pytest.approx(tuple(expected), rel=1e-3, abs=1e-39)


@METHODS
@given(batches=st.lists(ANY_TENSOR, min_size=2, max_size=4), seed=st.randoms())
def test_ranges_do_not_depend_on_order(method, batches, seed):
    shuffled = list(batches)
    seed.shuffle(shuffled)
    estimate = thresholds.METHODS[method]
    assert estimate(of(*batches)) == estimate(of(*shuffled))


@given(ANY_TENSOR, st.floats(1, 100))
def test_percentile_is_within_a_bin_of_numpy(values, percent):
    stats, outside = of(values), (1 - percent / 100) / 2
    ends = np.quantile(values, [outside, 1 - outside], method="inverted_cdf")
    low, high = thresholds.percentile(stats, percent)
    if high != 1.0:  # what a range too narrow gets
        assert min(ends[0], 0) - stats.histogram.width <= low <= min(ends[0], 0)
        assert max(ends[1], 0) <= high <= max(ends[1], 0) + stats.histogram.width


@pytest.mark.parametrize("percent", [0, -1, 100.1, math.nan])
def test_a_percentage_must_be_one(percent):
    with pytest.raises(ValueError, match="it must be above 0 and at most 100"):
        thresholds.percentile(of([1.0]), percent)


@given(ANY_TENSOR, st.sampled_from([2, 4, 8]))
def test_mse_expects_no_more_error_than_min_max(values, bits):
    stats = of(values)
    found, whole = (f(stats) for f in (lambda s: thresholds.mse(s, bits), thresholds.min_max))
    assert mean_square(stats, *found, bits) <= mean_square(stats, *whole, bits)


def test_mse_leaves_pixels_on_their_levels():
    pixels = np.random.default_rng(3).integers(0, 256, 100_000) / 255
    assert thresholds.mse(of(pixels)) == (0, 1)


def test_mse_clips_a_normal_tensor_where_theory_does():
    # 2.55 and 3.92 standard deviations for 4 and 8 bits (Banner et al. 2019, ACIQ).
    stats = of(normal(1_000_000))
    for bits, ends in ((4, 2.55), (8, 3.92)):
        assert thresholds.mse(stats, bits) == pytest.approx((-ends, ends), rel=0.03)
        assert thresholds.mse(stats, bits, symmetric=True) == pytest.approx((-ends, ends), rel=0.03)


def test_ranges_of_a_table():
    table = {"a": of([-1, 2]), "b/c:0": of([3])}
    assert thresholds.ranges(table, "min_max") == {"a": (-1, 2), "b/c:0": (0, 3)}
    with pytest.raises(ValueError, match="no calibration method 'kl': choose from min_max"):
        thresholds.ranges(table, "kl")
    table["d"] = of(np.full(3, -3e38))
    with pytest.raises(ValueError, match=r"tensor 'd' has no range: .* only masked values"):
        thresholds.ranges(table, "entropy")
    with pytest.raises(ValueError, match=r"tensor 'e' has no range: .* no values"):
        thresholds.ranges({"e": TensorStatistics()}, "mse")
