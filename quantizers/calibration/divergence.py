"""The Kullback-Leibler search of entropy calibration, over all candidates at once.

For each length i of the clipped histogram (Migacz, "8-bit inference with TensorRT", GTC 2017):
P is the first i bins, with everything beyond added to the last of them; Q is the first i bins
without that, summed within each quantization level and spread evenly over the level's bins that P
does not leave empty; both are normalized, and the i with the least KL(P || Q) wins.

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

import numpy as np

CANDIDATES = 2048
OUTLIERS = 0.01
_ROWS = 128  # candidates at a time, so that the temporaries stay in a core's cache
_TIE = 1e-9  # nats; divergences closer than this differ by rounding only


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
