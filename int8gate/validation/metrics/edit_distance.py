"""How far texts that were read are from those that stand there: CER, WER, and exact reads.

    cer      edits of characters, by the characters of the labels; lower is better, and who reads
             nothing has 1
    wer      the same of words, which white space parts
    exact    the share of texts that are read without a mistake

An edit inserts, deletes or replaces one (Levenshtein 1966). Rates are of sums over samples, so that
long texts count more, and exceed 1 where more is inserted than stands there. A character is a code
point after NFC normalization; white space at the ends does not count, upper and lower case do. A
row is (edits, characters), (edits, words) or (right, 1). Chance is to answer the same for every
sample: nothing, or the most frequent text.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable

import numpy as np

from int8gate.validation.metrics.registry import Metric


def _pairs(outputs: np.ndarray, labels: np.ndarray) -> list[tuple[str, str]]:
    """What was read and what stands there, normalized; both are (n,) of dtype str.

    Raises ValueError for others, and for labels without a text.
    """
    for what, texts in (("outputs", outputs), ("labels", labels)):
        if texts.dtype.kind != "U" or texts.ndim != 1 or len(texts) != len(labels):
            raise ValueError(
                f"{what} are {texts.dtype} {texts.shape} for {len(labels)} samples, expected a "
                "text (dtype str) for each"
            )
    pairs = [(_normal(read), _normal(label)) for read, label in zip(outputs, labels, strict=True)]
    if not all(label for _, label in pairs):
        raise ValueError("a label has no text: remove the sample")
    return pairs


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", str(text)).strip()


def _statistics(units: Callable, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    from rapidfuzz.distance import Levenshtein

    pairs = [(units(read), units(label)) for read, label in _pairs(outputs, labels)]
    rows = [(Levenshtein.distance(read, label), len(label)) for read, label in pairs]
    return np.array(rows, np.float64).reshape(-1, 2)


def _characters(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return _statistics(str, outputs, labels)


def _words(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return _statistics(str.split, outputs, labels)


def _exact(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.array([(read == label, 1) for read, label in _pairs(outputs, labels)], np.float64)


def _rate(statistics: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    totals = statistics.sum(axis=0) if weights is None else weights @ statistics
    if not np.all(totals[..., 1] > 0):
        raise ValueError("nothing to score: no sample has any weight")
    rate = totals[..., 0] / totals[..., 1]
    return float(rate) if np.ndim(rate) == 0 else rate


def _lost(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """No edit, and as many as there are characters (or more, where a model made more)."""
    edits, counted = statistics[:, :1], statistics[:, 1:]
    return np.hstack([0 * edits, counted]), np.hstack([np.maximum(edits, counted), counted])


def _lost_reads(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    counted = statistics[:, 1:]
    return np.hstack([counted, counted]), np.hstack([0 * counted, counted])


def _metric(name: str, rows_of: Callable, lost: Callable, unit: str, higher: bool) -> Metric:
    def baseline(labels: np.ndarray, width: int) -> np.ndarray:
        """Rows of the better of two blind answers."""
        counts = Counter(map(_normal, labels))
        answers = "", max(sorted(counts), key=counts.__getitem__)
        tried = [rows_of(np.full(len(labels), answer), labels) for answer in answers]
        return max(tried, key=_rate) if higher else min(tried, key=_rate)

    def chance(labels: np.ndarray) -> float:
        return float(_rate(baseline(labels, 0)))

    return Metric(
        name,
        rows_of,
        _rate,
        chance,
        lost,
        unit=unit,
        higher_is_better=higher,
        baseline="answering always the same",
        baseline_statistics=baseline,
    )


CER = _metric("cer", _characters, _lost, "edit rate", higher=False)
WER = _metric("wer", _words, _lost, "edit rate", higher=False)
EXACT = _metric("exact", _exact, _lost_reads, "fraction", higher=True)
