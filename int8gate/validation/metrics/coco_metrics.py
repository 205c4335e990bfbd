"""COCO's average precision of boxes and of poses, over samples that may be weighted.

    MAP_50, MAP_50_95   decoded detections (n, K, 6), labels (n, G, 5): see `match_boxes`
    OKS_AP_50, OKS_AP   decoded people (n, P, 52), labels (n, G, 52): see `match_poses`

pycocotools matches detections with objects; here the matches are weighted and added up. Without
weights the score is that of pycocotools' `summarize` for all areas (Lin et al. 2014,
arXiv:1405.0312; https://cocodataset.org/#detection-eval). A sample of weight 3 counts as three
copies of it in the place where it stands, but for one thing: equal scores within one picture are
counted in their order, not by turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np

from int8gate.validation.metrics.coco_matching import (
    KEYPOINTS,
    OBJECT,
    PADDING,
    RECORD,
    THRESHOLDS,
    match_boxes,
    match_poses,
)
from int8gate.validation.metrics.registry import Metric

FIFTY = (0,)  # which of the thresholds
EVERY = tuple(range(THRESHOLDS))
GUESSES = 7  # blind guesses besides the median
GUESSED_SAMPLES = 256
CELLS = 2**20  # detections x resamples held at once

# A recall of just j/100 reaches the j-th recall point, unless that, rounded by linspace, lies above
# it. This keeps pycocotools' answer, yet forgives the rounding of weights that are not whole.
_ROUNDING = 1e-10
_RECALL = np.arange(101) / 100
_REACHED_AT = _RECALL + np.where(np.linspace(0, 1, 101) > _RECALL, _ROUNDING, -_ROUNDING)


def average_precision(
    statistics: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    thresholds: tuple[int, ...],
    points_of_recall: bool = True,
) -> float | np.ndarray:
    """COCO's AP: a mean over `thresholds`, 101 points of recall, and the classes that have objects.

    Rows (n, 3 R) as of `coco_matching`, weights None, (n,) or (B, n); a float or (B,).
    At points of recall it goes in steps of a hundredth as objects are lost; the area under the same
    curve does not: `points_of_recall=False` (as PASCAL VOC from 2010).
    Raises ValueError if no object has any weight.
    """
    mean_over_recall = _at_points if points_of_recall else _area
    records = statistics.reshape(len(statistics), -1, RECORD)
    counts = np.ones(len(records)) if weights is None else weights
    counts = np.atleast_2d(np.asarray(counts, np.float64))
    classes, scores = records[..., 0], records[..., 1]
    is_object = (classes != PADDING) & (scores == OBJECT)
    total, present = np.zeros((2, len(counts)))
    for category in np.unique(classes[is_object]):
        objects = counts @ (is_object & (classes == category)).sum(axis=1)
        sample, slot = np.nonzero((classes == category) & ~is_object)
        order = np.argsort(-scores[sample, slot], kind="stable")  # as COCO: ties in sample order
        sample, slot = sample[order], slot[order]
        hits = _hits(records[sample, slot, 2], thresholds)
        total += _class_precision(counts, sample, hits, objects, mean_over_recall)
        present += objects > 0
    if not np.all(present > 0):
        raise ValueError("nothing to score: no labelled object has any weight")
    mean = total / present
    return float(mean[0]) if np.ndim(weights) < 2 else mean


def _hits(bits: np.ndarray, thresholds: tuple[int, ...]) -> np.ndarray:
    """Whether each detection is a true positive: (D,) to (D, thresholds)."""
    return (bits.astype(np.int64)[:, None] >> np.array(thresholds)) & 1 == 1


def _class_precision(
    weights: np.ndarray,
    sample: np.ndarray,
    hits: np.ndarray,
    objects: np.ndarray,
    mean_over_recall: Callable,
) -> np.ndarray:
    """(B,) mean precision of one class, from its detections, surest first: (D,), (D, thresholds).

    Weights (B, n) go in blocks of rows, so that B x D need not fit into memory.
    """
    after_last_hit = np.flatnonzero(hits.any(axis=1)).max(initial=-1) + 1  # the rest cannot count
    sample, hits = sample[:after_last_hit], hits[:after_last_hit]
    curves = Counter(threshold.tobytes() for threshold in hits.T)  # thresholds often agree
    mean = np.zeros(len(objects))
    step = max(1, CELLS // max(1, len(sample)))
    for start in range(0, len(objects), step):
        block = slice(start, start + step)
        counted = weights[block].take(sample, axis=1)
        seen = np.cumsum(counted, axis=1)
        for curve, times in curves.items():
            hit = np.flatnonzero(np.frombuffer(curve, bool))
            true, seen_then = counted.take(hit, axis=1).cumsum(axis=1), seen.take(hit, axis=1)
            precision = _precision(true, seen_then)
            mean[block] += times * mean_over_recall(precision, true, objects[block, None])
    return mean / hits.shape[1]


def _precision(true: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(B, H): the best precision at the recall of each true positive or a higher one.

    Of (B, H) weights of the true positives and of all detections up to each true positive: only
    there does recall grow, and precision is never higher in between.
    """
    precision = np.divide(true, seen, out=np.zeros_like(true), where=seen > 0)
    return np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]


def _at_points(precision: np.ndarray, true: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """(B,) mean over COCO's points of recall; 0 at one that is not reached, or without objects."""
    best = np.hstack([precision, np.zeros_like(objects)])
    recall = true / np.where(objects > 0, objects, 1)
    reached = np.array([points.searchsorted(_REACHED_AT) for points in recall])
    return np.where(objects[:, 0] > 0, np.take_along_axis(best, reached, axis=1).mean(axis=1), 0)


def _area(precision: np.ndarray, true: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """(B,) mean over all of recall; 0 without objects."""
    gained = np.diff(true, axis=1, prepend=0) / np.where(objects > 0, objects, 1)
    return np.where(objects[:, 0] > 0, (precision * gained).sum(axis=1), 0)


def objects_of_classes(statistics: np.ndarray) -> np.ndarray:
    """How many objects of each class a picture has: rows (n, 3 R) to (n, classes).

    None of a class of which no object is ever found.
    """
    records = statistics.reshape(len(statistics), -1, RECORD)
    is_object = (records[..., 0] != PADDING) & (records[..., 1] == OBJECT)
    sample, slot = np.nonzero(is_object)
    classes = records[sample, slot, 0].astype(int)
    counts = np.zeros((len(records), classes.max(initial=0) + 1))
    np.add.at(counts, (sample, classes), 1)
    is_hit = ~is_object & (records[..., 0] != PADDING) & (records[..., 2] > 0)
    return counts * np.isin(np.arange(counts.shape[1]), records[is_hit][:, 0])


def lost(statistics: np.ndarray, of_class: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Rows that found every object, sure of it and of nothing else; rows that found nothing, or
    everything but the objects of one class.

    A sample without objects has nothing to lose: both are the same.
    """
    records = statistics.reshape(len(statistics), -1, RECORD)
    is_object = (records[..., 0] != PADDING) & (records[..., 1] == OBJECT)
    order = np.argsort(~is_object, axis=1, kind="stable")[..., None]
    most = is_object.sum(axis=1).max(initial=0)
    objects = np.take_along_axis(records, order, axis=1)[:, :most]
    objects[~np.take_along_axis(is_object, order[..., 0], axis=1)[:, :most]] = PADDING, 0, 0
    wrong = np.zeros_like(records)
    wrong[..., 0] = PADDING
    wrong[:, :most] = objects
    right = wrong.copy()
    hit = objects[..., :1] != PADDING
    found = np.concatenate([objects[..., :1], hit * 1.0, hit * (2.0**THRESHOLDS - 1)], axis=-1)
    right[:, most : 2 * most] = found
    if of_class is not None:
        left = hit & (objects[..., :1] != of_class)
        wrong[:, most : 2 * most] = np.where(left, found, [PADDING, 0, 0])
    right, wrong = (rows.reshape(len(statistics), -1) for rows in (right, wrong))
    return right, wrong


def _blind_rows(
    labels: np.ndarray, width: int, *, guesses: Callable, match: Callable, score: Callable
) -> np.ndarray:
    """Rows (n, width) of the best of a few detections that do not depend on the picture: in every
    one, for each class, the median object or one of the objects, small to large.

    A bound from below: more guesses at once could find a little more. The best is chosen on up to
    `GUESSED_SAMPLES` pictures. Of more classes than a row has room for, the most frequent count.
    """
    labels = np.asarray(labels)
    chosen = labels[_looked_at(labels)]
    slots = width // RECORD - labels.shape[1]  # of a row; the rest is for the objects
    tried = guesses(chosen)[:, : slots if width else None]
    scores = [score(match(_everywhere(guess, len(chosen)), chosen)) for guess in tried]
    rows = match(_everywhere(tried[np.argmax(scores)], len(labels)), labels)
    return _widened(rows, width)


def _looked_at(labels: np.ndarray) -> np.ndarray:
    return np.linspace(0, len(labels) - 1, min(len(labels), GUESSED_SAMPLES)).astype(int)


def _everywhere(guess: np.ndarray, pictures: int) -> np.ndarray:
    return np.broadcast_to(guess, (pictures, *guess.shape))


def _widened(rows: np.ndarray, width: int) -> np.ndarray:
    """Rows with as much padding as they need to be `width` wide."""
    missing = (width - rows.shape[1]) // RECORD
    return np.hstack([rows, np.tile([PADDING, 0.0, 0.0], (len(rows), max(missing, 0)))])


def _chance(labels: np.ndarray, *, rows: Callable, score: Callable) -> float:
    return score(rows(np.asarray(labels)[_looked_at(labels)], 0))


def _box_guesses(labels: np.ndarray) -> np.ndarray:
    """(1 + GUESSES, classes, 6) blind detections, of the most frequent class first."""
    objects = labels[labels[..., 0] != PADDING].astype(np.float64)
    classes, counts = np.unique(objects[:, 0], return_counts=True)
    classes = classes[np.argsort(-counts, kind="stable")]
    guesses = np.ones((1 + GUESSES, len(classes), 6))
    for which, category in enumerate(classes):
        boxes = objects[objects[:, 0] == category, 1:]
        sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        guesses[:, which, 0] = category
        guesses[:, which, 2:] = _typical(boxes, sizes)
    return guesses


def _pose_guesses(labels: np.ndarray) -> np.ndarray:
    """(1 + GUESSES, 1, 52) blind people; a keypoint that is not there lies at the median's."""
    people = labels[labels[..., 0] > 0].astype(np.float64)
    keypoints = people[:, 1:].reshape(-1, KEYPOINTS, 3)
    hidden = np.broadcast_to(keypoints[..., 2:] == 0, keypoints.shape)
    median = np.ma.median(np.ma.masked_array(keypoints, hidden), axis=0).filled(0)
    keypoints = np.where(hidden, median, keypoints)
    guesses = np.ones((1 + GUESSES, 1, people.shape[1]))
    guesses[:, 0, 1:] = _typical(keypoints.reshape(len(people), 3 * KEYPOINTS), people[:, 0])
    return guesses


def _typical(objects: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(1 + GUESSES, c): the median of objects (m, c), and some of them, evenly by size.

    Raises ValueError if there is none.
    """
    if not len(objects):
        raise ValueError("nothing to score: no sample looked at for a chance level has an object")
    ranks = np.linspace(0, len(objects) - 1, GUESSES + 2)[1:-1].astype(int)
    return np.vstack([np.median(objects, axis=0), objects[np.argsort(sizes)[ranks]]])


def _coco_metric(name: str, match: Callable, guesses: Callable, thresholds: tuple) -> Metric:
    score = partial(average_precision, thresholds=thresholds)
    blind = partial(_blind_rows, guesses=guesses, match=match, score=score)
    chance = partial(_chance, rows=blind, score=score)
    return Metric(
        name,
        match,
        score,
        chance,
        lost,
        additive=False,
        parts=objects_of_classes,
        baseline_statistics=blind,
        even_score=partial(score, points_of_recall=False),
    )


MAP_50 = _coco_metric("map_50", match_boxes, _box_guesses, FIFTY)
MAP_50_95 = _coco_metric("map_50_95", match_boxes, _box_guesses, EVERY)
OKS_AP_50 = _coco_metric("oks_ap_50", match_poses, _pose_guesses, FIFTY)
OKS_AP = _coco_metric("oks_ap", match_poses, _pose_guesses, EVERY)
