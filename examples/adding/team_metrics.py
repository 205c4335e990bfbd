"""Whether the label is among the two best scores."""

import numpy as np

from int8gate.validation.metrics.registry import Metric


def rows_of(outputs, labels):
    """Outputs (n, classes) and labels (n,) to rows (right, 1)."""
    right = (np.argsort(outputs, axis=1)[:, -2:] == labels[:, None]).any(axis=1)
    return np.stack([right, np.ones(len(labels))], axis=1).astype(float)


def score(rows, weights=None):
    """A float, or a score for each row of weights (B, n)."""
    totals = rows.sum(axis=0) if weights is None else weights @ rows
    return totals[..., 0] / totals[..., 1]


def chance(labels):
    """What naming the two most frequent classes reaches."""
    return np.sort(np.bincount(labels))[-2:].sum() / len(labels)


def lost(rows):
    """Rows of a model that is right on each sample, and of one that is wrong."""
    counted = rows[:, 1:]
    return np.hstack([counted, counted]), np.hstack([0 * counted, counted])


TOP2 = Metric("top2", rows_of, score, chance, lost)
