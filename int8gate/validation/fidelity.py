"""How far an artifact's outputs are from those of the float model: for each output and channel.

Figures of one output say nothing of another, nor those of a channel of its neighbours: beside boxes
of 0..640 nobody sees that every score of 0..1 is zero. So errors are added up by channel, in one
pass, and a few numbers are kept for each, however many samples there are.

*Channels* are the indices of the first or of the last axis of an output (n, ...). Of maps it is the
one besides height and width, whose sides are in proportion to those of the pictures; of rows such
as (n, anchors, 4 + classes) the shorter one. Where that does not tell, it is the axis along which
means and ranges of the float values differ more, and both where neither stands out. An axis of more
than `MOST_CHANNELS` entries holds positions, and so do both sides of a single map.

*SQNR* of a channel is the variance of its float values around their mean, over samples and
positions, by its mean squared error, in which a bias counts. Of *like* channels it is the sum of
their variances by the sum of their errors: boxes do not outvote scores, and a class that never
occurs weighs as little as it says. Channels are like while their ranges, in order, fall by less
than `LIKE`. Values within 0..1 may be scores, which stay low for what does not occur: all of them
are like where they sum to one, and so is a minority of low ones beside more that rise.

*Lost* is a channel that varies in float and is constant in the artifact; one that is constant in
float has no signal, and its error is put in relation to the span of the output. Integers (class
numbers, indices) are equal or not; of rankings, rows of different integers, the first counts: the
order of the unlikely is chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SQNR_CEILING_DB = 150.0  # about the 146 dB of float32's 24-bit significand: identical in float32
MOST_CHANNELS = 1024
MAP_SIDE = 8  # least height and width of a single map
PROPORTION = 0.15  # the natural logarithm by which a map's sides may differ from the pictures'
MANY = 64  # from here on a side that is `LONGER` times the other one's length holds positions
LONGER = 4
CONTRAST = 0.25  # an axis stands out from here on, where it has twice the other's
LIKE = 4.0
STEPS = 255  # of 8 bits, over the range of a tensor
NOTICED = 8 / STEPS  # of the range of like channels: what varies by more must not be lost
ROUNDING = 1e-6  # of a float32 value: what varies by less is constant
SUM_ROUNDING = 1e-3
NAMED = 20  # lost channels that a row lists
UNEQUAL = 0.005  # share of integers; fewer may differ by chance where all others are the same


class OutputFidelity:
    """What the float and the quantized values of one output differ by, added batch by batch.

    `sides` are height and width of the pictures, where they are known.
    """

    def __init__(self, name: str, is_integer: bool = False, sides: tuple[int, int] | None = None):
        self.name, self.is_integer, self._picture = name, is_integer, sides
        self._layout: _Layout | None = None
        self._sums: dict[str, np.ndarray] = {}  # (a, c) of the two axes that may hold channels
        self._products = np.zeros(3)  # float by float, quantized by quantized, one by the other
        self._equal = self._values = self._samples = self._first_equal = 0
        self._is_ranking = is_integer
        self._off_one = np.zeros(2)  # how far sums over either axis are from one, at most

    def add(self, reference: np.ndarray, quantized: np.ndarray) -> None:
        """Real values (n, ...), both of one shape.

        Raises ValueError where the shapes differ, or a value is not finite.
        """
        if reference.shape != quantized.shape:
            raise ValueError(
                f"output {self.name}: float {reference.shape} and quantized {quantized.shape} "
                "differ in shape"
            )
        r, q = (np.asarray(values, np.float64) for values in (reference, quantized))
        self._products += [np.vdot(r, r), np.vdot(q, q), np.vdot(r, q)]
        if not np.isfinite(self._products).all():
            raise ValueError(
                f"output {self.name} holds NaN or infinity: there is no fidelity to measure"
            )
        if self._layout is None:
            self._layout = _layout(r.shape, self._picture)
        self._equal += int(np.count_nonzero(r == q))
        self._values += r.size
        self._rank(r, q)
        r, q = (values.reshape(len(values), *self._layout.sides) for values in (r, q))
        for place, axis in enumerate((1, 3)):
            off = float(abs(r.sum(axis=axis) - 1).max())
            self._off_one[place] = max(self._off_one[place], off)
        self._merge(np.minimum, low=r.min(axis=(0, 2)), low_found=q.min(axis=(0, 2)))
        self._merge(np.maximum, high=r.max(axis=(0, 2)), high_found=q.max(axis=(0, 2)))
        # Values far from zero keep the digits of their variance where they are moved there first.
        shift = self._sums.setdefault("shift", r.mean(axis=(0, 2)))
        error, r = r - q, r - shift[:, None]
        self._merge(
            np.add,
            sum=r.sum(axis=(0, 2)),
            squares=np.einsum("namc,namc->ac", r, r),
            noise=np.einsum("namc,namc->ac", error, error),
        )

    def _rank(self, r: np.ndarray, q: np.ndarray) -> None:
        self._samples += len(r)
        self._is_ranking &= r.ndim == 2 and r.shape[1] > 1
        if self._is_ranking:
            self._is_ranking = bool(np.diff(np.sort(r, axis=1), axis=1).all())
            self._first_equal += int(np.count_nonzero(r[:, 0] == q[:, 0]))

    def _merge(self, combine: np.ufunc, **values: np.ndarray) -> None:
        for name, each in values.items():
            known = self._sums.get(name)
            self._sums[name] = each if known is None else combine(known, each)

    def row(self) -> dict:
        """The record's row of this output: see `fidelity` in the README's "The case record"."""
        low, high = self._sums["low"].min(), self._sums["high"].max()
        row = {
            "name": self.name,
            "span": [float(low), float(high)],
            "sqnr_db": None,
            "like": None,
            "worst_channel": None,
            "lost": [],
            "lost_count": 0,
            "constant_error": None,
            "cosine": self._cosine(),
            "equal": None,
            "first_equal": None,
        }
        if self.is_integer:
            return row | self._of_integers(varies=low < high)
        for channels in self._judged():
            _fill(row, channels)
        row["lost_count"] = len(row["lost"])
        row["lost"] = row["lost"][:NAMED]
        return row

    def _of_integers(self, varies: bool) -> dict:
        equal = self._equal / self._values
        is_constant = self._sums["low_found"].min() == self._sums["high_found"].max()
        return {
            "equal": equal,
            "first_equal": self._first_equal / self._samples if self._is_ranking else None,
            "lost_count": int(varies and is_constant and equal < 1 - UNEQUAL),
        }

    def _cosine(self) -> float | None:
        """Of the angle between all float and all quantized values; None if either is zero."""
        norm = math.sqrt(self._products[0]) * math.sqrt(self._products[1])
        return max(-1.0, min(1.0, float(self._products[2]) / norm)) if norm else None

    def _judged(self) -> list[_Channels]:
        """The channels along the axis, or both axes, of which an output has them."""
        assert self._layout is not None  # `_judged` is asked once there are values
        found = [self._along(place) for place in self._layout.places]
        most = max(channels.contrast for channels in found)
        least = most / 2 if most >= CONTRAST else 0
        return [channels for channels in found if channels.contrast >= least]

    def _along(self, place: int) -> _Channels:
        """The channels along one side of the sums (a, c)."""
        over, sums = 1 - place, self._sums
        cells = sums["sum"].shape[over]
        each = self._values / sums["sum"].size  # values of a cell
        means = sums["shift"] + sums["sum"] / each
        mean = means.mean(axis=over)
        within = sums["squares"] - sums["sum"] ** 2 / each
        among = each * (means - np.expand_dims(mean, over)) ** 2
        assert self._layout is not None
        return _Channels(
            axis=self._layout.axes[place],
            mean=mean,
            signal=np.maximum(within + among, 0).sum(axis=over) / (each * cells),
            noise=sums["noise"].sum(axis=over) / (each * cells),
            low=sums["low"].min(axis=over),
            high=sums["high"].max(axis=over),
            found_range=sums["high_found"].max(axis=over) - sums["low_found"].min(axis=over),
            sum_to_one=bool(self._off_one[place] <= SUM_ROUNDING),
        )


@dataclass(frozen=True)
class _Layout:
    """How outputs are seen as (n, a, m, c): `sides` are a, m and c; `axes` which of the output's
    axes a and c are, and `places` which of the two hold channels.
    """

    sides: tuple[int, int, int]
    axes: tuple[int, int]
    places: tuple[int, ...]


def _layout(shape: tuple[int, ...], picture: tuple[int, int] | None) -> _Layout:
    sides = {axis: side for axis, side in enumerate(shape) if axis and side != 1}
    axes = tuple(sides)
    first, last = (axes[0], axes[-1]) if axes else (len(shape) - 1,) * 2
    is_map = len(shape) == 4 and len(axes) == 2 and min(sides.values()) >= MAP_SIDE
    if is_map and 1 in (shape[1], shape[-1]):  # one channel, of height and width
        first = last = 1 if shape[1] == 1 else 3
        axes, sides = (), {}
    holds = _channel_axes(axes, sides, picture)
    a = sides[first] if first != last and first in holds else 1
    c = sides[last] if last in holds else 1
    places = tuple(place for place, side in enumerate((a, c)) if side > 1) or (1,)
    return _Layout((a, math.prod(shape[1:]) // (a * c), c), (first, last), places)


def _channel_axes(axes: tuple[int, ...], sides: dict, picture) -> set[int]:
    """Which of the axes of more than one entry may hold channels: the first, the last, or both."""
    few = {axis for axis in {*axes[:1], *axes[-1:]} if sides[axis] <= MOST_CHANNELS}
    if len(axes) == 3 and picture:
        off = {
            channels: abs(math.log(sides[down] / sides[right] * picture[1] / picture[0]))
            for channels, down, right in ((axes[2], axes[0], axes[1]), (axes[0], *axes[1:]))
        }
        channels = min(off, key=off.get)
        if off[channels] <= PROPORTION and len(set(off.values())) > 1:
            return few & {channels}
    if len(axes) == 2:
        short, long = sorted(axes, key=sides.get)
        if sides[long] > MANY and sides[long] >= LONGER * sides[short]:
            return few & {short}
    return few


@dataclass(frozen=True)
class _Channels:
    """Of each channel along an axis, (c,): the mean, variance, least and largest of its float
    values, its mean squared error, and the range of the artifact's values.

    `sum_to_one`: the float values of all channels do, everywhere.
    """

    axis: int
    mean: np.ndarray
    signal: np.ndarray
    noise: np.ndarray
    low: np.ndarray
    high: np.ndarray
    found_range: np.ndarray
    sum_to_one: bool

    @property
    def range(self) -> np.ndarray:
        return self.high - self.low

    @property
    def vary(self) -> np.ndarray:
        return self.range > ROUNDING * np.maximum(abs(self.low), abs(self.high))

    @property
    def contrast(self) -> float:
        """How much the channels differ: the means' share of the variance, the ranges' spread in
        decades.
        """
        among = np.var(self.mean)
        total = among + self.signal.mean()
        ranges = np.log10(self.range[self.vary])
        return float((among / total if total else 0) + (ranges.std() if len(ranges) else 0))

    @property
    def like(self) -> list[np.ndarray]:
        """Indices of channels that vary, by which of them are like one another."""
        is_score = (self.low >= -ROUNDING) & (self.high <= 1 + ROUNDING)
        scores, others = (np.flatnonzero(self.vary & which) for which in (is_score, ~is_score))
        if self.sum_to_one and len(scores) and not len(others):
            return [scores]
        groups = []
        for group in self._in_steps(scores):
            if groups and len(group) < len(groups[-1]):
                groups[-1] = np.concatenate([groups[-1], group])
            else:
                groups.append(group)
        return groups + self._in_steps(others)

    def _in_steps(self, chosen: np.ndarray) -> list[np.ndarray]:
        """`chosen` in order of their ranges, parted where these fall by `LIKE` or more."""
        if not len(chosen):
            return []
        order = chosen[np.argsort(-self.range[chosen], kind="stable")]
        ranges = self.range[order]
        return np.split(order, np.flatnonzero(ranges[1:] * LIKE <= ranges[:-1]) + 1)


def _fill(row: dict, channels: _Channels) -> None:
    """Puts into a row what is worst of the channels along an axis, where it is worse than that."""
    count = len(channels.signal)
    for like in channels.like:
        widest = channels.range[like].max()
        ratio = _decibels(channels.signal[like].sum(), channels.noise[like].sum())
        if row["sqnr_db"] is None or ratio < row["sqnr_db"]:
            row["sqnr_db"] = ratio
            row["like"] = _indices(like) if len(like) < count else None
        is_seen = np.sqrt(channels.noise[like]) > widest / STEPS
        for index in like[is_seen]:
            alone = _decibels(channels.signal[index], channels.noise[index])
            if row["worst_channel"] is None or alone < row["worst_channel"]["sqnr_db"]:
                row["worst_channel"] = _about(channels, index) | {"sqnr_db": alone}
        is_still = channels.found_range[like] <= ROUNDING * widest
        is_lost = is_still & (channels.range[like] > NOTICED * widest)
        row["lost"] += [_about(channels, index) for index in np.sort(like[is_lost])]
    low, high = row["span"]
    errors = np.sqrt(channels.noise[~channels.vary])
    if len(errors):
        span = max(high, 0) - min(low, 0)
        worst = float(errors.max())
        relative = worst / span if span else float(worst > 0)
        row["constant_error"] = max(row["constant_error"] or 0.0, relative)


def _about(channels: _Channels, index: int) -> dict:
    return {
        "channel": int(index),
        "of": len(channels.signal),
        "axis": channels.axis,
        "range": [float(channels.low[index]), float(channels.high[index])],
        "rms_error": math.sqrt(channels.noise[index]),
    }


def _decibels(signal: float, noise: float) -> float:
    """At most `SQNR_CEILING_DB`: JSON has no infinity."""
    floor = signal * 10 ** (-SQNR_CEILING_DB / 10)
    return 10 * math.log10(signal / max(noise, floor))


def _indices(chosen: np.ndarray) -> str:
    """0, 1, 2, 5 as `0-2, 5`."""
    runs = np.split(np.sort(chosen), np.flatnonzero(np.diff(np.sort(chosen)) > 1) + 1)
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def worst_sqnr(rows: list[dict]) -> float | None:
    """The least SQNR of an output's like channels; None where no float output varies."""
    return min((row["sqnr_db"] for row in rows if row["sqnr_db"] is not None), default=None)


def least_cosine(rows: list[dict]) -> float | None:
    return min((row["cosine"] for row in rows if row["cosine"] is not None), default=None)
