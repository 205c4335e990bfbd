"""Negatives: calibration pictures whose values run the other way, 255 - pixel.

It happens where black ink meets white ink (scans, handwriting), and where a reader takes a TIFF's
WhiteIsZero for BlackIsZero. Natural pictures keep contrast, colourfulness and detail; what changes
its sign says it: colours, and whether few bright or few dark places stand out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image
from scipy import ndimage, stats

from calibration_data.audit.findings import AuditSet, Finding, spread

PICTURES = 500  # of each set
FEWEST = 40
THUMBNAIL = 24
LEVELS = 255
# As of BGR for RGB (`colour_order`): the sets differ as given, and agree once one is inverted.
APART, CLOSER = 0.3, 0.15  # Kolmogorov-Smirnov distances as given, and how much less inverted
BY_CHANCE = 1.63  # Kolmogorov-Smirnov: 1% level, times sqrt(1/n + 1/m)
FLAT = 1e-3  # grey levels: less has no skewness


def inverted(calibration: AuditSet, evaluation: AuditSet | None) -> Iterator[Finding]:
    """Pictures that are like evaluation's once they are inverted, and unlike as they are."""
    if evaluation is None or calibration.seen is None or evaluation.seen is None:
        return
    if min(len(calibration), len(evaluation)) < FEWEST:
        return
    own, scored = (
        signed_figures(one.seen[spread(len(one), PICTURES)]) for one in (calibration, evaluation)
    )
    usual = BY_CHANCE * np.sqrt(1 / len(own) + 1 / len(scored))
    given, turned = (
        max(
            stats.ks_2samp(sign * mine, theirs, method="asymp").statistic
            for mine, theirs in zip(own.T, scored.T, strict=True)
        )
        for sign in (1, -1)
    )
    if given < max(APART, usual) or turned > usual or given - turned < CLOSER:
        return
    brightness = [np.median(one[:, 0]) + LEVELS / 2 for one in (own, scored)]
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
    channels = picture.shape[-1]
    picture = picture if channels in (1, 3) else picture[..., :1]
    whole = Image.fromarray(np.ascontiguousarray(picture.squeeze(-1) if channels != 3 else picture))
    small = np.asarray(whole.resize((THUMBNAIL, THUMBNAIL), Image.BOX), np.float32)
    small = small.reshape(THUMBNAIL, THUMBNAIL, -1)
    grey = small.mean(-1)
    red, green, blue = small.mean((0, 1))[[0, 1, 2] if channels == 3 else [0, 0, 0]]
    detail = grey - ndimage.gaussian_filter(grey, 2)
    return (
        grey.mean() - LEVELS / 2,
        red - blue,
        green - (red + blue) / 2,
        _skewness(grey),
        _skewness(detail),
    )


def _skewness(values: np.ndarray) -> float:
    centred = values - values.mean()
    width = centred.std()
    return float((centred**3).mean() / width**3) if width > FLAT else 0.0
