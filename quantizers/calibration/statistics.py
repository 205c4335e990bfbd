"""Statistics of one tensor over a calibration set, in constant memory and mergeable exactly.

Everything kept is a count, an extreme, or a sum without rounding (`ExactSum`), so that batches may
come in any order and on any number of workers: merging equals one pass, bit for bit. Only a batch's
own sums, which the mean and variance are made of, are rounded, as its CPU does it.

Of a large tensor every `step`-th element is counted, from a start drawn anew for each sample, so
that every element is as likely as any other. Elements, and not places of a picture with all of
their channels: what is at one place is alike. Sampled by places, the percentiles of a ResNet-50
left their intervals (`percentile_bounds` of benchmarks/sampling_bounds.py, of 95%) more than four
times as often as they may; by elements they keep them, see benchmarks/calibration.py.

`magnitudes` is a tensor's histogram as seen from zero: how often which |x|, above and below apart.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from int8gate.quantizers.calibration.histogram import Histogram

# Attention masks are additive: finfo.min, or -1e30 and beyond, stands for "never". Counted as
# values they would be the tensor's minimum, and one step of 8 bits would span everything else.
MASKED = -1e30
_COUNTS = "count", "zeros", "masked", "batches"
_SUMS = "_sum", "_squares", "_minima", "_maxima"
_BLOCK = 8192  # elements whose float64 copy stays in a core's cache

COUNTED = 4_000_000  # elements of a tensor that go into its histogram, over all samples, about,
COUNTED_OF_EACH = 8192  # but of no sample fewer than this
PLACES = 64  # of a picture, at which its channels' extremes are taken

MAGNITUDE_BINS = 4096


class ExactSum:
    """A sum of float64 numbers without rounding: it does not depend on their order."""

    _UNIT = 1074  # every float64 is an integer multiple of 2**-1074

    def __init__(self, units: int = 0) -> None:
        self.units = units

    def add(self, value: float) -> None:
        numerator, denominator = float(value).as_integer_ratio()
        self.units += numerator << (self._UNIT + 1 - denominator.bit_length())

    def over(self, count: int) -> float:
        """The sum divided by `count`, rounded once; NaN for no count."""
        return self.units / (count << self._UNIT) if count else math.nan

    def to_bytes(self) -> np.ndarray:
        """Little-endian, signed: uint8 (n,)."""
        size = self.units.bit_length() // 8 + 1
        return np.frombuffer(self.units.to_bytes(size, "little", signed=True), np.uint8)

    @classmethod
    def from_bytes(cls, data: np.ndarray) -> ExactSum:
        return cls(int.from_bytes(data.astype(np.uint8).tobytes(), "little", signed=True))


class TensorStatistics:
    """What calibration keeps of one tensor.

    count       elements counted (those that are not masked)
    zeros       elements equal to 0
    masked      elements at most `MASKED`, which only the channels' extremes include
    batches     updates that held an element
    minimum, maximum    over everything; inf and -inf while there is nothing
    histogram   of the elements given (`Histogram`)
    channel_low, channel_high   float32 (channels,), or None when no update named a channel axis
    """

    def __init__(self) -> None:
        self.count = self.zeros = self.masked = self.batches = 0
        self.minimum, self.maximum = math.inf, -math.inf
        self.histogram = Histogram()
        self.channel_low: np.ndarray | None = None
        self.channel_high: np.ndarray | None = None
        self._sum, self._squares = ExactSum(), ExactSum()
        self._minima, self._maxima = ExactSum(), ExactSum()

    def update(
        self,
        values: np.ndarray,
        low: float | None = None,
        high: float | None = None,
        channel_axis: int | None = None,
    ) -> None:
        """Count one batch: float32 values of any shape.

        When `values` are a sample of the batch, `low` and `high` are the exact minimum and maximum
        of the whole; they extend `minimum` and `maximum`, not the histogram. With `channel_axis`
        each channel's extremes are kept too. Raises ValueError when a value is NaN or infinite.
        """
        if not all(end is None or math.isfinite(end) for end in (low, high)):
            raise ValueError("holds NaN or infinity")
        values = np.asarray(values, np.float32)
        flat = values.reshape(-1)
        if not flat.size:
            return
        least, most = float(flat.min()), float(flat.max())
        if not (math.isfinite(least) and math.isfinite(most)):
            raise ValueError("holds NaN or infinity")
        if channel_axis is not None:
            others = tuple(a for a in range(values.ndim) if a != channel_axis % values.ndim)
            self.observe_channels(values.min(axis=others), values.max(axis=others))
        if least <= MASKED:
            size = flat.size
            flat = flat[flat > MASKED]
            self.masked += size - flat.size
            if not flat.size:
                return
            least = float(flat.min())
        self.histogram.add(flat, least, most)
        self._count(flat)
        least = least if low is None or low <= MASKED else min(least, float(low))
        most = most if high is None else max(most, float(high))
        self.batches += 1
        self.minimum, self.maximum = min(self.minimum, least), max(self.maximum, most)
        self._minima.add(least)
        self._maxima.add(most)

    def _count(self, flat: np.ndarray) -> None:
        total = squares = 0.0
        wide = np.empty(min(_BLOCK, flat.size))
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            self.zeros += int(np.count_nonzero(block == 0))
            exact = wide[: block.size]
            exact[:] = block
            total += exact.sum()
            squares += np.dot(exact, exact)
        self.count += flat.size
        self._sum.add(total)
        self._squares.add(squares)

    def observe_channels(self, low: np.ndarray, high: np.ndarray) -> None:
        """Extend each channel's extremes by those of a batch: float32 (channels,) each."""
        if self.channel_low is None:
            self.channel_low = np.array(low, np.float32)
            self.channel_high = np.array(high, np.float32)
            return
        if len(low) != len(self.channel_low):
            raise ValueError(f"has {len(low)} channels, and had {len(self.channel_low)} before")
        np.minimum(self.channel_low, low, out=self.channel_low)
        np.maximum(self.channel_high, high, out=self.channel_high)

    def merge(self, other: TensorStatistics) -> TensorStatistics:
        """Add what `other` counted, and return self. `other` stays as it is.

        Raises ValueError, before anything is added, when their numbers of channels differ.
        """
        if other.channel_low is not None:
            self.observe_channels(other.channel_low, other.channel_high)
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _SUMS:
            getattr(self, name).units += getattr(other, name).units
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        self.histogram.merge(other.histogram)
        return self

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays of one dimension, for a file; `from_arrays` is the way back."""
        histogram, channels = self.histogram, (self.channel_low, self.channel_high)
        counted = [getattr(self, name) for name in _COUNTS]
        return {
            "counts": np.array(counted, np.int64),
            "extremes": np.array(
                [self.minimum, self.maximum, histogram.low, histogram.high], np.float64
            ),
            "bins": histogram.counts,
            "channels": np.concatenate(channels) if channels[0] is not None else np.zeros(0, "f4"),
            **{name.strip("_"): getattr(self, name).to_bytes() for name in _SUMS},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> TensorStatistics:
        """Raises ValueError when they contradict each other."""
        stats = cls()
        for name, value in zip(_COUNTS, arrays["counts"], strict=True):
            setattr(stats, name, int(value))
        stats.minimum, stats.maximum, low, high = (float(end) for end in arrays["extremes"])
        stats.histogram = Histogram.of(arrays["bins"], low, high)
        if stats.histogram.total != stats.count:
            raise ValueError(f"{stats.histogram.total} elements in bins, {stats.count} counted")
        if len(arrays["channels"]):
            stats.channel_low, stats.channel_high = np.split(arrays["channels"].copy(), 2)
        for name in _SUMS:
            setattr(stats, name, ExactSum.from_bytes(arrays[name.strip("_")]))
        return stats

    @property
    def mean(self) -> float:
        return self._sum.over(self.count)

    @property
    def variance(self) -> float:
        """Of the population; NaN while there is nothing."""
        if not self.count:
            return math.nan
        return max(0.0, self._squares.over(self.count) - self.mean**2)

    @property
    def average_minimum(self) -> float:
        """The mean of the batches' minima."""
        return self._minima.over(self.batches)

    @property
    def average_maximum(self) -> float:
        return self._maxima.over(self.batches)

    @property
    def dead_channels(self) -> int | None:
        """Channels that never left one value, or None when no update named the channel axis."""
        if self.channel_low is None:
            return None
        return int(np.count_nonzero(self.channel_low == self.channel_high))


def step_of(size: int, samples: int, every: int | None = None) -> int:
    """The step of a tensor of `size` elements in each of so many samples; `every`, where given."""
    if every is not None:
        return min(every, size)
    return stride(size, max(COUNTED_OF_EACH, -(-COUNTED // samples)))


def stride(length: int, counted: int) -> int:
    """1 for at most `counted` elements; else a step that leaves about so many of them.

    The step shares no factor with the length, and so with no side of the tensor: it passes through
    all channels, rows and columns instead of along one.
    """
    ideal = -(-length // counted)
    if ideal <= 1:
        return 1
    below = next(step for step in range(ideal, 0, -1) if math.gcd(step, length) == 1)
    above = next(step for step in itertools.count(ideal) if math.gcd(step, length) == 1)
    return below if ideal * ideal <= below * above else above


def step_of_places(places: int, step: int) -> int:
    """The step through a picture's places for its channels' extremes: 1 where all is counted."""
    return stride(places, PLACES) if step > 1 else 1


def start_of(sample: int, step: int) -> int:
    """Where sample number `sample` starts: in [0, step), as good as random, always the same."""
    return int(np.random.default_rng((sample, step)).integers(step)) if step > 1 else 0


def channels_of(shape: tuple[int, ...]) -> int:
    """Of a picture (1, channels, h, w); 0 for every other tensor."""
    return shape[1] if len(shape) == 4 and shape[0] == 1 else 0


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


def magnitudes(stats: TensorStatistics, bins: int = MAGNITUDE_BINS) -> Magnitudes:
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
