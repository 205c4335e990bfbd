"""Accuracy metrics: one registry, one signature.

A metric works in two steps, so that memory stays flat and resampling is cheap:

    sample_statistics(outputs, labels)   a batch to one row per sample; rows of all batches are
                                         concatenated along the first axis
    score(statistics, weights)           rows to the metric; `weights` are how often each sample
                                         counts, (n,) for one score or (B, n) for B scores at once

Only the proportions of the weights matter. A row holds whatever the metric needs of a sample
(numbers here; an object array of detections would do as well).
To add a metric: write its functions and add a `Metric` to `METRICS`, or one that stands in a module
of its own to `ELSEWHERE`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import overload

import numpy as np

from int8gate.engine.plugins import resolve
from int8gate.runtimes.not_finite import refuse_not_finite

IGNORE_LABEL = 255


@dataclass(frozen=True)
class Metric:
    """A named score over samples.

    Attributes
    ----------
    sample_statistics : outputs (n, ...) and labels (n, ...) to rows (n, k). Raises ValueError on
        NaN, and on shapes or labels that do not fit.
    score : rows (n, k) and weights None, (n,) or (B, n) to a float or (B,).
    chance : labels (n, ...) to the best score reached without looking at the input.
    lost : rows (n, k) to the rows of two models on the same samples, one that got them wholly
        right and one that got them wholly wrong: the most a sample can lose. With `parts` it takes
        a class, too, which alone is lost then.
    unit : what a score is counted in; "fraction" is 0 to 1.
    baseline : what reaches the chance score: a model that is not better proves nothing.
    parts : rows (n, k) of a model to how much of each class a sample holds, (n, classes) from 0, by
        numbers of classes; 0 throughout of a class that the model never gets right: there is
        nothing to lose. None where the score is no mean over classes. See `validation.bootstrap`.
    baseline_statistics : labels (n, ...) and the width k of the rows to the baseline's rows (n, k),
        so that a model is compared with it sample by sample; None where `chance` is all there is.
    additive : the score depends on the weighted sum of the rows alone, so that the rows of
        samples which always count together may be added up beforehand.
    even_score : like `score`, without the steps that `score` goes in as samples change, of one that
        has some. Bounds come from it: of a score in steps a resample tells only by chance how far
        it is from the next one.
    """

    name: str
    sample_statistics: Callable[[np.ndarray, np.ndarray], np.ndarray]
    score: Callable[..., float | np.ndarray]
    chance: Callable[[np.ndarray], float]
    lost: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    unit: str = "fraction"
    higher_is_better: bool = True
    additive: bool = True
    baseline: str = "chance"
    parts: Callable[[np.ndarray], np.ndarray] | None = None
    baseline_statistics: Callable[[np.ndarray, int], np.ndarray] | None = None
    even_score: Callable[..., float | np.ndarray] | None = None

    def evenly(self, statistics: np.ndarray, weights: np.ndarray | None) -> float | np.ndarray:
        """`even_score`, or `score` where there is none."""
        return (self.even_score or self.score)(statistics, weights)

    @property
    def worsens(self) -> str:
        """The verb of a score that gets worse."""
        return "drops" if self.higher_is_better else "rises"

    @overload
    def drop(self, reference: float, score: float) -> float: ...

    @overload
    def drop(
        self, reference: float | np.ndarray, score: float | np.ndarray
    ) -> float | np.ndarray: ...

    def drop(self, reference: float | np.ndarray, score: float | np.ndarray) -> float | np.ndarray:
        """How much worse `score` is than `reference`, whichever direction is better."""
        return reference - score if self.higher_is_better else score - reference


def metric(name: str) -> Metric:
    """The registered metric of that name, or a user's own one at ``module:NAME``.

    Raises KeyError that lists the known names.
    """
    place = ELSEWHERE.get(name, name)
    if ":" in place:
        return resolve(place)
    if name not in METRICS:
        raise KeyError(f"no metric named {name!r}; known: {', '.join(sorted(METRICS | ELSEWHERE))}")
    return METRICS[name]


def places_of(names: Iterable[str]) -> tuple[str, ...]:
    """Where those of the metrics stand that have a module of their own, ``module:NAME``."""
    return tuple(place for name in names if ":" in (place := ELSEWHERE.get(name, name)))


def metric_of_file(name: object, declared: Collection[str] = ()) -> Metric:
    """The metric that a baseline, a saved run or a file of predictions names.

    A name may come from anybody: only registered metrics are looked up, and those of `declared`,
    which the user's own TOML names. Raises ValueError for every other one, without importing it.
    """
    if not isinstance(name, str) or name not in {*METRICS, *ELSEWHERE, *declared}:
        raise ValueError(
            f"the metric {name!r:.80} is neither registered nor declared in the TOML of this run "
            "(--zoo): it is not looked up"
        )
    try:
        return metric(name)
    except Exception as error:  # importing it runs the user's code: anything
        raise ValueError(f"the metric {name} cannot be loaded: {error}") from error


def _predictions(outputs: np.ndarray, labels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Class of the largest score (the first of equals); checks outputs against labels."""
    if outputs.shape[:-1] != labels.shape:
        fit = f"outputs {outputs.shape} do not fit labels {labels.shape}"
        raise ValueError(f"{fit}: outputs have one more axis, the classes")
    refuse_not_finite(outputs, infinity=True)
    used, classes = labels[valid], outputs.shape[-1]
    if used.size and (used.min() < 0 or used.max() >= classes):
        span = f"labels span {used.min()}..{used.max()}, but outputs have {classes} classes"
        raise ValueError(f"{span}: check for a background class or an offset of one")
    return outputs.argmax(axis=-1)


def _totals(statistics: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Weighted sum of the rows: (k,), or (B, k) for weights (B, n)."""
    return statistics.sum(axis=0) if weights is None else weights @ statistics


def _quotient(numerator: np.ndarray, denominator: np.ndarray) -> float | np.ndarray:
    """A float, or (B,) scores. Raises ValueError if there was nothing to score."""
    if not np.all(denominator > 0):
        raise ValueError("nothing to score: no sample, or no labelled pixel, has any weight")
    quotient = numerator / denominator
    return float(quotient) if np.ndim(quotient) == 0 else quotient


def _top1_statistics(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Outputs (n, classes), labels (n,) to rows (correct, 1)."""
    correct = _predictions(outputs, labels, np.ones(labels.shape, bool)) == labels
    return np.stack([correct, np.ones_like(correct)], axis=1).astype(np.float64)


def _top1_score(statistics: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    totals = _totals(statistics, weights)
    return _quotient(totals[..., 0], totals[..., 1])


def _top1_lost(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    counted = statistics[:, 1:]
    return np.hstack([counted, counted]), np.hstack([0 * counted, counted])


def _top1_baseline(labels: np.ndarray, width: int) -> np.ndarray:
    """Rows of always guessing the most frequent class."""
    return np.stack([labels == np.bincount(labels).argmax(), np.ones(len(labels))], axis=1) * 1.0


def _top1_chance(labels: np.ndarray) -> float:
    """Share of the most frequent class: always guessing it."""
    return float(np.bincount(labels).max() / labels.size)


def _mean_iou_statistics(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Outputs (n, h, w, classes), labels (n, h, w) to rows (intersections, unions) in pixels."""
    valid = labels != IGNORE_LABEL
    predictions = _predictions(outputs, labels, valid)
    samples, classes = len(labels), outputs.shape[-1]
    offset = np.broadcast_to((np.arange(samples) * classes)[:, None, None], labels.shape)

    def areas(classmap: np.ndarray, where: np.ndarray) -> np.ndarray:
        counts = np.bincount((classmap + offset)[where], minlength=samples * classes)
        return counts.reshape(samples, classes)

    intersection = areas(labels.astype(np.int64), valid & (predictions == labels))
    union = areas(labels.astype(np.int64), valid) + areas(predictions, valid) - intersection
    return np.concatenate([intersection, union], axis=1).astype(np.float64)


def _mean_iou_score(
    statistics: np.ndarray, weights: np.ndarray | None = None
) -> float | np.ndarray:
    """Mean over classes of summed intersection / summed union (Everingham et al. 2010, PASCAL VOC).

    A class in neither prediction nor label is left out of the mean.
    """
    intersection, union = np.split(_totals(statistics, weights), 2, axis=-1)
    present = union > 0
    iou = np.divide(intersection, union, out=np.zeros_like(union), where=present)
    return _quotient(iou.sum(axis=-1), present.sum(axis=-1))


def _mean_iou_parts(statistics: np.ndarray) -> np.ndarray:
    """The union of each class, in pixels; 0 of one that is never met."""
    intersection, union = np.split(statistics, 2, axis=1)
    return union * (intersection.sum(axis=0) > 0)


def _mean_iou_lost(
    statistics: np.ndarray, of_class: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """All or none of each union; the union stays, as if wrong pixels went to no class."""
    union = np.split(statistics, 2, axis=1)[1]
    left = 0 * union
    if of_class is not None:
        left = union * (np.arange(union.shape[1]) != of_class)
    return np.hstack([union, union]), np.hstack([left, union])


def _mean_iou_baseline(labels: np.ndarray, width: int) -> np.ndarray:
    """Expected rows of the best of three blind predictions: the most frequent class everywhere,
    classes drawn evenly, classes drawn by their frequency.

    A pixel of class c that is drawn as c with probability q meets it so often; the union is what
    is c, or drawn as c, or both.
    """
    valid, classes = labels != IGNORE_LABEL, width // 2
    counted = zip(labels, valid, strict=True)
    areas = np.stack([np.bincount(y[v], minlength=classes) for y, v in counted]).astype(float)
    p = areas.sum(axis=0) / areas.sum()
    blind = (p == p.max()) & (np.arange(classes) == p.argmax()), (p > 0) / (p > 0).sum(), p
    tried = []
    for q in blind:
        met = areas * q
        tried.append(np.hstack([met, areas + areas.sum(axis=1, keepdims=True) * q - met]))
    return max(tried, key=_mean_iou_score)


def _mean_iou_chance(labels: np.ndarray) -> float:
    """See `_mean_iou_baseline`."""
    classes = int(labels[labels != IGNORE_LABEL].max(initial=0)) + 1
    return float(_mean_iou_score(_mean_iou_baseline(labels, 2 * classes)))


METRICS: dict[str, Metric] = {
    entry.name: entry
    for entry in (
        Metric(
            "top1",
            _top1_statistics,
            _top1_score,
            _top1_chance,
            _top1_lost,
            baseline_statistics=_top1_baseline,
        ),
        Metric(
            "mean_iou",
            _mean_iou_statistics,
            _mean_iou_score,
            _mean_iou_chance,
            _mean_iou_lost,
            parts=_mean_iou_parts,
            baseline_statistics=_mean_iou_baseline,
        ),
    )
}
# Metrics with a library or a module of their own, ``module:name``.
ELSEWHERE = {
    "map_50_95": "int8gate.validation.metrics.coco_metrics:MAP_50_95",
    "map_50": "int8gate.validation.metrics.coco_metrics:MAP_50",
    "oks_ap": "int8gate.validation.metrics.coco_metrics:OKS_AP",
    "oks_ap_50": "int8gate.validation.metrics.coco_metrics:OKS_AP_50",
    "psnr": "int8gate.validation.metrics.picture_similarity:PSNR",
    "ssim": "int8gate.validation.metrics.picture_similarity:SSIM",
    "rmse": "int8gate.validation.metrics.values:RMSE",
    "mae": "int8gate.validation.metrics.values:MAE",
    "r2": "int8gate.validation.metrics.values:R2",
    "auc": "int8gate.validation.metrics.auc:AUC",
    "pck": "int8gate.validation.metrics.pck:PCK",
    "cer": "int8gate.validation.metrics.edit_distance:CER",
    "wer": "int8gate.validation.metrics.edit_distance:WER",
    "perplexity": "int8gate.validation.metrics.perplexity:PERPLEXITY",
    "next_token": "int8gate.validation.metrics.perplexity:NEXT_TOKEN",
    "reads_as": "int8gate.validation.metrics.digit_reading:READS_AS",
    "exact": "int8gate.validation.metrics.edit_distance:EXACT",
}
