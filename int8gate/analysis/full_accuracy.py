"""Which answers changed from one model to another, beyond one figure of the metric.

    told = compare_in_full(float_predictions, quantized_predictions)

    change        the metric's drop in pairs, with its bound (`validation.comparing.paired`)
    mcnemar       right and wrong answers: as many lost as gained? (McNemar 1947, exact)
    classes       the drop of each class with an interval, and its significance corrected for the
                  number of classes (Holm 1979, Scandinavian Journal of Statistics 6(2))
    calibration   how far confidence is from accuracy (ECE: Guo et al. 2017, arXiv:1706.04599), and
                  how the margin to the second answer moved
    flips         the samples whose answer changed, with both answers

What the kept predictions do not tell is left out, with a sentence why. Samples of one source are
not independent: tests count sources, a source by what it lost in all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from int8gate.validation.answers import Answers
from int8gate.validation.bootstrap import CONFIDENCE, quantile
from int8gate.validation.comparing.paired import (
    RESAMPLES,
    MetricChange,
    drop_bounds,
    paired_change,
)
from int8gate.validation.comparing.sample_scores import Predictions
from int8gate.validation.metrics.registry import Metric, metric_of_file

BINS = 15  # of the confidence, of equal width
SWAPS = 1999  # of a permutation test
SIGNIFICANT = 1 - CONFIDENCE
CLASSWISE = {"top1", "mean_iou"}


@dataclass(frozen=True)
class McNemar:
    """Sources that lost right answers and such that gained some; `p_value` is two-sided."""

    lost: int
    gained: int
    p_value: float


@dataclass(frozen=True)
class ClassChange:
    """A class's score of both models, the drop (negative: better) with one-sided 95% bounds, and
    its two-sided p-value, as it is and corrected for all classes.
    """

    number: int
    samples: int
    sources: int
    before: float
    now: float
    drop: float
    lower_95: float
    upper_95: float
    p_value: float
    p_corrected: float

    @property
    def is_significant(self) -> bool:
        return self.p_corrected <= SIGNIFICANT


@dataclass(frozen=True)
class Calibration:
    """Expected calibration errors, 0 to 1, and the mean of the margin between the best answer and
    the second, of both models; `margin_change` is now - before, with one-sided 95% bounds.
    """

    ece_before: float
    ece_now: float
    margin_before: float
    margin_now: float
    margin_change: float
    margin_lower_95: float
    margin_upper_95: float


@dataclass(frozen=True)
class Flip:
    """A sample, by its number in the evaluation set, that got another answer."""

    sample: int
    label: int
    before: int
    now: int
    confidence_before: float
    confidence_now: float

    @property
    def what(self) -> str:
        """lost, gained, or wrong: in both models."""
        if self.before == self.label:
            return "lost"
        return "gained" if self.now == self.label else "wrong"


@dataclass(frozen=True)
class FullAccuracy:
    """See the module; what could not be told is None or empty, and `left_out` says why."""

    metric: str
    samples: int
    sources: int
    change: MetricChange
    mcnemar: McNemar | None
    classes: tuple[ClassChange, ...]
    calibration: Calibration | None
    flips: tuple[Flip, ...]
    left_out: tuple[str, ...]


def compare_in_full(
    before: Predictions, now: Predictions, seed: int = 0, declared: Collection[str] = ()
) -> FullAccuracy:
    """Both models on the samples that both scored.

    Raises ValueError as `paired_change` does: not the same samples, or an unknown metric.
    """
    change = paired_change(before, now, seed, declared)
    count = min(len(before.sources), len(now.sources))
    sources = now.sources[:count]
    rows = before.statistics[:count], now.statistics[:count]
    judged = metric_of_file(now.metric, declared)
    answers = _of_both(before, now, count)
    left_out = []
    if answers is None:
        left_out.append(
            "calibration and flipped samples: no classes and confidences were kept of both models"
        )
    is_right = judged.name == "top1"
    if not is_right:
        left_out.append(f"McNemar's test: {judged.name} counts no right and wrong answers")
    if judged.name not in CLASSWISE or (is_right and answers is None):
        why = "their labels were not kept" if is_right else f"{judged.name} is none of classes"
        left_out.append(f"classes: {why}")
    labels = answers[0].label if answers else None
    return FullAccuracy(
        metric=judged.name,
        samples=count,
        sources=len(np.unique(sources)),
        change=change,
        mcnemar=mcnemar(rows[0][:, 0] > 0, rows[1][:, 0] > 0, sources) if is_right else None,
        classes=class_changes(judged, *rows, sources, labels, seed),
        calibration=calibration(*answers, sources, seed) if answers else None,
        flips=flips(*answers) if answers else (),
        left_out=tuple(left_out),
    )


def mcnemar(before: np.ndarray, now: np.ndarray, sources: np.ndarray) -> McNemar:
    """Of right answers (n,) bool of two models; where each sample is a source it is McNemar's
    exact test, else a sign test of the sources.
    """
    from scipy.stats import binomtest

    net = _by_source(before.astype(int) - now.astype(int), sources)
    lost, gained = int((net > 0).sum()), int((net < 0).sum())
    p_value = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    return McNemar(lost, gained, float(p_value))


def class_changes(
    judged: Metric,
    before: np.ndarray,
    now: np.ndarray,
    sources: np.ndarray,
    labels: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[ClassChange, ...]:
    """The classes that samples have, by number; rows (n, k) of `judged`'s statistics.

    Of top-1 those of the labels (n,), none without them; of the mean IoU those of the rows; of
    other metrics none.
    """
    if judged.name == "top1" and labels is not None:
        chosen = [(int(number), labels == number) for number in np.unique(labels)]
        parts = [(number, before[of], now[of], sources[of]) for number, of in chosen]
    elif judged.name == "mean_iou":
        parts = list(_of_unions(before, now, sources))
    else:
        return ()
    found = [_class_change(judged, *part, seed) for part in parts]
    corrected = holm([each[-1] for each in found])
    return tuple(
        ClassChange(*each, p_corrected=float(p)) for each, p in zip(found, corrected, strict=True)
    )


def _of_unions(before: np.ndarray, now: np.ndarray, sources: np.ndarray):
    """Number, rows (intersection, union) of both models, sources: of each class and the samples
    in which either model or the label has it.
    """
    classes = before.shape[1] // 2
    for number in range(classes):
        columns = [number, number + classes]
        has_it = (before[:, columns[1]] > 0) | (now[:, columns[1]] > 0)
        if has_it.any():
            first, second = before[np.ix_(has_it, columns)], now[np.ix_(has_it, columns)]
            if first[:, 1].any() and second[:, 1].any():
                yield number, first, second, sources[has_it]


def _class_change(
    judged: Metric,
    number: int,
    before: np.ndarray,
    now: np.ndarray,
    sources: np.ndarray,
    seed: int,
) -> tuple:
    """The fields of a `ClassChange` but the last."""
    scores = [float(judged.score(rows)) for rows in (before, now)]
    drop = float(judged.drop(*scores))
    if np.array_equal(before, now):
        p_value = 1.0
    elif judged.name == "top1":
        p_value = mcnemar(before[:, 0] > 0, now[:, 0] > 0, sources).p_value
    else:
        p_value = _swapped(judged, before, now, sources, drop, np.random.default_rng(seed))
    bounds = drop_bounds(judged, before, now, sources, seed)
    counts = len(sources), len(np.unique(sources))
    return number, *counts, *scores, drop, *bounds, p_value


def _swapped(
    judged: Metric,
    before: np.ndarray,
    now: np.ndarray,
    sources: np.ndarray,
    drop: float,
    rng: np.random.Generator,
) -> float:
    """The share of drops as large where the models are exchanged in random sources: the paired
    permutation test of an additive metric.
    """
    _, unit = np.unique(sources, return_inverse=True)
    sums = np.zeros((2, unit.max() + 1, before.shape[1]))
    np.add.at(sums[0], unit, before)
    np.add.at(sums[1], unit, now)
    swaps = rng.random((SWAPS, sums.shape[1])) < 0.5
    moved = swaps @ (sums[1] - sums[0])
    totals = sums.sum(axis=1)
    one = np.eye(SWAPS)
    drops = judged.drop(judged.score(totals[0] + moved, one), judged.score(totals[1] - moved, one))
    return float((1 + (np.abs(drops) >= abs(drop) - 1e-12).sum()) / (SWAPS + 1))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """(n,) corrected: at most 5% of families without any change have one that is below 0.05."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def calibration(before: Answers, now: Answers, sources: np.ndarray, seed: int = 0) -> Calibration:
    """Of both models' answers to the same samples; sources (n,)."""
    margins = [answers.margin.astype(float) for answers in (before, now)]
    change = _by_source(margins[1] - margins[0], sources)
    sizes = _by_source(np.ones(len(sources)), sources)
    weights = np.random.default_rng(seed).standard_exponential((RESAMPLES, len(change)))
    drawn = (weights @ change) / (weights @ sizes)
    return Calibration(
        expected_calibration_error(before),
        expected_calibration_error(now),
        *(float(margin.mean()) for margin in margins),
        float(change.sum() / sizes.sum()),
        quantile(drawn, 1 - CONFIDENCE),
        quantile(drawn, CONFIDENCE),
    )


def expected_calibration_error(answers: Answers) -> float:
    """The mean, over samples, of how far each bin's accuracy is from its mean confidence."""
    confidence = answers.confidence.astype(float)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    excess = np.bincount(bins, confidence - answers.is_right, minlength=BINS)
    return float(np.abs(excess).sum() / len(confidence))


def flips(before: Answers, now: Answers) -> tuple[Flip, ...]:
    """The samples whose answers differ, in order."""
    changed = np.flatnonzero(before.answer != now.answer)
    return tuple(
        Flip(
            int(sample),
            int(now.label[sample]),
            int(before.answer[sample]),
            int(now.answer[sample]),
            float(before.confidence[sample]),
            float(now.confidence[sample]),
        )
        for sample in changed
    )


def _of_both(before: Predictions, now: Predictions, count: int) -> tuple[Answers, Answers] | None:
    if before.answers is None or now.answers is None:
        return None
    return before.answers.first(count), now.answers.first(count)


def _by_source(values: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """(sources,) sums."""
    _, unit = np.unique(sources, return_inverse=True)
    return np.bincount(unit, values)
