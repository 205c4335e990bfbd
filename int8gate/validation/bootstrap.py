"""How much a metric differs between two models on the same samples, at most and at least.

What. One-sided 95% bounds of the drop from one model to the other. Samples of one source (crops of
a photo, frames of a video, views of a scene) are not independent, so whole sources are resampled.

How. The Bayesian bootstrap over sources (Rubin 1981, Annals of Statistics 9(1): a source weighs
Exponential(1), c identical ones Gamma(c)) with one source added that speaks against the claim: for
the upper bound one that only the second model loses wholly, for the lower bound one that only the
first does. For a mean of independent bounded values this is the bound of Gaffke (2005, Math.
Methods of Statistics 14(4); Learned-Miller and Thomas 2019, arXiv:1905.06208): with losses only it
is Clopper-Pearson, with none the rule of three, n sources without a loss leave room for 3/n.

A mean over classes weighs a loss by how rare its class is: 40 sources without a loss in a class
leave room for 3/40 of it, whatever the other classes have. Fay and Feuer (1997, Statistics in
Medicine 16(7)) met that in rates that are summed with weights: the unseen event has the largest
weight. So the added loss is that of the class whose sources weigh most, in one typical of them.
That the bounds cover has no proof in general: `benchmarks/noninferiority.py` measures it.
Percentile bootstrap and Wald bounds pass too often where few samples differ, and few is what
quantization gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from int8gate.validation.metrics.registry import Metric

CONFIDENCE = 0.95
Z = 1.645  # its normal quantile
RESAMPLES = 1999  # (RESAMPLES + 1) * CONFIDENCE is whole: the quantile is an order statistic
CHUNK = 250  # resamples held at once
ROUNDING = 1e-9


@dataclass(frozen=True)
class Pairs:
    """Paired rows (r, k) of two models, and the unit that each is of (r,): `count` (u,) identical
    sources of `size` (u,) samples.
    """

    metric: Metric
    first: np.ndarray
    second: np.ndarray
    unit: np.ndarray
    count: np.ndarray
    size: np.ndarray

    @property
    def drop(self) -> float:
        """How much worse the second model scores."""
        weights = self.count[self.unit].astype(float)
        score = self.metric.score
        return float(self.metric.drop(score(self.first, weights), score(self.second, weights)))


@dataclass(frozen=True)
class Unseen:
    """The loss that is added: that of `unit`, wholly or of a class, and what it drops.

    `holders` is how many sources hold the class. `step` is what losing one sample drops.
    """

    unit: int
    effect: float
    step: float
    of_class: int | None = None
    holders: int | None = None


def pair(metric: Metric, first: np.ndarray, second: np.ndarray, sources: np.ndarray) -> Pairs:
    """Rows (n, k) of two models on the same samples, by source.

    Of an additive metric, the rows of a source as one, and identical sources as one with a count.
    """
    _, unit, size = np.unique(sources, return_inverse=True, return_counts=True)
    if not metric.additive:
        return Pairs(metric, first, second, unit, np.ones(len(size)), size)
    sums = np.zeros((len(size), 2 * first.shape[1] + 1))
    np.add.at(sums, unit, np.column_stack([first, second, np.ones(len(unit))]))
    sums, count = np.unique(sums, axis=0, return_counts=True)
    first, second = np.split(sums[:, :-1], 2, axis=1)
    return Pairs(metric, first, second, np.arange(len(sums)), count, sums[:, -1])


def unseen_loss(pairs: Pairs) -> Unseen:
    """The loss to add, by what a model that is right elsewhere drops by it: the largest of losing
    wholly the source of a random sample, and of losing each class in the source of a random part of
    it. Larger sources hold more.
    """
    count = pairs.count
    shares = np.zeros((len(count), 0)) if pairs.metric.parts is None else _shares(pairs)
    classes = np.flatnonzero(count @ shares > 0)
    if not classes.size:
        unit, effect = _no_less_than_typical(_effects(pairs), count)
        return Unseen(unit, effect, effect / pairs.size[unit])
    effects = shares[:, classes] * (_all_or_nothing(pairs) / classes.size)
    unit, whole = _typical(effects.sum(axis=1), count)
    step = whole / pairs.size[unit]
    heaviest = ((count @ effects**2) / (count @ effects)).argmax()
    of_class, effect = _typical(effects[:, heaviest], count)
    if effect <= whole:
        return Unseen(unit, whole, step)
    holders = int(count @ (effects[:, heaviest] > 0))
    return Unseen(of_class, effect, step, int(classes[heaviest]), holders)


def _typical(effects: np.ndarray, count: np.ndarray) -> tuple[int, float]:
    """The unit whose effect is next to that of a random sample's, and its effect."""
    unit = int(np.abs(effects - _of_a_random_sample(effects, count)).argmin())
    return unit, float(effects[unit])


def _no_less_than_typical(effects: np.ndarray, count: np.ndarray) -> tuple[int, float]:
    """The same, but never a smaller one: where one kind of sample is rare and weighs much (the
    anomalies of an AUC), the typical effect lies half way between the kinds.
    """
    typical = _of_a_random_sample(effects, count) * (1 - ROUNDING)
    unit = int(np.where(effects >= typical, effects, np.inf).argmin())
    return unit, float(effects[unit])


def _of_a_random_sample(effects: np.ndarray, count: np.ndarray) -> float:
    return float(count @ effects**2 / max(count @ effects, np.finfo(float).tiny))


def upper_drops(
    pairs: Pairs, unseen: Unseen, rng: np.random.Generator, resamples: int = RESAMPLES
) -> np.ndarray:
    """(resamples,) reweighted drops with a loss added of the second model alone."""
    right, wrong = _lost(pairs, unseen)
    return _drops(pairs, right, wrong, rng, resamples)


def lower_drops(
    pairs: Pairs, unseen: Unseen, rng: np.random.Generator, resamples: int = RESAMPLES
) -> np.ndarray:
    """(resamples,) reweighted drops with a loss added of the first model alone."""
    right, wrong = _lost(pairs, unseen)
    return _drops(pairs, wrong, right, rng, resamples)


def _lost(pairs: Pairs, unseen: Unseen) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the added source where it is wholly right, and where it is lost."""
    chosen = pairs.unit == unseen.unit
    of_class = () if unseen.of_class is None else (unseen.of_class,)
    right, wrong = _wholly_lost(pairs, *of_class)
    return right[chosen], wrong[chosen]


def _wholly_lost(pairs: Pairs, *of_class: int) -> tuple[np.ndarray, np.ndarray]:
    """`Metric.lost` of the first model's rows. Of errors without a limit the worst that either
    model makes bounds a loss, so that it sees the rows of both.
    """
    both = np.vstack([pairs.first, pairs.second])
    right, wrong = pairs.metric.lost(both, *of_class)
    return right[: len(pairs.first)], wrong[: len(pairs.first)]


def exchanged_drops(
    pairs: Pairs, rng: np.random.Generator, resamples: int = RESAMPLES
) -> np.ndarray:
    """(resamples,) reweighted drops with a typical source added in which the models are exchanged.

    It asks as little of whole losses as a sign test does: five sources that all speak for one model
    are significant. For whether one model is better than another at all, not for by how much.
    """
    unit, _ = _typical(np.abs(_replaced(pairs, pairs.first, pairs.second)), pairs.count)
    chosen = pairs.unit == unit
    return _drops(pairs, pairs.second[chosen], pairs.first[chosen], rng, resamples)


def scores(
    pairs: Pairs, rng: np.random.Generator, resamples: int, unseen: Unseen | None = None
) -> np.ndarray:
    """(resamples,) reweighted scores of the first model; with `unseen` it loses one more source."""
    metric, rows = pairs.metric, pairs.first
    added = rows[:0] if unseen is None else _lost(pairs, unseen)[1]
    rows = np.vstack([rows, added])
    drawn = _weights(pairs, len(added), rng, resamples)
    return np.concatenate([metric.score(rows, weights) for weights in drawn])


def quantile(values: np.ndarray, share: float) -> float:
    """An order statistic of bootstrap values."""
    return float(np.quantile(values, share, method="weibull"))


def _weights(
    pairs: Pairs, added: int, rng: np.random.Generator, resamples: int
) -> Iterator[np.ndarray]:
    """Weights (CHUNK, r + added) of the rows; the added ones are of one source."""
    unit = np.concatenate([pairs.unit, np.full(added, len(pairs.count))])
    shape = np.append(pairs.count, 1.0)
    as_drawn = np.array_equal(unit, np.arange(len(shape)))
    for start in range(0, resamples, CHUNK):
        size = (min(CHUNK, resamples - start), len(shape))
        if (shape == 1).all():
            drawn = rng.standard_exponential(size)
        else:
            drawn = rng.standard_gamma(shape, size=size)
        yield drawn if as_drawn else drawn[:, unit]


def _drops(
    pairs: Pairs, first: np.ndarray, second: np.ndarray, rng: np.random.Generator, resamples: int
) -> np.ndarray:
    """Reweighted drops with the rows of one more source in both models."""
    metric = pairs.metric
    first_rows, second_rows = np.vstack([pairs.first, first]), np.vstack([pairs.second, second])
    return np.concatenate(
        [
            metric.drop(metric.evenly(first_rows, weights), metric.evenly(second_rows, weights))
            for weights in _weights(pairs, len(first), rng, resamples)
        ]
    )


def _shares(pairs: Pairs) -> np.ndarray:
    """(u, classes): how much of all there is of a class one source of a unit holds."""
    assert pairs.metric.parts is not None
    parts = np.asarray(pairs.metric.parts(pairs.first), float)
    held = np.zeros((len(pairs.count), parts.shape[1]))
    np.add.at(held, pairs.unit, parts)
    total = pairs.count @ held
    return np.divide(held, total, out=np.zeros_like(held), where=total > 0)


def _all_or_nothing(pairs: Pairs) -> float:
    """What a model that is wrong everywhere drops from one that is right everywhere."""
    right, wrong = _wholly_lost(pairs)
    metric = pairs.metric
    return float(metric.drop(metric.evenly(right, None), metric.evenly(wrong, None)))


def _effects(pairs: Pairs) -> np.ndarray:
    """(u,): what losing one source of each unit costs a model that is right elsewhere."""
    right, wrong = _wholly_lost(pairs)
    return _replaced(pairs, right, wrong)


def _replaced(pairs: Pairs, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(u,): the drop from `rows` to the same with one source of a unit as in `others`."""
    metric, units = pairs.metric, len(pairs.count)
    base = pairs.count[pairs.unit].astype(float)
    before = metric.evenly(rows, base)
    effects = np.empty(units)
    if metric.additive:  # one row a unit: by sums
        sums = base @ rows - rows + others
        sums[np.abs(sums) < ROUNDING] = 0  # a class that is gone, but for rounding, is gone
        for start in range(0, units, CHUNK):
            chunk = sums[start : start + CHUNK]
            effects[start : start + CHUNK] = metric.drop(
                before, metric.evenly(chunk, np.eye(len(chunk)))
            )
        return effects
    both = np.concatenate([rows, others])
    for start in range(0, units, CHUNK):
        chosen = np.arange(units)[start : start + CHUNK, None] == pairs.unit
        weights = np.concatenate([base - chosen, chosen.astype(float)], axis=1)
        effects[start : start + CHUNK] = metric.drop(before, metric.evenly(both, weights))
    return effects
