"""Whether a generated picture shows the digit that its prompt asks for, as a classifier reads it.

The reader is a support vector machine, scikit-learn's own example for these digits, fitted to those
of the evaluation split, of which no network of the zoo saw any in training. It takes 8x8 grey
levels of 0..16: a picture is averaged to that. Outputs are pictures (n, h, w, channels) in 0..1,
labels the digits (n,); a row is (right, 1).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from int8gate.calibration_data.synthetic.picture_sources import digits
from int8gate.runtimes.not_finite import refuse_not_finite
from int8gate.validation.metrics.registry import METRICS

SIDE, LEVELS = 8, 16  # of a picture of scikit-learn's digits
GAMMA = 0.001  # of the example's kernel


@cache
def _reader():
    from sklearn.svm import SVC

    pictures, labels, _ = digits("evaluation")
    return SVC(gamma=GAMMA).fit(pictures.reshape(len(pictures), -1) * LEVELS, labels)


def read(pictures: np.ndarray) -> np.ndarray:
    """The digit that each picture (n, h, w, channels) in 0..1 shows, int64 (n,).

    Raises ValueError where the sides are no multiples of 8, or a value is not finite.
    """
    n, height, width, *channels = pictures.shape if pictures.ndim == 4 else (0, 1, 1)
    if not channels or height % SIDE or width % SIDE:
        raise ValueError(
            f"outputs {pictures.shape} are no pictures to read digits from: expected (n, h, w, "
            f"channels) with sides that are multiples of {SIDE}"
        )
    refuse_not_finite(pictures, infinity=True)
    parts = pictures.astype(np.float64).reshape(n, SIDE, height // SIDE, SIDE, width // SIDE, -1)
    return _reader().predict(parts.mean(axis=(2, 4, 5)).reshape(n, -1) * LEVELS)


def _statistics(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    right = read(outputs) == labels
    return np.stack([right, np.ones_like(right)], axis=1).astype(np.float64)


READS_AS = replace(METRICS["top1"], name="reads_as", sample_statistics=_statistics)
