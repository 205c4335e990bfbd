"""Is the quantized model no worse than the float one, beyond a tolerance? A paired test.

What. The metric's drop from float to quantized on the same samples, and an upper one-sided 95%
confidence bound of it. Samples of one source (crops of a photo, frames of a video, views of a
scene) are not independent, so whole sources are resampled.

How. One bound for every metric: the Bayesian bootstrap over sources (Rubin 1981: a source weighs
Exponential(1), c identical ones Gamma(c)) with one typical source added that the quantized model
gets wholly wrong; the bound is the 95% quantile of the reweighted drop. For a mean of independent
bounded values this is the bound of Gaffke (2005, Math. Methods of Statistics 14(4); Learned-Miller
and Thomas 2019, arXiv:1905.06208): with losses only it is Clopper-Pearson, with none the rule of
three, n sources without a loss leave room for 3/n. That it covers has no proof in general, so
`benchmarks/noninferiority.py` measures it. Percentile bootstrap and Wald bounds pass too often
where few samples are discordant, and few is what quantization gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from validation.metrics import Metric

CONFIDENCE = 0.95
Z = 1.645  # its normal quantile
RESAMPLES = 1999  # (RESAMPLES + 1) * CONFIDENCE is whole: the quantile is an order statistic
CHUNK = 250  # resamples held at once
ROUNDING = 1e-9  # a drop this close to the tolerance equals it


@dataclass(frozen=True)
class NonInferiority:
    """Outcome of the test. `drop`, `drop_upper_95` and `tolerance` are in the metric's unit;
    `samples_needed` is about how many would let the same drop pass, where that is what is missing.
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


class DistinctOutputs:
    """Counts different outputs batch by batch: fewer than two means a constant output."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def add(self, outputs: np.ndarray) -> None:
        """A batch (n, ...) of outputs."""
        self._seen.update(sha256(sample.tobytes()).digest() for sample in outputs)

    @property
    def count(self) -> int:
        return len(self._seen)


@dataclass(frozen=True)
class _Pairs:
    """Paired rows (r, k), and the unit that each is of (r,): `count` (u,) identical sources of
    `size` (u,) samples.
    """

    metric: Metric
    reference: np.ndarray
    quantized: np.ndarray
    unit: np.ndarray
    count: np.ndarray
    size: np.ndarray


def non_inferiority(
    metric: Metric,
    float_statistics: np.ndarray,
    quantized_statistics: np.ndarray,
    sources: np.ndarray,
    tolerance: float,
    *,
    chance: float,
    distinct_outputs: int,
    seed: int = 0,
) -> NonInferiority:
    """Test whether the quantized model's metric is within `tolerance` of the float model's.

    Parameters
    ----------
    float_statistics, quantized_statistics : (n, k) of `metric.sample_statistics`, same samples.
    sources : (n,) ids; samples of one id are resampled together.
    tolerance : largest drop allowed, in the metric's unit.
    chance : `metric.chance(labels)`.
    distinct_outputs : how many different outputs the float model gave; see `DistinctOutputs`.

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
    pairs = _pair(metric, float_statistics, quantized_statistics, sources)
    drop = metric.drop(metric.score(float_statistics), metric.score(quantized_statistics))
    typical, effect = _typical_loss(pairs)
    drops, float_scores = _resample(pairs, typical, np.random.default_rng(seed))
    upper = float(np.quantile(drops, CONFIDENCE, method="weibull"))
    above_chance = np.quantile(metric.drop(float_scores, chance), 1 - CONFIDENCE)
    step, n_sources = effect / pairs.size[typical], int(pairs.count.sum())  # step of one sample

    def outcome(
        verdict: str, reason: str, needed: int | None = None, is_worthless: bool = False
    ) -> NonInferiority:
        if needed:
            reason += f"; about {needed} samples would settle it"
        found = (verdict, drop, upper, tolerance, n, n_sources, needed, reason, is_worthless)
        return NonInferiority(*found)

    if distinct_outputs < 2:
        reason = "the float model gives the same output for every sample"
        return outcome("invalid", reason, is_worthless=True)
    if above_chance <= 0:
        reason = (
            f"the float {metric.name} is not significantly better than {metric.baseline} "
            f"({chance:.4g})"
        )
        return outcome("invalid", reason, is_worthless=True)
    needed = _samples_needed(n, tolerance - drop, upper - drop, drops.std(), effect)
    if step > tolerance and drop <= tolerance + step:
        reason = f"one of {n} samples moves {metric.name} by {step:.4g}, the tolerance is less"
        return outcome("invalid", f"{reason} ({tolerance:.4g})", needed)
    if drop > tolerance + ROUNDING:
        reason = f"{metric.name} drops by {drop:.4g}, beyond the tolerance of {tolerance:.4g}"
        return outcome("failed", reason)
    if upper > tolerance:
        reason = f"{metric.name} drops by {drop:.4g}, but the true drop may be {upper:.4g}"
        return outcome("inconclusive", f"{reason} (tolerance {tolerance:.4g})", needed)
    return outcome("passed", "")


def _pair(metric: Metric, reference, quantized, sources: np.ndarray) -> _Pairs:
    """Sources as units; of an additive metric, identical sources as one unit with a count."""
    _, unit, size = np.unique(sources, return_inverse=True, return_counts=True)
    if not metric.additive:
        return _Pairs(metric, reference, quantized, unit, np.ones(len(size)), size)
    sums = np.zeros((len(size), 2 * reference.shape[1] + 1))
    np.add.at(sums, unit, np.column_stack([reference, quantized, np.ones(len(unit))]))
    sums, count = np.unique(sums, axis=0, return_counts=True)
    reference, quantized = np.split(sums[:, :-1], 2, axis=1)
    return _Pairs(metric, reference, quantized, np.arange(len(sums)), count, sums[:, -1])


def _typical_loss(pairs: _Pairs) -> tuple[int, float]:
    """The source of a random sample, and what a model right elsewhere drops by losing it."""
    metric, units = pairs.metric, len(pairs.count)
    base = pairs.count[pairs.unit].astype(float)
    right, wrong = metric.lost(pairs.reference)
    both = np.concatenate([right, wrong])
    effects = np.empty(units)
    for start in range(0, units, CHUNK):
        chunk = slice(start, start + CHUNK)
        added = (np.arange(units)[chunk, None] == pairs.unit).astype(float)
        weights = np.concatenate([np.broadcast_to(base, added.shape), added], axis=1)
        effects[chunk] = metric.drop(metric.score(right), metric.score(both, weights))
    typical = pairs.count @ effects**2 / (pairs.count @ effects)  # larger sources hold more samples
    nearest = int(np.abs(effects - typical).argmin())
    return nearest, float(effects[nearest])


def _resample(pairs: _Pairs, typical: int, rng: np.random.Generator) -> np.ndarray:
    """(2, B): reweighted drops, and reweighted float scores with the added source failed."""
    metric, units = pairs.metric, len(pairs.count)
    right, wrong = metric.lost(pairs.reference[pairs.unit == typical])
    reference = np.concatenate([pairs.reference, right])
    quantized = np.concatenate([pairs.quantized, wrong])
    reference_failed = np.concatenate([pairs.reference, wrong])
    unit = np.concatenate([pairs.unit, np.full(len(wrong), units)])
    shape = np.append(pairs.count, 1.0)
    drops, scores = resampled = np.empty((2, RESAMPLES))
    for start in range(0, RESAMPLES, CHUNK):
        chunk = slice(start, start + CHUNK)
        weights = rng.standard_gamma(shape, size=(len(drops[chunk]), units + 1))[:, unit]
        float_scores = metric.score(reference, weights)
        drops[chunk] = metric.drop(float_scores, metric.score(quantized, weights))
        scores[chunk] = metric.score(reference_failed, weights)
    return resampled


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
