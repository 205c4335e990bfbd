"""Calibration pictures that do not look like those of evaluation, and how far two sets are apart.

What is compared are figures of each picture (brightness, contrast, detail and so on), by the
Kolmogorov-Smirnov distance of the two sets. `colours` compares its own figures in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
from PIL import Image
from scipy import stats

from int8gate.calibration_data.audit.findings import AuditSet, Finding, spread

PICTURES = 500  # of each set
THUMBNAIL = 24  # pixels a side
APART, CLOSER = 0.3, 0.15  # Kolmogorov-Smirnov distances as given, and how much less turned
BY_CHANCE = 1.63  # Kolmogorov-Smirnov: 1% level, times sqrt(1/n + 1/m)

FEWEST = 30  # pictures: fewer do not tell
PATCH = 128  # pixels a side, from the middle, at full resolution
# Figures of a picture, and the Kolmogorov-Smirnov distance (0..1) between the two sets from which
# on they differ. Splits of one source of pictures reach 0.25 with 100 samples; the scenes' own
# splits, made of different photographs, as much as the rest allows for (benchmarks/audit.py).
LIMITS = {
    "brightness": 0.6,
    "contrast": 0.44,
    "colourfulness": 0.62,
    "red against blue": 0.8,
    "green against the others": 0.66,
    "fine detail": 0.62,
    "coarse detail": 0.6,
    "share of black or white pixels": 0.5,
}


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
        figures(pictures[spread(len(pictures), PICTURES)])
        for pictures in (calibration.seen, evaluation.seen)
    )
    return own, scored


def distances(own: np.ndarray, scored: np.ndarray) -> list[float]:
    """Kolmogorov-Smirnov distances (0..1) of figures (n, k) and (m, k), one for each of the k."""
    return [
        cast(Any, stats.ks_2samp(mine, theirs, method="asymp")).statistic
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
    small = np.asarray(whole.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), np.float32)
    return small.reshape(THUMBNAIL, THUMBNAIL, -1)


def tints(small: np.ndarray) -> tuple[float, float]:
    """Red against blue, and green against both, of a thumbnail; 0 where it has one channel."""
    red, green, blue = small.mean((0, 1))[[0, 1, 2] if small.shape[-1] == 3 else [0, 0, 0]]
    return red - blue, green - (red + blue) / 2


def mismatch(calibration: AuditSet, evaluation: AuditSet | None) -> Iterator[Finding]:
    both = figures_of_both(calibration, evaluation, figures, FEWEST)
    if not both:
        return
    own, scored = both
    differ = [
        (distance, place, name)
        for place, (distance, (name, limit)) in enumerate(
            zip(distances(own, scored), LIMITS.items(), strict=True)
        )
        if distance >= limit
    ]
    if not differ:
        return
    said = ", ".join(
        f"{name} {np.median(own[:, place]):.3g} against {np.median(scored[:, place]):.3g} "
        f"(distance {distance:.2f})"
        for distance, place, name in sorted(differ, reverse=True)
    )
    _, place, _ = max(differ)
    middle = np.median(scored[:, place])
    furthest = np.argsort(-np.abs(own[:, place] - middle), kind="stable")
    names = calibration.named(spread(len(calibration), PICTURES)[furthest])
    yield Finding(
        "domain_mismatch",
        "warning",
        f"calibration pictures differ from evaluation's, medians: {said}; furthest off is "
        f"{names[0]}",
        "calibrate on pictures from where the network will be used, decoded and resized the same",
        names,
    )


def figures(pictures: np.ndarray) -> np.ndarray:
    """The figures of `LIMITS`, float64 (n, 8), of pictures uint8 (n, h, w, c)."""
    return np.array([_figures(picture) for picture in pictures]).reshape(-1, len(LIMITS))


def _figures(picture: np.ndarray) -> tuple[float, ...]:
    height, width, channels = picture.shape
    picture = picture if channels in (1, 3) else picture[..., :1]
    top, left = max(0, (height - PATCH) // 2), max(0, (width - PATCH) // 2)
    patch = picture[top : top + PATCH, left : left + PATCH].mean(-1, dtype=np.float32)
    small = thumbnail(picture)
    grey = small.mean(-1)
    contrast = grey.std() + 1
    return (
        grey.mean(),
        np.log(contrast),
        np.log(np.ptp(small, axis=-1).mean() + 1),
        *tints(small),
        np.log((_roughness(patch) + 0.5) / contrast),
        np.log((_roughness(grey) + 0.5) / contrast),
        np.mean((patch <= 2) | (patch >= 253)),
    )


def _roughness(grey: np.ndarray) -> float:
    return float(sum(np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1)))
