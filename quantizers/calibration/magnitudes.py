"""A tensor's histogram as seen from zero: how often which |x|, above and below apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from int8gate.quantizers.calibration.statistics import TensorStatistics

BINS = 4096


@dataclass(frozen=True)
class Magnitudes:
    """Counts (int64) of |x| in bins [i * width, (i + 1) * width), zeros left out.

    `negative` and `positive` end with the farthest value of their sign; `both` is their sum.
    Zeros are left out because every quantizer holds them exactly, wherever it clips.
    """

    negative: np.ndarray
    positive: np.ndarray
    width: float

    @property
    def both(self) -> np.ndarray:
        longer, shorter = sorted((self.negative, self.positive), key=len, reverse=True)
        total = longer.copy()
        total[: len(shorter)] += shorter
        return total


def magnitudes(stats: TensorStatistics, bins: int = BINS) -> Magnitudes:
    """Of the tensor's histogram, its bins joined by powers of two until `bins` hold every |x|.

    More than half of `bins` are in use, unless the histogram itself is coarser.
    """
    histogram = stats.histogram
    counts = histogram.counts.copy()
    first, last = histogram.first, histogram.first + len(counts) - 1
    if stats.zeros:
        counts[-first] -= stats.zeros
    shift = max(0, (max(last, -first - 1) // bins).bit_length())
    places = np.arange(first, last + 1)
    # A negative bin k holds -(k + 1) * width < |x| <= -k * width.
    sizes, below = np.where(places < 0, ~places, places) >> shift, places < 0
    return Magnitudes(
        _counted(sizes[below], counts[below]),
        _counted(sizes[~below], counts[~below]),
        histogram.width * 2**shift,
    )


def outlier_ratio(stats: TensorStatistics, fraction: float = 0.9999) -> float:
    """How many times the largest |x| is that |x| which this fraction of the nonzero elements do not
    exceed (the upper edge of its bin); 1.0 when every value is 0.
    """
    sizes = magnitudes(stats)
    running = np.cumsum(sizes.both)
    if not len(running):
        return 1.0
    place = int(np.searchsorted(running, fraction * running[-1]))
    largest = max(-stats.histogram.low, stats.histogram.high)
    return max(1.0, largest / ((place + 1) * sizes.width))


def _counted(places: np.ndarray, counts: np.ndarray) -> np.ndarray:
    held = counts > 0
    if not held.any():
        return np.zeros(0, np.int64)
    total = np.zeros(places[held].max() + 1, np.int64)
    np.add.at(total, places[held], counts[held])
    return total
