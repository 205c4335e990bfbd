"""From a tensor's statistics to the range (low, high) that its quantizer gets.

Every range includes 0, because a zero point must be exact, and is never empty. A range means an
affine quantizer of `bits` (2**bits - 1 steps over it); with `symmetric` the methods that depend on
the quantizer search for one of -t..t (int8 as TensorRT has it), whose t is the larger end's size.

A new method is a function here and its entry in `METHODS`.

Entropy calibration searches for the least Kullback-Leibler divergence over all candidates at once
(`best_length`). For each length i of the clipped histogram (Migacz, "8-bit inference with
TensorRT", GTC 2017): P is the first i bins, with everything beyond added to the last of them; Q is
the first i bins without that, summed within each quantization level and spread evenly over the
level's bins that P does not leave empty; both are normalized, and the i with the least KL(P || Q)
wins.

Where the talk is silent:
- Levels are spaced evenly; when the bins do not divide, no last level is longer.
- Zeros are left out (`magnitudes`): every candidate holds them exactly, and the half of a ReLU's
  outputs that they are would drown the rest.
- Where Q's last level is empty and P's is not, Q gets one element there. The divergence would be
  infinite, and a gap in front of the outliers would forbid to clip them.
- At most `OUTLIERS` of the elements may be clipped. Otherwise a tensor that begins far from zero
  (4.5..5.5) would have its least divergence, 0, with everything in the last bin of both.
- Of equals the longest wins, which clips least.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from int8gate.quantizers.calibration import expected_error
from int8gate.quantizers.calibration.statistics import TensorStatistics, magnitudes
from int8gate.quantizers.recipe_type import AFFINE, POWER_OF_TWO, Recipe

CANDIDATES = 2048
OUTLIERS = 0.01
_ROWS = 128  # candidates at a time, so that the temporaries stay in a core's cache
_TIE = 1e-9  # nats; divergences closer than this differ by rounding only


Range = tuple[float, float]
# A narrower range would have a step that is not a normal float32 number; it is taken for all zeros.
NARROWEST = 2.0**-100


def best_length(counts: np.ndarray, bits: int, smaller: int) -> int:
    """How many bins of |x| to keep: 1 to len(counts).

    `counts` are int64 (bins,) of |x|, the last one above 0. The quantizer has 2**bits levels; of
    them |x| gets the share that it has of the range, whose other end lies `smaller` bins from zero
    at most: 0 bins for a tensor of one sign (all the levels), len(counts) for a symmetric
    quantizer (half). Nothing is clipped when the histogram has no more bins than levels.
    """
    lengths = candidates(counts, bits, smaller)
    if not len(lengths):
        return len(counts)
    found = divergences(counts, lengths, bits, smaller)
    return int(lengths[found <= found.min() + _TIE].max())


def candidates(counts: np.ndarray, bits: int, smaller: int) -> np.ndarray:
    """The lengths to try, int64, falling evenly from len(counts), at most `CANDIDATES` before
    those go that clip more than `OUTLIERS` or whose range has fewer bins than there are levels.
    """
    lengths = np.arange(len(counts), 0, -max(1, -(-len(counts) // CANDIDATES)))
    kept = np.cumsum(counts)[lengths - 1]
    return lengths[
        (lengths + np.minimum(lengths, smaller) >= 2**bits) & (kept >= (1 - OUTLIERS) * kept[0])
    ]


def divergences(counts: np.ndarray, lengths: np.ndarray, bits: int, smaller: int) -> np.ndarray:
    """KL(P || Q) in nats of each candidate, float64 (len(lengths),).

    With p the counts of P, o the outliers among them, n = sum(p), and of each level the sum s of
    Q's counts and the number m of P's occupied bins:
    n * KL = sum(p log p) - sum((s + o) log(s / m)) - n log(n / sum(s)), o being 0 but in the last
    level; so all that a candidate needs are differences of running sums at its level boundaries.
    """
    running, occupied = _running(counts), _running(counts > 0)
    last, kept = counts[lengths - 1], running[lengths]
    total, outliers = running[-1], running[-1] - kept
    of_p = _running(_x_log_x(counts))[lengths - 1] + _x_log_x(last + outliers)
    is_last_new, filled = (last == 0) & (outliers > 0), np.zeros(len(lengths))
    of_q = np.zeros(len(lengths))
    for start in range(0, len(lengths), _ROWS):
        rows = slice(start, start + _ROWS)
        edges, last_level = _boundaries(lengths[rows], bits, smaller)
        level = np.arange(len(edges)), last_level
        sums, bins = np.diff(running[edges]), np.diff(occupied[edges])
        bins[level] += is_last_new[rows]
        filled[rows] = (sums[level] == 0) & is_last_new[rows]
        evenly = np.log(np.maximum(sums, 1) / np.maximum(bins, 1))
        of_q[rows] = np.einsum("cl,cl->c", sums, evenly) + outliers[rows] * evenly[level]
    return (of_p - of_q) / total + np.log((kept + filled) / total)


def _boundaries(lengths: np.ndarray, bits: int, smaller: int) -> tuple[np.ndarray, np.ndarray]:
    """The first bin of each level and what follows the last, (len(lengths), levels + 1), cut to
    the length; and the level of each length's last bin.
    """
    spans = lengths + np.minimum(lengths, smaller)
    last_level = ((lengths - 1) << bits) // spans
    places = np.arange(last_level.max() + 2) * spans[:, None]
    return np.minimum((places + 2**bits - 1) >> bits, lengths[:, None]), last_level


def _running(values: np.ndarray) -> np.ndarray:
    """0 and the running sums, float64: whole numbers are exact up to 2**53."""
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _x_log_x(values: np.ndarray) -> np.ndarray:
    return values * np.log(np.maximum(values, 1))


def min_max(stats: TensorStatistics) -> Range:
    """The smallest and largest value: nothing is clipped."""
    return _valid(stats.minimum, stats.maximum)


def percentile(stats: TensorStatistics, percent: float = 99.999) -> Range:
    """The middle `percent` of the values: at most half of the rest is clipped at either end.

    The default is ONNX Runtime's: a hundred thousandth is outliers, ten times as much features
    (the zoo's EDSR loses 0.139 dB with it, 0.22 with 99.99, 0.174 with all values).

    Each end lies at the outer edge of the bin that holds the quantile.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"percent is {percent}: it must be above 0 and at most 100")
    outside = (1 - percent / 100) / 2
    low, high = stats.histogram.quantile(outside)[0], stats.histogram.quantile(1 - outside)[1]
    return _valid(low, high)


def entropy(stats: TensorStatistics, bits: int = 8, symmetric: bool = False) -> Range:
    """The clipping threshold on |x| with the least Kullback-Leibler divergence.

    Migacz, "8-bit inference with TensorRT" (GTC 2017); what is done where the talk is silent
    stands at the head of this file. The range is -t..t cut to the observed minimum and maximum, so
    that the outputs of a ReLU get 0..t, and all the levels for it. The threshold is at least
    2**bits bins of the histogram: against outliers beyond 16 times the rest, `percentile` is the
    sharper knife.
    """
    sizes = magnitudes(stats)
    if not len(sizes.both):
        return min_max(stats)
    smaller = len(sizes.both) if symmetric else min(len(sizes.negative), len(sizes.positive))
    length = best_length(sizes.both, bits, smaller)
    return _cut(stats, length * sizes.width, length * sizes.width)


def mse(stats: TensorStatistics, bits: int = 8, symmetric: bool = False) -> Range:
    """The range with the least expected squared error, each end by itself (`expected_error`).

    What the search finds for a smooth density is taken only if rounding the bins themselves
    confirms it: pixels, say, and the tops of clipped activations lie exactly on min_max's levels.
    """
    sizes = magnitudes(stats)
    if not len(sizes.both):
        return min_max(stats)
    below, above = expected_error.best_ends(sizes, bits, symmetric)
    found = _cut(stats, below * sizes.width, above * sizes.width)
    if symmetric:
        return found
    return min(
        (min_max(stats), found), key=lambda ends: expected_error.mean_square(stats, *ends, bits)
    )


METHODS: dict[str, Callable[..., Range]] = {
    "min_max": min_max,
    "percentile": percentile,
    "entropy": entropy,
    "mse": mse,
}


def ranges(table: Mapping[str, TensorStatistics], method: str) -> dict[str, Range]:
    """Each tensor's range by that method of `METHODS`; raises ValueError naming the tensor."""
    if method not in METHODS:
        raise ValueError(f"no calibration method {method!r}: choose from {', '.join(METHODS)}")
    found = {}
    for name, stats in table.items():
        if not stats.count:
            what = "only masked values" if stats.masked else "no values"
            raise ValueError(f"tensor {name!r} has no range: calibration saw {what} of it")
        found[name] = METHODS[method](stats)
    return found


def ranges_of(table: Mapping[str, TensorStatistics], recipe: Recipe) -> dict[str, Range]:
    """Each tensor's range by the recipe's method, for such scales as it has; raises as `ranges`."""
    found, is_unsigned = ranges(table, recipe.calibration), recipe.activations == "uint8"
    return {name: widened(each, recipe.scales, is_unsigned) for name, each in found.items()}


def widened(found: Range, scales: str, is_unsigned: bool = False) -> Range:
    """The least range of 8 bits around `found` whose scale is one of `SCALES`: symmetric, with its
    zero point in the middle (0 of int8, 128 of uint8); of a power of two besides.

    Unsigned values that are never below zero have the zero point 0, which a ReLU stands on.
    """
    if scales == AFFINE:
        return found
    low, high = (0, 255) if is_unsigned and found[0] >= 0 else (-128, 127)
    step = max(-found[0] / 127, found[1] / high, NARROWEST)
    if scales == POWER_OF_TWO:
        step = float(powers_of_two(np.float64(step)))
    return low * step, high * step


def powers_of_two(steps: np.ndarray | np.float64) -> np.ndarray:
    """The least powers of two that are no smaller, float64 of the shape of positive `steps`."""
    fraction, exponent = np.frexp(steps)
    return np.ldexp(1.0, np.where(fraction == 0.5, exponent - 1, exponent))


def _cut(stats: TensorStatistics, below: float, above: float) -> Range:
    return _valid(max(stats.minimum, -below), min(stats.maximum, above))


def _valid(low: float, high: float) -> Range:
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high - low >= NARROWEST else (low, 1.0)
