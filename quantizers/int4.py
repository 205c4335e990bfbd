"""int4 weights as both toolchains store them: symmetric, two in a byte."""

from __future__ import annotations

import numpy as np

LEVELS = 7  # on either side of zero


def packed(integers: np.ndarray) -> bytes:
    """int8 values from -8 to 7, of any shape, as int4: the first of two in the lower half."""
    flat = np.ascontiguousarray(integers).ravel().view(np.uint8) & 0xF
    flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
    return (flat[::2] | flat[1::2] << 4).astype(np.uint8).tobytes()


def unpacked(content: np.ndarray, count: int) -> np.ndarray:
    """The first `count` int4 of some bytes, int8 (count,)."""
    halves = np.stack([content & 0xF, content >> 4], -1).astype(np.int8).ravel()[:count]
    return np.where(halves > LEVELS, halves - 16, halves).astype(np.int8)


def whole_steps(real: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """A bias as int32 in steps of that size, saturated."""
    limits = np.iinfo(np.int32)
    found = np.rint(np.asarray(real, np.float64) / np.asarray(steps, np.float64))
    return found.clip(limits.min, limits.max).astype(np.int32)
