"""Negatives: calibration pictures whose values run the other way, 255 - pixel.

It happens where black ink meets white ink (scans, handwriting), and where a reader takes a TIFF's
WhiteIsZero for BlackIsZero. Natural pictures keep contrast, colourfulness and detail; what changes
its sign says it: colours, and whether few bright or few dark places stand out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from int8gate.calibration_data.audit.findings import AuditSet, Finding
from int8gate.calibration_data.audit.two_sets import (
    apart_until_turned,
    figures_of_both,
    thumbnail,
    tints,
)

FEWEST = 40  # pictures: fewer do not tell
LEVELS = 255
FLAT = 1e-3  # grey levels: less has no skewness


def inverted(calibration: AuditSet, evaluation: AuditSet | None) -> Iterator[Finding]:
    """Pictures that are like evaluation's once they are inverted, and unlike as they are."""
    both = figures_of_both(calibration, evaluation, signed_figures, FEWEST)
    apart = both and apart_until_turned(*both)
    if not apart:
        return
    given, turned = apart
    brightness = [np.median(one[:, 0]) + LEVELS / 2 for one in both]
    yield Finding(
        "inverted_pictures",
        "warning",
        f"calibration pictures look like negatives: unlike evaluation's as they are "
        f"(Kolmogorov-Smirnov distance {given:.2f}), like them inverted ({turned:.2f}); median "
        f"brightness {brightness[0]:.0f} against {brightness[1]:.0f}",
        "decode calibration pictures as inference does: 255 - pixel, or a TIFF's WhiteIsZero",
        calibration.named(range(len(calibration))),
    )


def signed_figures(pictures: np.ndarray) -> np.ndarray:
    """Figures that change their sign when a picture is inverted, float64 (n, 5).

    Brightness against the middle; red against blue, green against both; skewness of the brightness
    and of the detail. Of pictures uint8 (n, h, w, c).
    """
    return np.array([_figures(picture) for picture in pictures]).reshape(-1, 5)


def _figures(picture: np.ndarray) -> tuple[float, ...]:
    small = thumbnail(picture)
    grey = small.mean(-1)
    detail = grey - ndimage.gaussian_filter(grey, 2)
    return grey.mean() - LEVELS / 2, *tints(small), _skewness(grey), _skewness(detail)


def _skewness(values: np.ndarray) -> float:
    centred = values - values.mean()
    width = centred.std()
    return float((centred**3).mean() / width**3) if width > FLAT else 0.0
