"""What counting a sample of the elements, instead of all of them, may do to a percentile.

For n sampled elements the Dvoretzky-Kiefer-Wolfowitz inequality (with Massart's constant) bounds
the distance between the sample's distribution function and the true one everywhere at once:
`cdf_error`. For one percentile far out that is needlessly wide (1e-3 for a million elements, where
99.99% leaves 1e-4): there, the number of sampled elements beyond the true threshold is binomial,
which gives `percentile_bounds`, the classical interval between two order statistics.

Both hold for elements drawn at random, anew for each batch; drawn without replacement, as from one
tensor, they are on the safe side. Of a sample taken at a stride they hold only as far as the stride
is unrelated to what the elements are: compare it with counting them all before relying on them.
"""

from __future__ import annotations

import math

from int8gate.quantizers.calibration.statistics import TensorStatistics
from int8gate.quantizers.calibration.thresholds import Range


def cdf_error(elements: int, confidence: float = 0.95) -> float:
    """The largest difference of sampled and true fraction below any threshold."""
    return math.sqrt(math.log(2 / (1 - confidence)) / (2 * elements))


def percentile_bounds(
    stats: TensorStatistics, percent: float = 99.99, confidence: float = 0.95
) -> tuple[Range, Range]:
    """Where `percentile(stats, percent)` of all elements may lie: of its low end, of its high end.

    Each interval holds the true quantile (before the range is widened to 0) with at least this
    confidence, its ends being outer edges of bins; infinite where the sample is too small for one.
    """
    outside = (1 - percent / 100) / 2
    return _between(stats, outside, confidence), _between(stats, 1 - outside, confidence)


def _between(stats: TensorStatistics, fraction: float, confidence: float) -> Range:
    from scipy.stats import binom

    n, missed = stats.count, (1 - confidence) / 2
    # The value of rank r is above the true quantile only if fewer than r sampled elements are not,
    # and below it only if at least r are below: both tails of a binomial count.
    first, last = int(binom.ppf(missed, n, fraction)), int(binom.ppf(1 - missed, n, fraction)) + 1
    low = stats.histogram.ranked(first)[0] if first >= 1 else -math.inf
    high = stats.histogram.ranked(last)[1] if last <= n else math.inf
    return low, high
