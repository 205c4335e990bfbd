"""What an affine quantizer of `bits` over (low, high) does to a tensor, told from its histogram.

The quantizer is TFLite's and ONNX's: its step is (high - low) / (2**bits - 1), its zero point an
integer. Zeros are exact; any other value is taken for the centre of its bin, evenly filled.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from int8gate.quantizers.calibration.statistics import Magnitudes, TensorStatistics

_GRID = 128  # places for each end that are tried together, before one moves at a time


def mean_square(stats: TensorStatistics, low: float, high: float, bits: int = 8) -> float:
    """The expected squared error of an element."""
    counts, _ = _nonzero(stats)
    edges = np.clip(stats.histogram.edges, stats.histogram.low, stats.histogram.high)
    step, zero, codes = _codes(edges, low, high, bits)
    levels = np.clip(codes, 0, 2**bits - 1) - zero
    errors = edges / step - levels
    # The integral of the squared error, in steps: 1 / 12 for each level that is passed.
    integral = levels / 12 + errors**3 / 3
    widths = np.diff(edges) / step
    single = widths == 0
    means = np.where(single, errors[:-1] ** 2, np.diff(integral) / np.where(single, 1, widths))
    return float((counts * means).sum() / stats.count * step**2)


def sqnr(stats: TensorStatistics, low: float, high: float, bits: int = 8) -> float:
    """The signal-to-quantization-noise ratio to expect, in dB; inf when every value is 0."""
    counts, centres = _nonzero(stats)
    power = float((counts * centres**2).sum() / stats.count)
    noise = mean_square(stats, low, high, bits)
    return 10 * math.log10(power / noise) if noise else math.inf


def saturation(stats: TensorStatistics, low: float, high: float, bits: int = 8) -> float:
    """The fraction of the elements that is clipped: beyond what rounds to the last level.

    Exact but for the elements of the two bins in which that begins.
    """
    counts, centres = _nonzero(stats)
    codes = _codes(centres, low, high, bits)[-1]
    return float(counts[(codes < 0) | (codes > 2**bits - 1)].sum() / stats.count)


def levels_used(stats: TensorStatistics, low: float, high: float, bits: int = 8) -> int:
    """How many of the 2**bits levels get a value: few mean that the range is much too wide.

    A bin wider than a level stands for as many levels as it spans and has elements.
    """
    counts, centres = _nonzero(stats)
    counts, centres = counts[counts > 0], centres[counts > 0]
    step, zero, _ = _codes(centres, low, high, bits)
    reach = max(0.0, stats.histogram.width - step) / 2
    first, last = (
        np.clip(_codes(centres + side, low, high, bits)[-1], 0, 2**bits - 1).astype(np.int64)
        for side in (-reach, reach)
    )
    last = np.minimum(last, first + counts - 1)
    begun = (
        np.bincount(first, minlength=2**bits) - np.bincount(last + 1, minlength=2**bits + 1)[:-1]
    )
    used = np.cumsum(begun) > 0
    used[zero] |= stats.zeros > 0
    return int(np.count_nonzero(used))


def of_ends(sizes: Magnitudes, bits: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The squared error, summed over the elements and in units of width**2, of ranges from
    -below * width to above * width: a function of `below` and `above`, integers that broadcast.

    For a density that is smooth against the step: inside the range it is step**2 / 12 on average
    (Bennett 1948), outside the distance to the range.
    """
    clipped_below, inside_below = _of_end(sizes.negative)
    clipped_above, inside_above = _of_end(sizes.positive)
    steps = 12 * (2**bits - 1) ** 2

    def error(below: np.ndarray, above: np.ndarray) -> np.ndarray:
        below, above = np.asarray(below), np.asarray(above)
        span = (below + above).astype(np.float64)
        near_below = np.minimum(below, len(sizes.negative))
        near_above = np.minimum(above, len(sizes.positive))
        rounded = span**2 / steps * (inside_below[near_below] + inside_above[near_above])
        return rounded + clipped_below[near_below] + clipped_above[near_above]

    return error


def best_ends(sizes: Magnitudes, bits: int, symmetric: bool) -> tuple[int, int]:
    """How far below and above 0 the range with the least error of `of_ends` reaches, in bins.

    A grid of pairs first, then every place for one end while the other stays, until neither moves.
    """
    error = of_ends(sizes, bits)
    every_below, every_above = (
        np.arange(len(sizes.negative) + 1),
        np.arange(len(sizes.positive) + 1),
    )
    if symmetric:
        every = np.arange(1, len(sizes.both) + 1)
        best = every[np.argmin(error(every, every))]
        return int(best), int(best)
    grid_below, grid_above = _thinned(every_below), _thinned(every_above)
    errors = error(grid_below[:, None], grid_above)
    row, column = np.unravel_index(np.argmin(errors), errors.shape)
    best = int(grid_below[row]), int(grid_above[column])
    while True:
        above = int(np.argmin(error(best[0], every_above)))
        below = int(np.argmin(error(every_below, above)))
        if error(below, above) >= error(*best):
            return best
        best = below, above


def _thinned(places: np.ndarray) -> np.ndarray:
    step = -(-len(places) // _GRID)
    return places[::-1][::step][::-1]


def _of_end(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each end 0..len(counts): the squared error of what lies beyond, and how much does not."""
    reversed_sums = counts[::-1].astype(np.float64)
    tails = []
    for _ in range(3):
        reversed_sums = np.cumsum(reversed_sums)
        tails.append(np.append(reversed_sums[::-1], 0.0))
    # Sums over m = 0, 1, ... bins beyond the end of c, c (m + 1), c (m + 1)(m + 2) / 2, of which
    # (m + 1 / 2)**2 + 1 / 12, the mean square distance of an evenly filled bin, is made.
    mass, once, twice = tails
    return 2 * twice - 2 * once + mass / 3, mass[0] - mass


def _nonzero(stats: TensorStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Counts without the zeros, and the bins' centres, which do not leave the values' range."""
    histogram = stats.histogram
    counts = histogram.counts.copy()
    if stats.zeros:
        counts[-histogram.first] -= stats.zeros
    centres = histogram.edges[:-1] + histogram.width / 2
    return counts, np.clip(centres, histogram.low, histogram.high)


def _codes(values: np.ndarray, low: float, high: float, bits: int) -> tuple[float, int, np.ndarray]:
    """The quantizer's step and zero point, and the values' codes before they are clipped."""
    step = (high - low) / (2**bits - 1)
    zero = round(-low / step)
    return step, zero, np.rint(values / step) + zero
