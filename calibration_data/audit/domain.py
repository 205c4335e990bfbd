"""Calibration pictures that do not look like those of evaluation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from int8gate.calibration_data.audit.findings import AuditSet, Finding, spread
from int8gate.calibration_data.audit.two_sets import (
    PICTURES,
    distances,
    figures_of_both,
    thumbnail,
    tints,
)

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
