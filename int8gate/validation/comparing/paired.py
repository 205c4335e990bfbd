"""How much a metric changed between two runs, and at least: in pairs, or by each run's interval.

In pairs: both runs scored the same samples, so that what both get right or wrong cancels. The bound
is the lower one of `validation.bootstrap`, with a source added that speaks against the change. With
losses alone it takes 5 sources that changed for significance, as in a sign test at 95%.
By interval: the runs count as independent, which for the same samples is cautious: a change must be
larger to be seen.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from int8gate.validation.bootstrap import (
    CONFIDENCE,
    Z,
    lower_drops,
    pair,
    quantile,
    scores,
    unseen_loss,
    upper_drops,
)
from int8gate.validation.case_summary import Accuracy
from int8gate.validation.comparing.sample_scores import Predictions
from int8gate.validation.metrics.registry import Metric, metric_of_file

RESAMPLES = 399  # (RESAMPLES + 1) * CONFIDENCE is whole: the quantile is an order statistic


@dataclass(frozen=True)
class MetricChange:
    """How much worse the metric got, in its unit (negative: better).

    `at_least` is a one-sided 95% bound of the change in its direction: below 0 it may be chance.
    None where nothing is known of the scatter. `how` says in words what was done.
    """

    drop: float
    at_least: float | None
    how: str

    @property
    def may_be_chance(self) -> bool:
        return self.at_least is not None and self.at_least <= 0


def paired_change(
    before: Predictions, now: Predictions, seed: int = 0, declared: Collection[str] = ()
) -> MetricChange:
    """The change of a metric on the samples that both runs scored.

    Raises ValueError, in a sentence, where the runs did not score the same samples alike, or by a
    metric that `metric_of_file` refuses.
    """
    count = min(len(before.sources), len(now.sources))
    for what, was, is_now in (
        ("metric", before.metric, now.metric),
        ("evaluation set", before.evaluation_set, now.evaluation_set),
        ("sources", before.sources[:count].tolist(), now.sources[:count].tolist()),
        ("width of statistics", before.statistics.shape[1], now.statistics.shape[1]),
    ):
        if was != is_now:
            raise ValueError(f"the two runs have not the same {what}")
    score, sources = metric_of_file(now.metric, declared), now.sources[:count]
    was, is_now = before.statistics[:count], now.statistics[:count]
    how = f"in pairs on {count} samples of {len(np.unique(sources))} sources"
    is_equal = np.array_equal(was, is_now)
    drop = 0.0 if is_equal else float(score.drop(score.score(was), score.score(is_now)))
    if drop == 0:
        return MetricChange(0.0, 0.0, how)
    better, worse = (was, is_now) if drop > 0 else (is_now, was)
    pairs = pair(score, better, worse, sources)
    drops = lower_drops(pairs, unseen_loss(pairs), np.random.default_rng(seed), RESAMPLES)
    return MetricChange(drop, min(quantile(drops, 1 - CONFIDENCE), abs(drop)), how)


def drop_bounds(
    judged: Metric,
    before: np.ndarray,
    now: np.ndarray,
    sources: np.ndarray,
    seed: int = 0,
) -> tuple[float, float]:
    """One-sided 95% bounds below and above the drop, from rows (n, k) of the same samples."""
    drop = float(judged.drop(judged.score(before), judged.score(now)))
    pairs = pair(judged, before, now, sources)
    unseen = unseen_loss(pairs)
    lower, upper = (
        draw(pairs, unseen, np.random.default_rng(seed), RESAMPLES)
        for draw in (lower_drops, upper_drops)
    )
    return min(quantile(lower, 1 - CONFIDENCE), drop), max(quantile(upper, CONFIDENCE), drop)


def unpaired_change(
    before: Accuracy, now: Accuracy, why_not_paired: str, declared: Collection[str] = ()
) -> MetricChange:
    """The change between two scores, each with its own uncertainty.

    Raises ValueError where the metrics differ, or `metric_of_file` refuses theirs.
    """
    if before.metric != now.metric:
        raise ValueError(f"{before.metric} before, {now.metric} now: they cannot be compared")
    drop = float(metric_of_file(now.metric, declared).drop(before.quantized, now.quantized))
    known = [each for each in (_deviation(before), _deviation(now)) if each is not None]
    if not known:
        return MetricChange(drop, None, f"with no interval ({why_not_paired})")
    margin = Z * math.hypot(known[0], known[-1])
    return MetricChange(drop, abs(drop) - margin, f"by interval ({why_not_paired})")


def assumed_interval(accuracy: Accuracy) -> tuple[float, float] | None:
    """As `score_interval`, of a score whose predictions were not kept: from its bounds, or the
    widest that a mean of fractions has; None where nothing is known of the scatter.
    """
    deviation = _deviation(accuracy)
    if deviation is None:
        return None
    low, high = accuracy.quantized - Z * deviation, accuracy.quantized + Z * deviation
    return (max(low, 0.0), min(high, 1.0)) if accuracy.unit == "fraction" else (low, high)


def score_interval(
    predictions: Predictions, seed: int = 0, declared: Collection[str] = ()
) -> tuple[float, float]:
    """One-sided 95% bounds below and above the score: the Bayesian bootstrap over sources.

    Raises ValueError where `metric_of_file` refuses the metric.
    """
    rows = predictions.statistics
    pairs = pair(metric_of_file(predictions.metric, declared), rows, rows, predictions.sources)
    drawn = scores(pairs, np.random.default_rng(seed), RESAMPLES)
    return quantile(drawn, 1 - CONFIDENCE), quantile(drawn, CONFIDENCE)


def _deviation(accuracy: Accuracy) -> float | None:
    """Standard deviation of a score: from its bounds, or the most that a mean of fractions has.

    A mean of n independent values within 0..1 scatters by sqrt(p (1 - p) / n) at most, reached
    where each is 0 or 1; scores of 0 and 1 get the deviation of half a sample wrong.
    """
    if accuracy.lower_95 is not None and accuracy.upper_95 is not None:
        return (accuracy.upper_95 - accuracy.lower_95) / (2 * Z)
    if accuracy.unit != "fraction" or not accuracy.sources:
        return None
    least = 0.5 / accuracy.sources
    p = min(max(accuracy.quantized, least), 1 - least)
    return math.sqrt(p * (1 - p) / accuracy.sources)
