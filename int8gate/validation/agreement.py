"""How often a quantized model answers as the float one does, task by task, without labels.

`Agreement(task)` takes what the task's metric takes (after `decode`), of both models, batch by
batch, and gives a share of 0 to 1; its `Task` names the function:

    same_class      pictures, or pixels, whose best class is the same
    same_boxes      boxes found by both: same class, IoU of `SAME_BOX` or more
    same_people     keypoints of people found by both, at the same place as PCK judges it
    same_text       texts that are the same, of those in which either model reads something

Each box, and each keypoint, counts as much as its squared score: a hundred boxes of next to no
score do not outvote the one that is shown. To be found, its score has to be of the same order:
`SAME_SCORE` of the other's or more.
"""

from __future__ import annotations

import numpy as np

from int8gate.engine.plugins import resolve
from int8gate.tasks.registry import task
from int8gate.validation.metrics.pck import ALPHA, DIAGONALS, KEYPOINTS

SAME_BOX = 0.5
SAME_SCORE = 0.5
LEAST_EXTENT = 0.05  # of a person, where its torso is seen from the side: about a fifth of it
MOST = 100  # boxes or people of a picture, the surest


class Agreement:
    """Adds up how two models' answers to one task agree; `name` is that of a task that has an
    `agreement`, or the function itself, ``module:function``.
    """

    def __init__(self, name: str):
        self._compare = resolve(name if ":" in name else task(name).agreement)
        self._agreeing = self._counted = 0.0

    def add(self, wanted: np.ndarray, found: np.ndarray) -> None:
        """Decoded outputs (n, ...) of the float and of the quantized model."""
        agreeing, counted = self._compare(wanted, found)
        self._agreeing += agreeing
        self._counted += counted

    def share(self) -> float | None:
        """0 to 1; None where neither model answers anything, or there is but one answer."""
        return float(self._agreeing / self._counted) if self._counted else None


def same_class(wanted: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Scores (n, ..., classes); one class leaves nothing to choose."""
    if wanted.shape[-1] < 2:
        return 0, 0
    same = wanted.argmax(axis=-1) == found.argmax(axis=-1)
    return int(np.count_nonzero(same)), same.size


def same_boxes(wanted: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Detections (n, K, 6), [class, score, ymin, xmin, ymax, xmax]; a score below 0 is padding."""
    agreeing = counted = 0.0
    for one, other in zip(wanted, found, strict=True):
        one, other = _surest(one, 1), _surest(other, 1)
        same = _overlap(one[:, 2:], other[:, 2:]) >= SAME_BOX
        same &= one[:, None, 0] == other[None, :, 0]
        both = _pairs(same, one[:, 1], other[:, 1], _overlap(one[:, 2:], other[:, 2:]))
        agreeing += sum(one[i, 1] ** 2 + other[j, 1] ** 2 for i, j in both)
        counted += (one[:, 1] ** 2).sum() + (other[:, 1] ** 2).sum()
    return agreeing, counted


def same_people(wanted: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """People (n, P, 52) of [score, 17 x (y, x, score)]; a score below 0 is padding."""
    agreeing = counted = 0.0
    for one, other in zip(wanted, found, strict=True):
        one, other = _surest(one, 0), _surest(other, 0)
        near = _near(one, other)
        weights = [_weights(people) for people in (one, other)]
        alike = (near * weights[0][:, None]).sum(-1)
        for i, j in _pairs(near.any(axis=-1), one[:, 0], other[:, 0], alike):
            agreeing += (near[i, j] * (weights[0][i] + weights[1][j])).sum()
        counted += weights[0].sum() + weights[1].sum()
    return agreeing, counted


def same_text(wanted: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Texts (n,) of dtype str."""
    is_read = (wanted != "") | (found != "")
    alike = is_read & (wanted == found)
    return float(np.count_nonzero(alike)), float(np.count_nonzero(is_read))


def _surest(rows: np.ndarray, score: int) -> np.ndarray:
    """Those that are no padding, surest first; `score` is the column of their scores."""
    rows = np.asarray(rows, np.float64)
    rows = rows[rows[:, score] > 0]
    return rows[np.argsort(-rows[:, score], kind="stable")][:MOST]


def _pairs(may: np.ndarray, scores, others, alike: np.ndarray) -> list[tuple[int, int]]:
    """Each of (k,) with the one of (l,) that is most `alike` (k, l), surest first, none twice."""
    near = np.minimum.outer(scores, others) >= SAME_SCORE * np.maximum.outer(scores, others)
    alike = np.where(may & near, alike, -1.0)
    pairs = []
    for i in range(len(alike)):
        if alike.shape[1] and alike[i].max() >= 0:
            j = int(alike[i].argmax())
            alike[:, j] = -1
            pairs.append((i, j))
    return pairs


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU (k, l) of boxes (k, 4) and (l, 4) of [ymin, xmin, ymax, xmax]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = [np.prod(np.maximum(each[:, 2:] - each[:, :2], 0), axis=-1) for each in (boxes, others)]
    union = areas[0][:, None] + areas[1][None] - shared
    of_nothing = (boxes[:, None] == others[None]).all(axis=-1).astype(float)  # empty, in one place
    return np.divide(shared, union, out=of_nothing, where=union > 0)


def _weights(people: np.ndarray) -> np.ndarray:
    """(k, 17): squared scores of keypoints, which share that of their person."""
    scores = np.maximum(people[:, 3::3], 0) ** 2
    total = scores.sum(axis=1, keepdims=True)
    even = np.full_like(scores, 1 / scores.shape[1])
    return people[:, :1] ** 2 * np.divide(scores, total, out=even, where=total > 0)


def _near(people: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(k, l, 17): whether a keypoint lies where the other person has it: see `pck`."""
    places, elsewhere = (
        rows[:, 1:].reshape(len(rows), KEYPOINTS, 3)[..., :2] for rows in (people, others)
    )
    extent = (places.max(axis=1) - places.min(axis=1)).max(axis=-1, initial=0)
    ends = np.array(DIAGONALS)
    torso = np.linalg.norm(places[:, ends[:, 0]] - places[:, ends[:, 1]], axis=-1).max(axis=1)
    apart = np.linalg.norm(places[:, None] - elsewhere[None], axis=-1)
    return apart <= np.maximum(ALPHA * torso, LEAST_EXTENT * extent)[:, None, None]
