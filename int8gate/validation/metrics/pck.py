"""PCK: the percentage of correct keypoints of one person a picture.

A keypoint is correct within `ALPHA` of the person's torso diameter from its true place (PCK of
Yang and Ramanan 2013, doi:10.1109/TPAMI.2012.261, by the torso as Sapp and Taskar 2013 normalize
it, doi:10.1109/CVPR.2013.471). The torso's diameter is the longer one of the two from a shoulder to
the opposite hip, among the labelled.
"""

from __future__ import annotations

import numpy as np

from int8gate.runtimes.not_finite import refuse_not_finite
from int8gate.tasks.keypoints import KEYPOINTS
from int8gate.validation.metrics.registry import Metric

ALPHA = 0.2
DIAGONALS = ((5, 12), (6, 11))  # COCO's left shoulder to right hip, right shoulder to left hip
COLUMNS = 1 + 3 * KEYPOINTS
GUESSED_SAMPLES = 256


def _statistics(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows (n, 2) float64: correct keypoints, labelled keypoints.

    Parameters
    ----------
    outputs : (n, P, 52) of [score, 17 x (y, x, keypoint score)], pixels; score < 0 is padding. The
        best scored person counts; where there is none, every keypoint is missed.
    labels : (n, 1, 52) of [area, 17 x (y, x, v)], pixels. Keypoints of v = 0 are not counted, nor
        those of a person of whom neither diagonal is labelled.

    Raises ValueError on values that are not finite and on shapes that do not fit.
    """
    outputs, labels = _checked(outputs, labels)
    picture = np.arange(len(outputs))
    best = outputs[picture, outputs[..., 0].argmax(axis=1)]
    places = np.where(best[:, :1, None] < 0, np.inf, _places(best))
    truth, counted, diameter = _people(labels)
    apart = np.linalg.norm(places - truth, axis=-1)
    correct = counted & (apart <= ALPHA * diameter[:, None])
    return np.stack([correct.sum(axis=1), counted.sum(axis=1)], axis=1).astype(np.float64)


def _people(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of labels (n, 1, 52): places (n, 17, 2), which keypoints count (n, 17), diameters (n,)."""
    places, labelled = _places(labels[:, 0]), labels[:, 0, 3::3] > 0
    ends = np.array(DIAGONALS)
    lengths = np.linalg.norm(places[:, ends[:, 0]] - places[:, ends[:, 1]], axis=-1)
    known = labelled[:, ends].all(axis=-1)
    diameter = np.where(known, lengths, 0).max(axis=1)
    return places, labelled & (diameter > 0)[:, None], diameter


def _places(rows: np.ndarray) -> np.ndarray:
    """(n, 52) to (n, 17, 2): y and x."""
    return rows[:, 1:].reshape(-1, KEYPOINTS, 3)[..., :2]


def _checked(outputs, labels) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64."""
    found, wanted = np.shape(outputs), np.shape(labels)
    fit = len(found) == 3 and found[1] > 0 and found[2] == COLUMNS
    if not fit or wanted != (found[0], 1, COLUMNS):
        raise ValueError(
            f"outputs {found} do not fit labels {wanted}: expected (n, people, {COLUMNS}) and "
            f"(n, 1, {COLUMNS}), one labelled person a picture"
        )
    outputs, labels = np.asarray(outputs, np.float64), np.asarray(labels, np.float64)
    refuse_not_finite(outputs)
    if not np.isfinite(labels).all():
        raise ValueError("labels hold NaN or infinity: mend the data set")
    return outputs, labels


def _score(statistics: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    totals = statistics.sum(axis=0) if weights is None else weights @ statistics
    if not np.all(totals[..., 1] > 0):
        raise ValueError("nothing to score: no labelled keypoint has any weight")
    share = totals[..., 0] / totals[..., 1]
    return float(share) if np.ndim(share) == 0 else share


def _best_pose(labels: np.ndarray, width: int) -> np.ndarray:
    """Rows (n, 2) of the best fixed pose: each keypoint where most of the pictures have it.

    The places tried are the median and those of up to `GUESSED_SAMPLES` pictures, on which they are
    also compared: a bound from below, by little.
    """
    places, counted, diameter = _people(np.asarray(labels, np.float64))
    chosen = np.linspace(0, len(labels) - 1, min(len(labels), GUESSED_SAMPLES)).astype(int)
    if not counted[chosen].any():
        raise ValueError("nothing to score: no sample looked at for a chance level has a keypoint")
    correct = np.zeros(len(labels))
    for keypoint, count in zip(places.swapaxes(0, 1), counted.T, strict=True):
        seen = chosen[count[chosen]]
        if not seen.size:
            continue
        guesses = np.vstack([np.median(keypoint[seen], axis=0), keypoint[seen]])
        apart = np.linalg.norm(guesses[:, None] - keypoint[seen], axis=-1)
        best = guesses[(apart <= ALPHA * diameter[seen]).sum(axis=1).argmax()]
        correct += count & (np.linalg.norm(best - keypoint, axis=-1) <= ALPHA * diameter)
    return np.stack([correct, counted.sum(axis=1)], axis=1).astype(np.float64)


def _chance(labels: np.ndarray) -> float:
    return float(_score(_best_pose(labels, 2)))


def _lost(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    counted = statistics[:, 1:]
    return np.hstack([counted, counted]), np.hstack([0 * counted, counted])


PCK = Metric(
    "pck",
    _statistics,
    _score,
    _chance,
    _lost,
    baseline="the best fixed pose",
    baseline_statistics=_best_pose,
)
