"""From pixels to what a network takes: the one place where it is written, for every stage.

Training, calibration, evaluation and the raw-pixel check of a uint8 model all go through
`Preprocessing.apply`, so they cannot disagree. What makes pixels of a picture file (size, crop,
colour order) is `fit.py`: pictures come out of a `SampleSet` as the network's uint8 frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from int8gate.engine.plugins import resolve

Levels = float | tuple[float, ...]  # of all channels, or of each


def _levels(key: str, given) -> Levels:
    """A number, or a tuple of numbers; raises ValueError on anything else."""
    parts = tuple(given) if isinstance(given, tuple | list | np.ndarray) else (given,)
    is_number = [isinstance(part, int | float | np.number) and np.isfinite(part) for part in parts]
    if not parts or not all(is_number) or any(isinstance(part, bool) for part in parts):
        raise ValueError(f"{key} = {given!r}: expected a finite number, or one for each channel")
    return tuple(map(float, parts)) if isinstance(given, tuple | list | np.ndarray) else given


@dataclass(frozen=True)
class Preprocessing:
    """``(pixel - mean) / std`` on pixels 0..255, one mean and one std for all channels, or tuples.

    One scale and one zero point of a quantized input can express exactly the first, so that an
    integrator feeds raw bytes (`is_uniform`). A tuple has one entry per channel, in the order in
    which the network takes them; such a network gets its input from an integrator who normalizes.
    The networks of the zoo have what one scale cannot express inside.

    Raises ValueError on a std that is not above 0, on values that are not finite and on tuples of
    different lengths.
    """

    mean: Levels
    std: Levels

    def __post_init__(self):
        for key in ("mean", "std"):
            object.__setattr__(self, key, _levels(key, getattr(self, key)))
        if min(np.atleast_1d(self.std)) <= 0:
            raise ValueError(
                f"std = {self.std}: expected numbers above 0, pixels are divided by it"
            )
        if len({len(level) for level in (self.mean, self.std) if isinstance(level, tuple)}) > 1:
            raise ValueError(
                f"mean has {len(self.mean)} numbers and std {len(self.std)}: expected one for all "
                "channels, or one for each channel in both"
            )

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 pixels, any shape (of per-channel numbers: channels last), to float32."""
        if self.channels is None:
            return ((pixels.astype(np.float32) - self.mean) / self.std).astype(np.float32)
        if pixels.shape[-1] != self.channels:
            raise ValueError(
                f"mean or std has {self.channels} numbers, the pictures have {pixels.shape[-1]} "
                "channels: give one for each channel, or one number for all"
            )
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return (pixels.astype(np.float32) - mean) / std

    @property
    def channels(self) -> int | None:
        """How many channels the numbers are for; None where they are for any."""
        given = [len(level) for level in (self.mean, self.std) if isinstance(level, tuple)]
        return given[0] if given else None

    @property
    def hooks(self) -> tuple[str, ...]:
        """Functions of a user's (``module:function``) that it calls."""
        return ()

    @property
    def is_identity(self) -> bool:
        """The network takes pixels as they are."""
        return bool(np.all(np.equal(self.mean, 0)) and np.all(np.equal(self.std, 1)))

    @property
    def is_uniform(self) -> bool:
        """All channels alike: one scale and one zero point express it, raw bytes can be fed."""
        return len(set(self.channel_ranges)) == 1

    @property
    def uniform_range(self) -> tuple[float, float] | None:
        """What pixels 0 and 255 become; None where that differs between channels."""
        return self.range if self.is_uniform else None

    @property
    def channel_ranges(self) -> tuple[tuple[float, float], ...]:
        """What pixels 0 and 255 become, for each channel; one entry where they are all alike."""
        levels = np.broadcast_arrays(np.atleast_1d(self.mean), np.atleast_1d(self.std))
        return tuple(
            ((0 - mean) / std, (255 - mean) / std)
            for mean, std in zip(*(level.tolist() for level in levels), strict=True)
        )

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest value that any pixel of any channel becomes."""
        lows, highs = zip(*self.channel_ranges, strict=True)
        return min(lows), max(highs)


def declared_preprocessing(
    mean: Levels | None = None,
    std: Levels | None = None,
    scale: float | str | None = None,
    value_range: tuple[float, float] | None = None,
) -> Preprocessing:
    """What a declaration's keys say: ``(pixel * scale - mean) / std``, or the range of values.

    `scale` is a number or a quotient such as "1/255"; `value_range` (low, high), the key `range`,
    is what pixels 0 and 255 become and stands alone. Nothing given: pixels as they are.
    Raises ValueError on keys that contradict each other, naming them.
    """
    if value_range is not None:
        return _of_range(value_range, {"mean": mean, "std": std, "scale": scale})
    factor = _factor(scale)
    mean = _levels("mean", 0.0 if mean is None else mean)
    std = _levels("std", 1.0 if std is None else std)
    is_of_unit = 0 < np.max(mean) <= 1 and np.max(std) < 1
    if scale is None and is_of_unit:
        raise ValueError(
            f"mean = {_shown(mean)} and std = {_shown(std)} are of pixels 0..1, the pixels are "
            '0..255: add scale = "1/255"'
        )
    return Preprocessing(_divided(mean, factor), _divided(std, factor))


def _of_range(value_range, others: dict) -> Preprocessing:
    given = [key for key, value in others.items() if value is not None]
    if given:
        raise ValueError(
            f"range stands beside {' and '.join(given)}: expected either range, or mean, std and "
            "scale; leave one of them out"
        )
    limits: Any = _levels("range", tuple(value_range))
    if len(limits) != 2 or limits[0] >= limits[1]:
        raise ValueError(f"range = {_shown(limits)}: expected [low, high], the lower one first")
    low, high = limits
    std = 255 / (high - low)
    if not std or not math.isfinite(std) or not math.isfinite(low * std):
        raise ValueError(
            f"range = {_shown(limits)}: pixels 0..255 cannot be spread over it: expected "
            "[low, high] of an ordinary size"
        )
    return Preprocessing(-low * std if low else 0.0, std)


def _factor(scale: float | str | None) -> float:
    try:
        factor = 1.0 if scale is None else float(Fraction(scale))
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        factor = math.nan
    if not (factor > 0 and math.isfinite(factor) and math.isfinite(1 / factor)):
        raise ValueError(f'scale = {scale!r}: expected a number above 0, or a quotient as "1/255"')
    return factor


def _divided(level: Levels, factor: float) -> Levels:
    if isinstance(level, tuple):
        return tuple(part / factor for part in level)
    return level / factor


def _shown(level: Levels) -> str:
    return str(list(level)) if isinstance(level, tuple) else str(level)


@dataclass(frozen=True)
class Hooked(Preprocessing):
    """A user's own function from pixels to what the network takes.

    `hook` (``module:function``) is called with uint8 (n, h, w, channels), and gives float32 (n,
    ...); mean and std say the range of what it gives.
    """

    hook: str

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        return np.asarray(resolve(self.hook)(pixels), np.float32)

    @property
    def hooks(self) -> tuple[str, ...]:
        return (self.hook,)

    @property
    def is_identity(self) -> bool:
        return False

    @property
    def is_uniform(self) -> bool:
        """Nobody knows what it does to a pixel."""
        return False


@dataclass(frozen=True)
class AsTheyAre(Preprocessing):
    """Of arrays: the network takes them as they are, and nothing is known of pixels."""

    mean: Levels = 0.0
    std: Levels = 1.0

    def apply(self, values: np.ndarray) -> np.ndarray:
        return values

    @property
    def range(self) -> None:
        """There are no pixels that would become anything."""
        return None

    @property
    def is_uniform(self) -> bool:
        return False


AS_THEY_ARE = AsTheyAre()
PIXELS = Preprocessing(mean=0.0, std=1.0)  # 0..255: the network normalizes by itself
UNIT = Preprocessing(mean=0.0, std=255.0)  # 0..1
SIGNED_UNIT = Preprocessing(mean=127.5, std=127.5)  # -1..1, `mode="tf"` of keras.applications
EDGETPU = Preprocessing(mean=127.0, std=128.0)  # of the EfficientNet-EdgeTPU files: exact in binary
