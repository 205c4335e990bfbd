"""How well scores tell anomalies (label 1) from what is normal (0): the area under the ROC curve.

It is the share of pairs, one of each, in which the anomaly has the higher score; ties count half
(Hanley and McNeil 1982, Radiology 143(1)). A row is (score, label).
"""

from __future__ import annotations

import numpy as np

from int8gate.runtimes.not_finite import refuse_not_finite
from int8gate.validation.metrics.registry import Metric

CHANCE = 0.5


def _statistics(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Scores (n,) or (n, 1), labels (n,) to rows (n, 2)."""
    if outputs.size != len(labels) or np.ndim(labels) != 1:
        raise ValueError(
            f"outputs {outputs.shape} do not fit labels {labels.shape}: one score each"
        )
    scores = np.asarray(outputs, np.float64).reshape(-1)
    refuse_not_finite(scores)
    return np.stack([scores, labels.astype(np.float64)], axis=1)


def _auc(statistics: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    scores, labels = statistics.T
    order = np.argsort(scores, kind="stable")
    given = np.ones((1, len(scores))) if weights is None else np.atleast_2d(weights)
    weighted = given[:, order]
    first = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) != 0)  # of equal scores
    is_anomaly = labels[order] > 0
    anomalies, normal = (
        np.add.reduceat(weighted * chosen, first, axis=1) for chosen in (is_anomaly, ~is_anomaly)
    )
    below = np.cumsum(normal, axis=1) - normal / 2
    pairs = anomalies.sum(axis=1) * normal.sum(axis=1)
    if not np.all(pairs > 0):
        raise ValueError("nothing to score: labels 0 (normal) and 1 (anomalous) are both needed")
    area = (anomalies * below).sum(axis=1) / pairs
    return float(area[0]) if weights is None or np.ndim(weights) == 1 else area


def _lost(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scored above, or below, all others as its label asks; and the other way about, beyond those
    that are right: an anomaly below all normal samples is in no pair the higher one.
    """
    scores, labels = statistics.T
    beyond = np.abs(scores).max(initial=0) * 1e3 + 1e3
    right = np.where(labels > 0, beyond, -beyond)
    return np.stack([right, labels], axis=1), np.stack([-2 * right, labels], axis=1)


AUC = Metric(
    "auc",
    _statistics,
    _auc,
    lambda labels: CHANCE,
    _lost,
    additive=False,
)
