"""Which values inputs take: what they were scaled by, and what was subtracted.

Pixels are whole numbers, so that ``(pixel - mean) / std`` takes at most 256 values, evenly spaced
by ``1 / std``. The spacing tells the scale exactly, the values' place modulo the spacing tells the
fraction of the mean, whatever the pictures show. Inputs resized after scaling have no such lattice;
of these only the extent is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from int8gate.calibration_data.audit.findings import spread

SAMPLES = 48  # that are looked at
VALUES = 400_000  # of a channel
LEVELS = 256
ASTRAY = 0.02  # in spacings: values further off a lattice point are on no lattice
TAIL = 0.001  # share of values at either end that may be odd
FEWEST_LEVELS = 8  # a lattice with fewer values may have been seen in part
CONVENTIONS = {
    "0..255": (0, 255),
    "0..1": (0, 1),
    "-1..1": (-1, 1),
    "-128..127": (-128, 127),
    "ImageNet's mean and standard deviation": (-2.118, 2.64),
    "ImageNet's mean subtracted": (-123.7, 151.1),
}


@dataclass(frozen=True)
class Values:
    """Of one channel: its extent, exact and without `TAIL`; and its lattice, None without one."""

    low: float
    high: float
    tail_low: float
    tail_high: float
    spacing: float | None
    phase: float  # of the lattice's points, in spacings, 0..1

    @property
    def span(self) -> float:
        return self.tail_high - self.tail_low


def values_of(inputs: np.ndarray, axis: int | None) -> list[Values]:
    """Of each channel along `axis` (of all values together for None); NaN and infinity left out."""
    chosen = inputs[spread(len(inputs), SAMPLES)]
    channels = [chosen] if axis is None else np.moveaxis(chosen, axis, 0)
    return [_values(channel) for channel in channels]


def _values(channel: np.ndarray) -> Values:
    flat = channel.reshape(-1)
    flat = flat[:: max(1, flat.size // VALUES)].astype(np.float64)
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return Values(0.0, 0.0, 0.0, 0.0, None, 0.0)
    tails = np.quantile(flat, (TAIL, 1 - TAIL))
    spacing, phase = _lattice(np.unique(flat))
    return Values(float(flat.min()), float(flat.max()), *map(float, tails), spacing, phase)


def _lattice(unique: np.ndarray) -> tuple[float | None, float]:
    """Spacing and phase of sorted values, or None when they are on no lattice of 256 points."""
    span = unique[-1] - unique[0]
    if not FEWEST_LEVELS <= len(unique) <= LEVELS:
        return None, 0.0
    rough = np.diff(unique).min()
    steps = round(span / rough)
    if steps >= LEVELS:
        return None, 0.0
    spacing = span / steps
    places = (unique - unique[0]) / spacing
    if np.abs(places - np.rint(places)).max() > ASTRAY:
        return None, 0.0
    return float(spacing), float((unique[0] / spacing) % 1)


def convention(low: float, high: float) -> str:
    """The extent, and the preprocessing that it looks like."""
    said = f"{low:.4g}..{high:.4g}"
    for name, (least, most) in CONVENTIONS.items():
        margin = 0.12 * (most - least)
        if abs(low - least) <= margin and abs(high - most) <= margin:
            return said if said == name else f"{said} (like {name})"
    return said
