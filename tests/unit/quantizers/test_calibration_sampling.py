"""The bounds on percentiles of sampled tensors, by simulation."""

import math

import numpy as np
import pytest

from benchmarks.sampling_bounds import cdf_error, percentile_bounds
from int8gate.quantizers.calibration.statistics import TensorStatistics
from int8gate.quantizers.calibration.thresholds import percentile

TRIALS = 400
POPULATION = np.random.default_rng(0).laplace(size=1_000_000).astype(np.float32)


def sampled(elements: int, seed: int) -> TensorStatistics:
    stats = TensorStatistics()
    stats.update(np.random.default_rng(seed).choice(POPULATION, elements))
    return stats


@pytest.mark.parametrize(("elements", "percent"), [(2000, 99.0), (20_000, 99.9)])
def test_the_true_percentile_is_as_often_inside_as_promised(elements, percent):
    outside = (1 - percent / 100) / 2
    true = np.quantile(POPULATION, [outside, 1 - outside], method="inverted_cdf")
    inside, widths = np.zeros(2), []
    for seed in range(TRIALS):
        bounds = percentile_bounds(sampled(elements, seed), percent)
        inside += [low <= end <= high for (low, high), end in zip(bounds, true, strict=True)]
        widths.append([high - low for low, high in bounds])
    # 95% promised; 93% is more than two standard deviations of 400 trials below that.
    assert (inside / TRIALS >= 0.93).all()
    assert (inside / TRIALS <= 0.995).all()  # no wider than they need be
    assert np.median(widths) < 0.4 * true[1]


def test_bounds_hold_the_estimate_and_narrow_with_more_elements():
    widths = []
    for elements in (20_000, 200_000, 2_000_000):
        stats = sampled(elements, 0)
        bounds = percentile_bounds(stats, 99.99)
        for end, (low, high) in zip(percentile(stats, 99.99), bounds, strict=True):
            assert low <= end <= high
        widths.append(bounds[1][1] - bounds[1][0])
    assert widths == sorted(widths, reverse=True)


def test_a_small_sample_bounds_nothing():
    below, above = percentile_bounds(sampled(1000, 0), 99.99)
    assert below[0] == -math.inf
    assert above[1] == math.inf


def test_the_distribution_function_is_as_often_within_its_bound_as_promised():
    order = np.sort(POPULATION)
    within = 0
    for seed in range(TRIALS):
        values = np.sort(np.random.default_rng(seed).choice(POPULATION, 1000))
        true = np.searchsorted(order, values, side="right") / len(order)
        steps = np.arange(1, 1001) / 1000
        distance = max(np.abs(true - steps).max(), np.abs(true - steps + 1 / 1000).max())
        within += distance <= cdf_error(1000)
    assert 0.93 <= within / TRIALS <= 0.995
