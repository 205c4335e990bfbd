"""What calibration keeps of a tensor is right, and shards of a calibration set add up to it."""

import pickle
from functools import reduce

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from int8gate.quantizers.calibration.statistics import MASKED, TensorStatistics

UNMASKED = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**99))
BATCH = hnp.arrays(np.float32, st.integers(1, 20), elements=UNMASKED)


def statistics(*batches: np.ndarray, **options) -> TensorStatistics:
    stats = TensorStatistics()
    for batch in batches:
        stats.update(batch, **options)
    return stats


def contents(stats: TensorStatistics) -> dict:
    return {name: (array.dtype, array.tolist()) for name, array in stats.to_arrays().items()}


@given(st.lists(BATCH, min_size=1, max_size=8), st.data())
def test_shards_merged_are_the_whole_exactly(batches, data):
    shards = data.draw(st.lists(st.integers(0, 3), min_size=len(batches), max_size=len(batches)))
    order = data.draw(st.permutations(range(4)))
    parts = [
        statistics(*[batch for batch, its in zip(batches, shards, strict=True) if its == shard])
        for shard in order
    ]
    merged = reduce(TensorStatistics.merge, parts)
    assert contents(merged) == contents(statistics(*batches))


@given(st.lists(hnp.arrays(np.float32, (2, 3, 4), elements=UNMASKED), min_size=2, max_size=5))
def test_channels_merge_exactly_too(batches):
    first, *others = (statistics(batch, channel_axis=1) for batch in batches)
    for other in others:
        first.merge(other)
    assert contents(first) == contents(statistics(*reversed(batches), channel_axis=1))
    stacked = np.stack(batches)
    assert first.channel_low.tolist() == stacked.min(axis=(0, 1, 3)).tolist()
    assert first.channel_high.tolist() == stacked.max(axis=(0, 1, 3)).tolist()


def test_merging_leaves_the_other_as_it_was():
    one, other = statistics(np.float32([1, 2])), statistics(np.float32([[3]]), channel_axis=1)
    before = contents(other)
    one.merge(other).update(np.float32([[9]]), channel_axis=1)
    assert contents(other) == before


@given(st.lists(BATCH, min_size=1, max_size=5))
def test_figures_are_those_of_numpy(batches):
    values, stats = np.concatenate(batches).astype(np.float64), statistics(*batches)
    assert stats.count == stats.histogram.total == values.size
    assert (stats.minimum, stats.maximum) == (values.min(), values.max())
    assert stats.zeros == (values == 0).sum()
    size = np.abs(values).max()
    assert stats.mean == pytest.approx(values.mean(), rel=1e-12, abs=1e-14 * size)
    assert stats.variance == pytest.approx(values.var(), rel=1e-12, abs=1e-14 * size**2)
    assert stats.average_minimum == pytest.approx(np.mean([float(b.min()) for b in batches]))
    assert stats.average_maximum == pytest.approx(np.mean([float(b.max()) for b in batches]))


def test_the_variance_survives_a_large_mean():
    values = (4096 + np.random.default_rng(0).random(50_000)).astype(np.float32)
    assert statistics(values).variance == pytest.approx(values.var(dtype=np.float64), rel=1e-6)


def test_the_moments_of_many_elements():
    values = np.random.default_rng(1).standard_normal((3, 7, 41, 53)).astype(np.float32)
    stats = statistics(*values)
    assert stats.batches == 3
    assert stats.mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-9)
    assert stats.variance == pytest.approx(values.var(dtype=np.float64), rel=1e-9)


def test_extremes_of_the_whole_extend_those_of_a_sample():
    stats = statistics(np.float32([1, 2, 3]), low=-5.0, high=7.0)
    assert (stats.minimum, stats.maximum) == (-5, 7)
    assert (stats.average_minimum, stats.average_maximum) == (-5, 7)
    assert (stats.histogram.low, stats.histogram.high) == (1, 3)
    assert contents(stats) == contents(statistics(np.float32([3, 1, 2]), low=-5.0, high=7.0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_changes_nothing(bad):
    stats = statistics(np.float32([1, 2]))
    before = contents(stats)
    for values, options in (([3, bad, 4], {}), ([3], {"low": bad}), ([3], {"high": bad})):
        with pytest.raises(ValueError, match="holds NaN or infinity"):
            stats.update(np.float32(values), **options)
    assert contents(stats) == before


@given(BATCH, st.integers(0, 5))
def test_masked_elements_are_counted_apart(values, masked):
    mask = np.full(masked, np.finfo(np.float32).min)
    stats = statistics(np.concatenate([values, mask, np.float32([MASKED])]))
    assert stats.masked == masked + 1
    stats.masked = 0
    assert contents(stats) == contents(statistics(values))


def test_a_masked_minimum_of_the_whole_is_none():
    stats = statistics(np.float32([-2, 1, -3.4e38]), low=-3.4e38, high=4.0)
    assert (stats.minimum, stats.maximum) == (-2, 4)


def test_a_batch_of_nothing_but_masked_elements_counts_as_none():
    stats = statistics(np.full((2, 3), np.finfo(np.float32).min), low=-3e38)
    assert (stats.masked, stats.count, stats.batches) == (6, 0, 0)
    assert np.isnan([stats.mean, stats.variance, stats.average_minimum]).all()


def test_an_empty_batch_counts_as_none():
    assert contents(statistics(np.zeros((0, 4), np.float32))) == contents(TensorStatistics())


@pytest.mark.parametrize("axis", [1, -1])
def test_dead_channels_never_leave_one_value(axis):
    values = np.random.default_rng(2).random((4, 6, 6), np.float32)
    np.moveaxis(values, axis, 0)[[0, 2]] = [[[0.0]], [[0.25]]]
    assert statistics(*values[:, None], channel_axis=axis).dead_channels == 2
    alive = statistics(*values[:, None], channel_axis=axis)
    alive.update(values[:1] + 1, channel_axis=axis)
    assert alive.dead_channels == 0
    assert statistics(values).dead_channels is None


def test_another_number_of_channels_is_refused():
    stats = statistics(np.ones((1, 3, 2), np.float32), channel_axis=1)
    with pytest.raises(ValueError, match="has 4 channels, and had 3 before"):
        stats.update(np.ones((1, 4, 2), np.float32), channel_axis=1)


@given(BATCH, BATCH)
def test_arrays_and_pickles_lead_back(one, other):
    stats = statistics(one, other, channel_axis=0) if one.size == other.size else statistics(one)
    for copy in (
        TensorStatistics.from_arrays(stats.to_arrays()),
        pickle.loads(pickle.dumps(stats)),
    ):
        assert contents(copy) == contents(stats)
        assert contents(copy.merge(stats)) == contents(TensorStatistics().merge(stats).merge(stats))


@given(BATCH)
def test_arrays_that_contradict_each_other_are_refused(values):
    arrays = statistics(values).to_arrays()
    arrays["counts"][0] += 1
    with pytest.raises(ValueError, match="elements in bins"):
        TensorStatistics.from_arrays(arrays)


def test_memory_stays_the_same_however_much_comes():
    random, stats, sizes = np.random.default_rng(3), TensorStatistics(), []
    for scale in (1, 10, 1e3, 1e6, 1e9):
        for _ in range(50):
            stats.update((random.standard_normal(500) * scale).astype(np.float32))
        sizes.append(len(pickle.dumps(stats)))
    assert max(sizes) < 70_000


@given(BATCH)
def test_the_callers_arrays_are_left_alone(values):
    assume(values.size > 1)
    grid, before = values[None, :, None], values.copy()
    stats = statistics(grid, channel_axis=1)
    stats.update(grid + 1, channel_axis=1)
    assert values.tolist() == before.tolist()
