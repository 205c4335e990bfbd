"""What a classifier answered to each sample: its class, how sure it was, by how much it was ahead.

Scores that are no probabilities (of a network that ends in logits) go through softmax first; which
they are is told by the first batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

PREFIX = "answers/"  # of the arrays in a file
SUM_OF_PROBABILITIES = 0.5, 1.5  # the mean of rows; many classes in 8 bits do not add up to 1


@dataclass(frozen=True, eq=False)
class Answers:
    """Of n samples: `label` and `answer` int32 (n,), classes; `confidence` float16 (n,), the
    probability of the answer; `margin` float16 (n,), by how much it is above the second one.
    """

    label: np.ndarray
    answer: np.ndarray
    confidence: np.ndarray
    margin: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    @property
    def is_right(self) -> np.ndarray:
        """(n,) bool."""
        return self.answer == self.label

    def first(self, count: int) -> Answers:
        """Those of the first samples."""
        return Answers(*(getattr(self, each.name)[:count] for each in fields(self)))


class AnswerCollector:
    """Takes a classifier's outputs batch by batch; of other outputs and labels it keeps nothing."""

    def __init__(self) -> None:
        self._batches: list[Answers] | None = []
        self._are_probabilities: bool | None = None

    def add(self, outputs: np.ndarray, labels: np.ndarray) -> None:
        """Scores (n, classes) and labels (n,)."""
        is_classifier = outputs.ndim == 2 and outputs.shape[1] > 1 and labels.ndim == 1
        if not is_classifier or not np.issubdtype(labels.dtype, np.integer):
            self._batches = None
        if self._batches is None:
            return
        scores = outputs.astype(np.float64)
        if self._are_probabilities is None:
            self._are_probabilities = _are_probabilities(scores)
        probable = _normalized(scores) if self._are_probabilities else _softmax(scores)
        answer = outputs.argmax(axis=1)
        second, first = np.partition(probable, -2, axis=1)[:, -2:].T
        sure = probable[np.arange(len(answer)), answer]
        halves = (each.astype(np.float16) for each in (sure, first - second))
        self._batches.append(Answers(labels.astype(np.int32), answer.astype(np.int32), *halves))

    def arrays(self) -> dict[str, np.ndarray]:
        """For a file; empty where there is nothing to keep. `answers_in` reads them."""
        return arrays_of(_joined(self._batches)) if self._batches else {}


def arrays_of(answers: Answers | None) -> dict[str, np.ndarray]:
    """Its arrays by their names in a file; none of None."""
    if answers is None:
        return {}
    return {f"{PREFIX}{each.name}": getattr(answers, each.name) for each in fields(Answers)}


def answers_in(arrays: Mapping[str, np.ndarray]) -> Answers | None:
    """What `arrays_of` named among the arrays of a file; None where there is nothing of it.

    Raises ValueError where some are missing, or are not of the same samples or of another kind.
    """
    names = [f"{PREFIX}{each.name}" for each in fields(Answers)]
    if not any(name in arrays for name in names):
        return None
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f"the array {missing[0]} is missing")
    found = [arrays[name] for name in names]
    for name, values, kind in zip(names, found, "iiff", strict=True):
        if values.dtype.kind != kind or values.shape != found[0].shape or values.ndim != 1:
            raise ValueError(f"the array {name} is {values.dtype} {values.shape}")
    return Answers(*found)


def _joined(batches: list[Answers]) -> Answers:
    columns = ([getattr(batch, each.name) for batch in batches] for each in fields(Answers))
    return Answers(*map(np.concatenate, columns))


def _are_probabilities(scores: np.ndarray) -> bool:
    low, high = SUM_OF_PROBABILITIES
    is_within = scores.min() >= -0.01 and scores.max() <= 1.01
    return bool(is_within and low <= scores.sum(axis=1).mean() <= high)


def _normalized(scores: np.ndarray) -> np.ndarray:
    """Quantized probabilities need not add up to 1; a row of nothing tells no class from others."""
    positive = np.clip(scores, 0, None)
    total = positive.sum(axis=1, keepdims=True)
    return np.where(total > 0, positive / np.where(total > 0, total, 1), 1 / scores.shape[1])


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
