"""Figures of pictures, and how far those of two sets are apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import stats

from int8gate.calibration_data.audit.findings import AuditSet, spread

PICTURES = 500  # of each set
THUMBNAIL = 24  # pixels a side
APART, CLOSER = 0.3, 0.15  # Kolmogorov-Smirnov distances as given, and how much less turned
BY_CHANCE = 1.63  # Kolmogorov-Smirnov: 1% level, times sqrt(1/n + 1/m)


def figures_of_both(
    calibration: AuditSet,
    evaluation: AuditSet | None,
    figures: Callable[[np.ndarray], np.ndarray],
    fewest: int,
) -> tuple[np.ndarray, np.ndarray] | None:
    """`figures` of each set's pictures, (n, k) and (m, k); None where too few are at hand."""
    if evaluation is None or calibration.seen is None or evaluation.seen is None:
        return None
    if min(len(calibration), len(evaluation)) < fewest:
        return None
    own, scored = (
        figures(one.seen[spread(len(one), PICTURES)]) for one in (calibration, evaluation)
    )
    return own, scored


def distances(own: np.ndarray, scored: np.ndarray) -> list[float]:
    """Kolmogorov-Smirnov distances (0..1) of figures (n, k) and (m, k), one for each of the k."""
    return [
        stats.ks_2samp(mine, theirs, method="asymp").statistic
        for mine, theirs in zip(own.T, scored.T, strict=True)
    ]


def apart_until_turned(own: np.ndarray, scored: np.ndarray) -> tuple[float, float] | None:
    """Of figures that a fault turns to their negatives: the largest distance as given and turned.

    None but where the sets differ as given and agree once one is turned.
    """
    usual = BY_CHANCE * np.sqrt(1 / len(own) + 1 / len(scored))
    given, turned = max(distances(own, scored)), max(distances(-own, scored))
    if given < max(APART, usual) or turned > usual or given - turned < CLOSER:
        return None
    return given, turned


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """float32 (24, 24, 3 or 1) of a picture uint8 (h, w, c); the first of other channels."""
    channels = picture.shape[-1]
    picture = picture if channels in (1, 3) else picture[..., :1]
    whole = Image.fromarray(np.ascontiguousarray(picture.squeeze(-1) if channels != 3 else picture))
    small = np.asarray(whole.resize((THUMBNAIL, THUMBNAIL), Image.BOX), np.float32)
    return small.reshape(THUMBNAIL, THUMBNAIL, -1)


def tints(small: np.ndarray) -> tuple[float, float]:
    """Red against blue, and green against both, of a thumbnail; 0 where it has one channel."""
    red, green, blue = small.mean((0, 1))[[0, 1, 2] if small.shape[-1] == 3 else [0, 0, 0]]
    return red - blue, green - (red + blue) / 2
