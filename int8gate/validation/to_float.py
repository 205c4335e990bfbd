"""How far a quantized model's answers are from the float model's, sample by sample, with intervals.

A task names such comparisons (`Task.to_float`): functions of both models' decoded outputs (n, ...)
that give a row for each sample, (sum, count). Their mean is recorded with a two-sided 95% interval,
the Bayesian bootstrap over sources (Rubin 1981, Annals of Statistics 9(1)); it gates nothing.

    kl_divergence     nats a token by which the quantized model's probabilities diverge from those
                      of float, KL(float || quantized)
    same_next_token   the share of tokens at which both find the same one likeliest
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from int8gate.validation.metrics.perplexity import log_probabilities

RESAMPLES = 1999
INTERVAL = 0.025, 0.975


@dataclass(frozen=True)
class Distance:
    """A mean and the ends of its 95% interval, on so many samples."""

    value: float
    lower_95: float
    upper_95: float
    samples: int


def kl_divergence(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Logits (n, length, vocabulary) of both models to rows (n, 2): nats, and tokens."""
    real, quantized = log_probabilities(wanted), log_probabilities(found)
    nats = (np.exp(real) * (real - quantized)).sum(axis=-1)
    return np.stack([nats.sum(axis=1), np.full(len(nats), nats.shape[1])], axis=1)


def same_next_token(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Logits (n, length, vocabulary) of both models to rows (n, 2): equal answers, and tokens."""
    same = wanted.argmax(axis=-1) == found.argmax(axis=-1)
    return np.stack([same.sum(axis=1), np.full(len(same), same.shape[1])], axis=1).astype(float)


def distance(rows: np.ndarray, sources: np.ndarray, seed: int = 0) -> dict:
    """The `Distance` of rows (n, 2) as a plain mapping; samples of a source (n,) count together."""
    _, unit = np.unique(sources, return_inverse=True)
    sums = np.zeros((unit.max() + 1, 2))
    np.add.at(sums, unit, rows)
    weights = np.random.default_rng(seed).exponential(size=(RESAMPLES, len(sums)))
    totals = weights @ sums
    low, high = np.quantile(totals[:, 0] / totals[:, 1], INTERVAL)
    value = rows[:, 0].sum() / rows[:, 1].sum()
    return asdict(Distance(float(value), float(low), float(high), len(rows)))
