"""A histogram that depends on its values alone, neither on their order nor on how they were split.

Bins lie on a dyadic lattice: of width 2**exponent, with edges at its integer multiples. The width
is the smallest that spans the values with `BINS` bins, so it follows from the smallest and largest
value; when a new value does not fit, the width doubles and neighbouring bins add up, which is exact
because floor(floor(x / w) / 2) == floor(x / 2w). Two halves merged therefore equal the whole, bin
by bin. Between `BINS / 2` and `BINS` bins are in use, unless float32 itself is coarser than that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

BINS = 8192  # so that the magnitudes of a tensor with both signs still have more than 2048
SMALLEST_EXPONENT = -126  # float32's normal numbers end here
LARGEST_INDEX = 2**24  # up to here float32 holds every integer
_BLOCK = 16384  # elements whose temporaries stay in a core's cache


@dataclass
class Histogram:
    """Counts (int64) of bins [(first + i) * width, (first + i + 1) * width) over [low, high].

    `low` and `high` are the smallest and largest value counted; inf and -inf while there is none.
    """

    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    exponent: int = SMALLEST_EXPONENT
    first: int = 0
    low: float = math.inf
    high: float = -math.inf

    @property
    def width(self) -> float:
        return math.ldexp(1.0, self.exponent)

    @property
    def edges(self) -> np.ndarray:
        """float64, one more than `counts`."""
        return np.arange(self.first, self.first + len(self.counts) + 1) * self.width

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def add(self, values: np.ndarray, low: float, high: float) -> None:
        """Count finite float32 values (n,), n > 0, whose minimum and maximum are `low`, `high`."""
        self._span(low, high)
        wide = self.exponent > 0  # only then can a product underflow, and lose its sign
        scale = np.float64(1 / self.width) if wide else np.float32(1 / self.width)
        first, bins = scale.dtype.type(self.first), len(self.counts)
        scratch = np.empty(min(_BLOCK, values.size), scale.dtype)
        for start in range(0, values.size, _BLOCK):
            block = values[start : start + _BLOCK]
            place = np.multiply(block, scale, out=scratch[: block.size])
            if self.first:  # else there is nothing negative, and the conversion rounds down
                np.subtract(np.floor(place, out=place), first, out=place)
            # By way of int32, because only that conversion is vectorized.
            self.counts += np.bincount(place.astype(np.int32).astype(np.intp), minlength=bins)

    def merge(self, other: Histogram) -> None:
        """Add another histogram's counts."""
        if not len(other.counts):
            return
        self._span(other.low, other.high)
        self._pour(other.counts, other.exponent, other.first)

    @classmethod
    def of(cls, counts: np.ndarray, low: float, high: float) -> Histogram:
        """The histogram with these counts; raises ValueError if one of low..high has others."""
        made = cls()
        if len(counts):
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise ValueError(f"a histogram from {low} to {high}")
            made._span(low, high)
        if len(counts) != len(made.counts) or counts.min(initial=0) < 0:
            raise ValueError(
                f"{len(counts)} bins for values from {low} to {high}: expected "
                f"{len(made.counts)}, none below 0"
            )
        made.counts[:] = counts
        return made

    def quantile(self, fraction: float) -> tuple[float, float]:
        """Between what the quantile lies: the smallest value that at least this fraction of the
        values do not exceed (numpy's method "inverted_cdf"). Raises ValueError when it is empty.
        """
        return self.ranked(max(1, math.ceil(fraction * self.total)))

    def ranked(self, rank: int) -> tuple[float, float]:
        """The edges of the bin that holds the value of that rank (1 the smallest), cut to
        [low, high]. Raises ValueError when there are fewer values.
        """
        if not 1 <= rank <= self.total:
            raise ValueError(f"no value of rank {rank}: the histogram holds {self.total}")
        place = int(np.searchsorted(np.cumsum(self.counts), rank))
        left = (self.first + place) * self.width
        return max(left, self.low), min(left + self.width, self.high)

    def _span(self, low: float, high: float) -> None:
        """Widen to hold `low` and `high`, and double the width as often as that needs."""
        low, high = min(self.low, low), max(self.high, high)
        if low == self.low and high == self.high:
            return
        old = self.counts, self.exponent, self.first
        self.low, self.high = low, high
        self.exponent = smallest_exponent(low, high)
        self.first, last = _index(low, self.exponent), _index(high, self.exponent)
        if (self.exponent, self.first, last - self.first + 1) == (*old[1:], len(old[0])):
            return
        self.counts = np.zeros(last - self.first + 1, np.int64)
        self._pour(*old)

    def _pour(self, counts: np.ndarray, exponent: int, first: int) -> None:
        """Add counts of a lattice that is as fine as this one, or finer."""
        shift = self.exponent - exponent
        if shift == 0:
            start = first - self.first
            self.counts[start : start + len(counts)] += counts
        else:
            places = (np.arange(first, first + len(counts)) >> shift) - self.first
            np.add.at(self.counts, places, counts)


def smallest_exponent(low: float, high: float) -> int:
    """That of the narrowest lattice on which `low` to `high` take at most `BINS` bins."""
    exponent = max(
        _exponent_below((high - low) / BINS),
        _exponent_below(max(abs(low), abs(high)) / LARGEST_INDEX),
    )
    while not _fits(low, high, exponent):
        exponent += 1
    return exponent


def _exponent_below(width: float) -> int:
    return max(SMALLEST_EXPONENT, math.frexp(width)[1] - 2) if width else SMALLEST_EXPONENT


def _fits(low: float, high: float, exponent: int) -> bool:
    first, last = _index(low, exponent), _index(high, exponent)
    return last - first < BINS and first >= -LARGEST_INDEX and last <= LARGEST_INDEX


def _index(value: float, exponent: int) -> int:
    return math.floor(math.ldexp(value, -exponent))
