"""Is the quantized model no worse than the float one, beyond a tolerance? A paired test.

What. The metric's drop from float to quantized on the same samples with one-sided 95% bounds: see
`validation.bootstrap`. It passes where the upper bound is within the tolerance, it fails where the
lower bound is beyond it; between the two the samples do not tell.

Nothing is proved by a float model whose outputs are constant, or that is not better than the
baseline (chance, bicubic enlargement): in pairs, where the baseline's own score of each sample is
known, so that pictures that are hard for both cancel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from int8gate.validation.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    ROUNDING,
    Pairs,
    Unseen,
    Z,
    exchanged_drops,
    lower_drops,
    pair,
    quantile,
    scores,
    unseen_loss,
    upper_drops,
)
from int8gate.validation.metrics.registry import Metric

HEADROOM = 7  # a classifier in int16 that flips 1% of its answers and loses a third of 1% passes


@dataclass(frozen=True)
class NonInferiority:
    """Outcome of the test. `drop`, its bounds and `tolerance` are in the metric's unit;
    `samples_needed` is about how many would settle the same drop, where that is what is missing.
    `drop_lower_95` is None where the drop is within the tolerance: nothing asks for it.
    """

    verdict: str  # passed | failed | inconclusive | invalid
    drop: float
    drop_upper_95: float
    tolerance: float
    samples: int
    sources: int
    samples_needed: int | None
    reason: str
    is_worthless: bool = False  # the float model itself is constant, or not better than chance
    drop_lower_95: float | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether it passed, but within its own interval of the margin: another run might not."""
        noise = self.drop_upper_95 - self.drop
        return self.verdict == "passed" and self.drop_upper_95 + noise > self.tolerance


def non_inferiority(
    metric: Metric,
    float_statistics: np.ndarray,
    quantized_statistics: np.ndarray,
    sources: np.ndarray,
    tolerance: float,
    *,
    chance: float,
    distinct_outputs: int,
    baseline_statistics: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> NonInferiority:
    """Test whether the quantized model's metric is within `tolerance` of the float model's.

    Parameters
    ----------
    float_statistics, quantized_statistics : (n, k) of `metric.sample_statistics`, same samples.
    sources : (n,) ids; samples of one id are resampled together.
    tolerance : largest drop allowed, in the metric's unit.
    chance : `metric.chance(labels)`.
    distinct_outputs : how many different outputs the float model gave; see `distinct_outputs`.
    baseline_statistics : (n, k) rows of the baseline; without them `chance` is taken as exact.

    Raises ValueError if shapes do not fit or the tolerance is negative.
    """
    n, shape = len(float_statistics), np.shape(float_statistics)
    if not (np.shape(quantized_statistics) == shape and np.shape(sources) == (n,)):
        raise ValueError(
            f"float statistics {shape}, quantized statistics {np.shape(quantized_statistics)} and"
            f" sources {np.shape(sources)} are not of the same samples"
        )
    if tolerance < 0:
        raise ValueError(f"tolerance is {tolerance}: a drop to be allowed is not negative")
    pairs = pair(metric, float_statistics, quantized_statistics, sources)
    own, quantized = map(float, map(metric.score, (float_statistics, quantized_statistics)))
    drop = metric.drop(own, quantized)
    unseen = unseen_loss(pairs)
    drops = upper_drops(pairs, unseen, np.random.default_rng(seed), resamples)
    # Of a score that goes in steps the bounds are those of the even one: no nearer than the drop.
    upper, lower = max(quantile(drops, CONFIDENCE), drop), None
    is_beyond = drop > tolerance + ROUNDING
    if is_beyond:
        drops = lower_drops(pairs, unseen, np.random.default_rng(seed), resamples)
        lower = min(quantile(drops, 1 - CONFIDENCE), drop)

    def outcome(
        verdict: str, reason: str, needed: int | None = None, is_worthless: bool = False
    ) -> NonInferiority:
        if needed:
            reason += f"; about {needed} samples would settle it"
        counts = (tolerance, n, int(pairs.count.sum()), needed)
        return NonInferiority(verdict, drop, upper, *counts, reason, is_worthless, lower)

    if distinct_outputs < 2:
        reason = "the float model gives the same output for every sample"
        return outcome("invalid", reason, is_worthless=True)
    rng = np.random.default_rng(seed)
    if baseline_statistics is None:
        gains = metric.drop(scores(pairs, rng, resamples, unseen), chance)
    else:
        against = pair(metric, float_statistics, baseline_statistics, sources)
        gains = exchanged_drops(against, rng, resamples)
    if quantile(gains, 1 - CONFIDENCE) <= 0:
        reason = (
            f"the float {metric.name} is not significantly better than {metric.baseline} "
            f"({chance:.4g})"
        )
        return outcome("invalid", reason, is_worthless=True)
    if lower is not None and lower > tolerance:
        reason = (
            f"{metric.name} {metric.worsens} by {drop:.4g}, beyond the tolerance of {tolerance:.4g}"
        )
        return outcome("failed", reason)
    excess = upper - drop if lower is None else drop - lower
    needed = _samples_needed(n, abs(tolerance - drop), excess, drops.std(), unseen.effect)
    if unseen.step > tolerance:
        step = f"{unseen.step:.4g}"
        reason = f"one of {n} samples moves {metric.name} by {step}, the tolerance is less"
        return outcome("invalid", f"{reason} ({tolerance:.4g})", needed)
    if is_beyond or upper > tolerance:
        bound = upper if lower is None else max(lower, 0)
        true = f"{bound:.4g} (tolerance {tolerance:.4g})"
        reason = f"{metric.name} {metric.worsens} by {drop:.4g}, but the true drop may be {true}"
        return outcome("inconclusive", reason + ("" if is_beyond else _rare(unseen, pairs)), needed)
    return outcome("passed", "")


def upper_bound(
    metric: Metric,
    first: np.ndarray,
    second: np.ndarray,
    sources: np.ndarray,
    confidence: float,
    seed: int = 0,
) -> float:
    """The most that the metric drops from the first model to the second, at that confidence.

    `first` and `second` are rows (n, k) of `metric.sample_statistics` of the same samples, whose
    ids are `sources` (n,); see `non_inferiority`.
    """
    pairs = pair(metric, first, second, sources)
    resamples = max(RESAMPLES, math.ceil(RESAMPLES * (1 - CONFIDENCE) / (1 - confidence)))
    drops = upper_drops(pairs, unseen_loss(pairs), np.random.default_rng(seed), resamples)
    return max(quantile(drops, confidence), pairs.drop)


def lower_bound(
    metric: Metric,
    first: np.ndarray,
    second: np.ndarray,
    sources: np.ndarray,
    confidence: float,
    seed: int = 0,
) -> float:
    """The least that the metric drops from the first model to the second; see `upper_bound`."""
    pairs = pair(metric, first, second, sources)
    drops = lower_drops(pairs, unseen_loss(pairs), np.random.default_rng(seed))
    return min(quantile(drops, 1 - confidence), pairs.drop)


def enough_samples(
    metric: Metric, float_statistics: np.ndarray, sources: np.ndarray, tolerance: float
) -> int:
    """How many of such samples let a model pass that loses little: what may be lost unseen takes
    one `HEADROOM`-th of the tolerance, the rest is for the drop and its scatter.
    """
    unseen = unseen_loss(pair(metric, float_statistics, float_statistics, sources))
    room = max(tolerance, ROUNDING) / HEADROOM
    return math.ceil(len(sources) * unseen.effect * -math.log(1 - CONFIDENCE) / room)


def _rare(unseen: Unseen, pairs: Pairs) -> str:
    """What to say of a class that few sources hold: it is there that losses may hide."""
    if unseen.of_class is None:
        return ""
    return (
        f": class {unseen.of_class} is in {unseen.holders} of {int(pairs.count.sum())} sources "
        "alone, add samples of it"
    )


def _samples_needed(n: int, room: float, excess: float, spread: float, effect: float) -> int | None:
    """About how many samples bring the bound's `excess` over the drop down to `room`.

    At r times the samples it is noise / sqrt(r) + rest / r; the rest is the added source's.
    """
    if room <= ROUNDING:
        return None
    noise = Z * math.sqrt(max(spread**2 - effect**2, 0.0))
    rest = max(excess - noise, 0.0)
    root = (noise + math.sqrt(noise**2 + 4 * rest * room)) / (2 * room)  # of r
    return math.ceil(n * root**2)
