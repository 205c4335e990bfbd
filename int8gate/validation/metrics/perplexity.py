"""How well a language model foretells the tokens that follow: perplexity, and exact hits.

    perplexity    e to the mean negative log-likelihood of the tokens that follow; lower is better
    next_token    the share of tokens that have the highest score

Outputs are logits (n, length, vocabulary), labels (n, length) token numbers; a label below 0 does
not count. A row is (sum of negative log-likelihoods in nats, tokens) or (hits, tokens). Tokens of
one document depend on each other: bounds resample sources, which documents are. Chance is to answer
with the frequency of each token in the evaluation set's own labels, whatever stands before.
"""

from __future__ import annotations

import numpy as np

from int8gate.runtimes.not_finite import refuse_not_finite
from int8gate.validation.metrics.registry import Metric

BEYOND = 1.25  # times the worst sample seen: how far one that is not seen may go


def _counted(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Where labels count, (n, length). Raises ValueError where they do not fit the outputs."""
    if outputs.ndim != 3 or outputs.shape[:2] != labels.shape or labels.dtype.kind not in "iu":
        raise ValueError(
            f"outputs {outputs.shape} do not fit labels {labels.dtype} {labels.shape}: expected "
            "logits (n, length, vocabulary) and whole numbers (n, length)"
        )
    refuse_not_finite(outputs, infinity=True)
    counted = labels >= 0
    if counted.any() and labels[counted].max() >= outputs.shape[-1]:
        raise ValueError(
            f"labels span up to {labels.max()}, but outputs have {outputs.shape[-1]} tokens: is it "
            "another tokenizer's text?"
        )
    return counted


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """The natural logarithms of the softmax over the last axis, float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _likelihoods(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    counted = _counted(outputs, labels)
    place = np.maximum(labels, 0)[..., None].astype(np.int64)
    nats = -np.take_along_axis(log_probabilities(outputs), place, -1)[..., 0]
    return np.stack([(nats * counted).sum(axis=1), counted.sum(axis=1)], axis=1).astype(np.float64)


def _hits(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    counted = _counted(outputs, labels)
    right = (outputs.argmax(axis=-1) == labels) & counted
    return np.stack([right.sum(axis=1), counted.sum(axis=1)], axis=1).astype(np.float64)


def _mean(statistics: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    totals = statistics.sum(axis=0) if weights is None else weights @ statistics
    if not np.all(totals[..., 1] > 0):
        raise ValueError("nothing to score: no token has any weight")
    return totals[..., 0] / totals[..., 1]


def _plain(score: np.ndarray) -> float | np.ndarray:
    return float(score) if np.ndim(score) == 0 else score


def _perplexity(statistics: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    return _plain(np.exp(_mean(statistics, weights)))


def _share(statistics: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    return _plain(_mean(statistics, weights))


def _frequencies(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where labels count, and the frequency of each token among those."""
    counted = labels >= 0
    counts = np.bincount(labels[counted].astype(np.int64))
    return counted, counts / max(1, counts.sum())


def _blind_likelihoods(labels: np.ndarray, width: int) -> np.ndarray:
    counted, frequency = _frequencies(labels)
    nats = np.zeros(labels.shape)
    nats[counted] = -np.log(frequency[labels[counted]])
    return np.stack([nats.sum(axis=1), counted.sum(axis=1)], axis=1).astype(np.float64)


def _blind_hits(labels: np.ndarray, width: int) -> np.ndarray:
    counted, frequency = _frequencies(labels)
    right = (labels == frequency.argmax()) & counted
    return np.stack([right.sum(axis=1), counted.sum(axis=1)], axis=1).astype(np.float64)


def _lost(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows as they are, and each one foretold `BEYOND` times as badly as the worst: a
    likelihood has no limit of its own.
    """
    nats, tokens = statistics[:, :1], statistics[:, 1:]
    worst = BEYOND * np.max(nats / np.maximum(tokens, 1), initial=0)
    return statistics, np.hstack([worst * tokens, tokens])


def _lost_hits(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tokens = statistics[:, 1:]
    return np.hstack([tokens, tokens]), np.hstack([0 * tokens, tokens])


PERPLEXITY = Metric(
    "perplexity",
    _likelihoods,
    _perplexity,
    lambda labels: float(_perplexity(_blind_likelihoods(labels, 2))),
    _lost,
    unit="perplexity",
    higher_is_better=False,
    baseline="the frequency of each token",
    baseline_statistics=_blind_likelihoods,
)
NEXT_TOKEN = Metric(
    "next_token",
    _hits,
    _share,
    lambda labels: float(_share(_blind_hits(labels, 2))),
    _lost_hits,
    baseline="the most frequent token",
    baseline_statistics=_blind_hits,
)
