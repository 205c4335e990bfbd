"""Calibration pictures that do not look like those of evaluation, and how far two sets are apart.

What is compared are figures of each picture (brightness, contrast, detail and so on), by the
Kolmogorov-Smirnov distance of the two sets. `colours` compares its own figures in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

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
    return [_distance(mine, theirs) for mine, theirs in zip(own.T, scored.T, strict=True)]


def _distance(mine: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference of two empirical distribution functions, of values (n,) and (m,): the
    statistic of `scipy.stats.ks_2samp`, without the second that importing it takes.
    """
    everywhere = np.concatenate([mine, theirs])
    below, others_below = (
        np.searchsorted(np.sort(values), everywhere, side="right") / len(values)
        for values in (mine, theirs)
    )
    return float(np.abs(below - others_below).max())


def apart_until_turned(own: np.ndarray, scored: np.ndarray) -> tuple[float, float] | None:
    """Of figures that a fault turns to their negatives: the largest distance as given and turned.

    None but where the sets differ as given and agree once one is turned.
    """
    usual = BY_CHANCE * np.sqrt(1 / len(own) + 1 / len(scored))
    given, turned = max(distances(own, scored)), max(distances(-own, scored))
    if given < max(APART, usual) or turned > usual or given - turned < CLOSER:
        return None
    return given, turned


def small_copies(pictures: np.ndarray) -> np.ndarray:
    """float32 (n, 24, 24, 3 or 1) of pictures uint8 (n, h, w, c); the first of other channels."""
    pictures = _in_colours(pictures)
    flat = pictures[..., 0] if pictures.shape[-1] == 1 else pictures
    side = (THUMBNAIL, THUMBNAIL)
    small = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(picture)).resize(side, Image.Resampling.BOX)
        )
        for picture in flat
    ]
    return np.stack(small).reshape(len(flat), *side, -1).astype(np.float32)


def _in_colours(pictures: np.ndarray) -> np.ndarray:
    """All three channels, or one of any other number."""
    return pictures if pictures.shape[-1] in (1, 3) else pictures[..., :1]


def tints(small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Red against blue, and green against both, (n,) each, of small copies (n, h, w, 3 or 1); 0
    where they have one channel.
    """
    means = small.mean((1, 2))
    red, green, blue = means.T[[0, 1, 2] if small.shape[-1] == 3 else [0, 0, 0]]
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
    count, height, width, _ = pictures.shape
    top, left = max(0, (height - PATCH) // 2), max(0, (width - PATCH) // 2)
    middle = _in_colours(pictures)[:, top : top + PATCH, left : left + PATCH]
    patch = middle.mean(-1, dtype=np.float32)
    small = small_copies(pictures)
    grey = small.mean(-1)
    contrast = grey.reshape(count, -1).std(1) + 1
    columns = (
        grey.reshape(count, -1).mean(1),
        np.log(contrast),
        np.log(np.ptp(small, axis=-1).reshape(count, -1).mean(1) + 1),
        *tints(small),
        np.log((_roughness(patch) + 0.5) / contrast),
        np.log((_roughness(grey) + 0.5) / contrast),
        np.mean((patch <= 2) | (patch >= 253), axis=(1, 2)),
    )
    return np.column_stack(columns).astype(np.float64)


def _roughness(grey: np.ndarray) -> np.ndarray:
    """The mean step between neighbours, (n,), of pictures (n, h, w)."""
    steps = (np.abs(np.diff(grey, axis=axis)) for axis in (1, 2))
    return np.sum([each.reshape(len(grey), -1).mean(1) for each in steps], axis=0)
