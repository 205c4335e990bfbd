"""How far predicted values are from real ones: RMSE, MAE and R2 of regression.

Of several values the errors are averaged over them. A row holds sums over which samples add up, for
k values: errors (k), real values (k), their squares (k), and a count. Chance is predicting the mean
of the evaluation set's own labels.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from int8gate.runtimes.not_finite import refuse_not_finite
from int8gate.validation.metrics.registry import Metric

BEYOND = 1.25  # times the worst error seen: how far one that is not seen may go
LEAST_LOSS = 1e-9  # of the spread: of losing a sample that is predicted no better than by the mean


def _pairs(outputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (n, k); raises ValueError where they do not fit or outputs are not finite."""
    found, real = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (outputs, labels))
    if found.shape != real.shape:
        raise ValueError(
            f"outputs {outputs.shape} do not fit labels {labels.shape}: both are (n, values)"
        )
    refuse_not_finite(found)
    return found, real


def _statistics(power: int, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    found, real = _pairs(outputs, labels)
    errors = np.abs(found - real) ** power
    return np.hstack([errors, real, real**2, np.ones((len(real), 1))])


def _means(statistics: np.ndarray, weights: np.ndarray | None) -> list[np.ndarray]:
    """Mean errors, values and squares, each (k,) or (B, k)."""
    totals = statistics.sum(axis=0) if weights is None else weights @ statistics
    if not np.all(totals[..., -1] > 0):
        raise ValueError("nothing to score: no sample has any weight")
    return np.split(totals[..., :-1] / totals[..., -1:], 3, axis=-1)


def _plain(score: np.ndarray) -> float | np.ndarray:
    return float(score) if np.ndim(score) == 0 else score


def _rmse(statistics: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    errors, *_ = _means(statistics, weights)
    return _plain(np.sqrt(np.maximum(errors, 0).mean(axis=-1)))


def _mae(statistics: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    errors, *_ = _means(statistics, weights)
    return _plain(errors.mean(axis=-1))


def _r2(statistics: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    """1 - squared error / variance, the mean over values; 0 of a value that never varies."""
    errors, values, squares = _means(statistics, weights)
    spread = squares - values**2
    share = np.divide(errors, spread, out=np.ones_like(errors), where=spread > 1e-12 * squares)
    return _plain(1 - share.mean(axis=-1))


def _baseline(power: int, labels: np.ndarray, width: int) -> np.ndarray:
    """Rows of always predicting the mean."""
    real = np.asarray(labels, np.float64).reshape(len(labels), -1)
    return _statistics(power, np.broadcast_to(real.mean(axis=0), real.shape), real)


def _lost(power: int, statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows as they are (a root is steepest at no error, where no model is), and each one
    predicted `BEYOND` times as badly as the worst, but no worse than by the mean: errors have no
    limit of their own, and where few samples lose all, the worst of them is seldom seen. That the
    bound then holds is measured by benchmarks/noninferiority.py.
    """
    errors, values, squares = np.split(statistics[:, :-1], 3, axis=1)
    count = statistics[:, -1:]
    mean = values.sum(axis=0) / count.sum()
    spread = squares.sum(axis=0) / count.sum() - mean**2
    blind = np.abs(values - mean * count) ** power / count ** (power - 1)
    worst = BEYOND**power * (errors / count).max(axis=0) * count
    least = LEAST_LOSS * count * np.maximum(spread, 1e-300) ** (power / 2)
    wrong = np.maximum(np.minimum(blind, worst), errors + least)
    return statistics, np.hstack([wrong, statistics[:, errors.shape[1] :]])


def _metric(name: str, power: int, score, higher: bool) -> Metric:
    def chance(labels: np.ndarray) -> float:
        return float(score(_baseline(power, labels, 0)))

    return Metric(
        name,
        partial(_statistics, power),
        score,
        chance,
        partial(_lost, power),
        unit="R2" if higher else "label",
        higher_is_better=higher,
        baseline="predicting the mean",
        baseline_statistics=partial(_baseline, power),
    )


RMSE = _metric("rmse", 2, _rmse, higher=False)
MAE = _metric("mae", 1, _mae, higher=False)
R2 = _metric("r2", 2, _r2, higher=True)
