"""How the text recognizer is judged: the share of words that it reads without a mistake."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from int8gate.validation.metrics.registry import Metric


def letters(outputs: list[np.ndarray], network) -> np.ndarray:
    """The likeliest letter of each step: scores (n, steps, letters) to numbers (n, steps)."""
    return outputs[0].argmax(axis=2)


def rows_of(steps: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Letters (n, steps) and words (n,) to rows (read without a mistake, 1)."""
    read = np.array([text.strip() for text, *_ in _decoder().decode(steps, None, False, True)])
    right = read == labels
    return np.stack([right, np.ones(len(right))], axis=1).astype(float)


@cache
def _decoder():
    """The package's own decoder, with the letters that stand in the model's file."""
    from onnxruntime import InferenceSession
    from rapidocr_onnxruntime.ch_ppocr_rec.utils import CTCLabelDecode

    session = InferenceSession(str(Path(__file__).parent / "recognizer.onnx"))
    letters = session.get_modelmeta().custom_metadata_map["character"].splitlines()
    return CTCLabelDecode(character=letters)


def score(rows: np.ndarray, weights: np.ndarray | None = None):
    """The share of words read without a mistake, or one for each row of weights (B, n)."""
    totals = rows.sum(axis=0) if weights is None else weights @ rows
    return totals[..., 0] / totals[..., 1]


def chance(labels: np.ndarray) -> float:
    """What guessing reaches: nothing."""
    return 0.0


def lost(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a model that reads every word, and of one that reads none."""
    counted = rows[:, 1:]
    return np.hstack([counted, counted]), np.hstack([0 * counted, counted])


WORDS = Metric("words", rows_of, score, chance, lost)
