"""From a tensor's statistics to the range (low, high) that its quantizer gets.

Every range includes 0, because a zero point must be exact, and is never empty. A range means an
affine quantizer of `bits` (2**bits - 1 steps over it); with `symmetric` the methods that depend on
the quantizer search for one of -t..t (int8 as TensorRT has it), whose t is the larger end's size.

A new method is a function here and its entry in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from int8gate.quantizers.calibration import divergence, expected_error
from int8gate.quantizers.calibration.magnitudes import magnitudes
from int8gate.quantizers.calibration.statistics import TensorStatistics

Range = tuple[float, float]
# A narrower range would have a step that is not a normal float32 number; it is taken for all zeros.
NARROWEST = 2.0**-100


def min_max(stats: TensorStatistics) -> Range:
    """The smallest and largest value: nothing is clipped."""
    return _valid(stats.minimum, stats.maximum)


def percentile(stats: TensorStatistics, percent: float = 99.99) -> Range:
    """The middle `percent` of the values: at most half of the rest is clipped at either end.

    Each end lies at the outer edge of the bin that holds the quantile.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"percent is {percent}: it must be above 0 and at most 100")
    outside = (1 - percent / 100) / 2
    low, high = stats.histogram.quantile(outside)[0], stats.histogram.quantile(1 - outside)[1]
    return _valid(low, high)


def entropy(stats: TensorStatistics, bits: int = 8, symmetric: bool = False) -> Range:
    """The clipping threshold on |x| with the least Kullback-Leibler divergence.

    Migacz, "8-bit inference with TensorRT" (GTC 2017); `divergence` tells what is done where the
    talk is silent. The range is -t..t cut to the observed minimum and maximum, so that the outputs
    of a ReLU get 0..t, and all the levels for it. The threshold is at least 2**bits bins of the
    histogram: against outliers beyond 16 times the rest, `percentile` is the sharper knife.
    """
    sizes = magnitudes(stats)
    if not len(sizes.both):
        return min_max(stats)
    smaller = len(sizes.both) if symmetric else min(len(sizes.negative), len(sizes.positive))
    length = divergence.best_length(sizes.both, bits, smaller)
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


def _cut(stats: TensorStatistics, below: float, above: float) -> Range:
    return _valid(max(stats.minimum, -below), min(stats.maximum, above))


def _valid(low: float, high: float) -> Range:
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high - low >= NARROWEST else (low, 1.0)
