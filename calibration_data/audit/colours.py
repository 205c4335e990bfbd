"""Calibration pictures in wrong colours: red and blue exchanged (BGR for RGB), and negatives.

Negatives are 255 - pixel. They happen where black ink meets white ink (scans, handwriting), and
where a reader takes a TIFF's WhiteIsZero for BlackIsZero. Natural pictures keep contrast,
colourfulness and detail when they are inverted; what changes its sign tells a negative: colours,
and whether few bright or few dark places stand out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from int8gate.calibration_data.audit.domain import (
    apart_until_turned,
    figures_of_both,
    small_copies,
    tints,
)
from int8gate.calibration_data.audit.findings import AuditSet, Finding, layout_of, spread

# Red and blue exchanged.
SAMPLES = 48  # whose pixels are compared with their inputs
STEP = 3  # every so manieth row and column of them
EXACT = 0.995  # correlation of an input's channel with the picture's that it comes from
CLEARER = 0.002  # correlation: grey pictures have no order
PICTURES = 600  # whose colours are compared
FEWEST = 40
COLOURLESS = 2.0  # grey levels between channels
CURE = (
    "decode calibration pictures in the order that inference uses: OpenCV gives BGR, Pillow and "
    "TensorFlow give RGB"
)

# Negatives.
LEVELS = 255
FLAT = 1e-3  # grey levels: less has no skewness


def swapped_by_pictures(calibration: AuditSet, evaluation: AuditSet) -> Iterator[Finding]:
    """Compares which channel of the pictures each set's inputs have first: exact."""
    orders = [order_of(one) for one in (calibration, evaluation)]
    if None in orders or orders[0] == orders[1]:
        return
    yield Finding(
        "channel_order",
        "error",
        f"calibration inputs take the pictures' channels in order {orders[0]}, evaluation's in "
        f"{orders[1]}",
        CURE,
    )


def order_of(audited: AuditSet) -> tuple[int, ...] | None:
    """Which channel of the pictures each channel of the inputs comes from; None if unknown."""
    if audited.pictures is None or audited.inputs is None or audited.pictures.shape[-1] != 3:
        return None
    layout = layout_of(audited.inputs.shape)
    if layout is None:
        return None
    rows = spread(len(audited.inputs), SAMPLES)
    inputs = audited.inputs[rows]
    inputs = inputs if layout == "NHWC" else inputs.transpose(0, 2, 3, 1)
    if inputs.shape != (len(rows), *audited.pictures.shape[1:]):
        return None
    pixels, values = (
        array[:, ::STEP, ::STEP].reshape(-1, 3).astype(np.float64)
        for array in (audited.pictures[rows], inputs)
    )
    values = np.nan_to_num(values, posinf=0, neginf=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.nan_to_num(np.corrcoef(values.T, pixels.T)[:3, 3:])
    best = correlation.argmax(axis=1)
    own = np.arange(3)
    best = np.where(correlation[own, own] >= correlation.max(axis=1) - CLEARER, own, best)
    if correlation[own, best].min() < EXACT or len(set(best)) < 3:
        return None
    return tuple(int(channel) for channel in best)


def swapped_by_colours(calibration: AuditSet, evaluation: AuditSet) -> Iterator[Finding]:
    """Compares colours: the sets differ as given, and are alike with red and blue exchanged."""
    own, scored = (_warmth(one) for one in (calibration, evaluation))
    if own is None or scored is None or min(len(own), len(scored)) < FEWEST:
        return
    apart = apart_until_turned(own, scored)
    if not apart:
        return
    given, swapped = apart
    yield Finding(
        "channel_order",
        "warning",
        f"colours of calibration and evaluation differ (Kolmogorov-Smirnov distance {given:.2f}) "
        f"and agree once red and blue are exchanged ({swapped:.2f}): calibration's mean of the "
        f"first channel less the last is {own[:, 0].mean():.1f} levels, evaluation's "
        f"{scored[:, 0].mean():.1f}",
        CURE,
    )


def _warmth(audited: AuditSet) -> np.ndarray | None:
    """Figures (n, 3) of each picture that change their sign when red and blue are exchanged."""
    pictures = audited.seen
    if pictures is None or pictures.shape[-1] != 3:
        return None
    rows = []
    for row in spread(len(pictures), PICTURES):
        step = max(1, min(pictures.shape[1:3]) // 48)
        pixels = pictures[row, ::step, ::step].reshape(-1, 3)
        channels = np.array(pixels.T, np.float32, order="C")  # NumPy is slow along an axis of 3
        if (channels.max(axis=0) - channels.min(axis=0)).mean() < COLOURLESS:
            continue
        mean, spreads = channels.mean(axis=1), channels.std(axis=1) + 1
        near, far = channels[0] - channels[1], channels[2] - channels[1]
        rows.append(
            (
                mean[0] - mean[2],
                np.log(spreads[0] / spreads[2]),
                np.log((near.std() + 1) / (far.std() + 1)),
            )
        )
    return np.array(rows).reshape(-1, 3)


def inverted(calibration: AuditSet, evaluation: AuditSet | None) -> Iterator[Finding]:
    """Pictures that are like evaluation's once they are inverted, and unlike as they are."""
    both = figures_of_both(calibration, evaluation, signed_figures, FEWEST)
    apart = apart_until_turned(*both) if both else None
    if not both or not apart:
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
    small = small_copies(pictures)
    grey = small.mean(-1)
    detail = grey - ndimage.gaussian_filter(grey, (0, 2, 2))
    brightness = grey.reshape(len(grey), -1).mean(1) - LEVELS / 2
    columns = brightness, *tints(small), _skewness(grey), _skewness(detail)
    return np.column_stack(columns).astype(np.float64)


def _skewness(maps: np.ndarray) -> np.ndarray:
    """Of each map's values, (n,), of maps (n, h, w); 0 where one is flat."""
    values = maps.reshape(len(maps), -1)
    centred = values - values.mean(1, keepdims=True)
    width = centred.std(1)
    is_flat = width <= FLAT
    return np.where(
        is_flat, 0, (centred * centred * centred).mean(1) / np.where(is_flat, 1, width) ** 3
    )
