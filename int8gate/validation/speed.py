"""Latency on the host CPU: float and quantized in turn, so that drift of the machine cancels."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from int8gate.runtimes.sessions import open_session

ROUNDS = 200
WARM_UP = 5
LONGEST_S = 2.0  # a slow model gets fewer rounds, at least LEAST_ROUNDS
LEAST_ROUNDS = 5
TAIL = 0.025  # on either side of an interval of 95%


@dataclass(frozen=True)
class Interleaved:
    """Seconds of each round, float then quantized, measured in turn on one thread: (n,) each."""

    float_s: np.ndarray
    quantized_s: np.ndarray

    @property
    def speedup(self) -> float:
        """Median of the ratios round by round."""
        return float(np.median(self.float_s / self.quantized_s))


def median_interval(values: np.ndarray) -> dict:
    """The median of values (n,), and a 95% interval of it, as `value`, `lower_95`, `upper_95`.

    Its ends are order statistics, whatever the distribution (Conover, Practical Nonparametric
    Statistics, 1999, 3.2): each is beyond the median with a probability of 2.5% at most. Fewer than
    six values have none; theirs is from the least to the largest, 94% of five.
    """
    ordered, count = np.sort(values), len(values)
    below = np.cumsum([math.comb(count, k) / 2**count for k in range(count)])
    place = max(int(np.searchsorted(below, TAIL, side="right")) - 1, 0)
    return {
        "value": float(np.median(ordered)),
        "lower_95": float(ordered[place]),
        "upper_95": float(ordered[count - 1 - place]),
    }


def interleave(float_model: Path, quantized_model: Path) -> Interleaved:
    """Times `invoke` alone, on an input of mid-range values: latency does not depend on content."""
    sessions = [open_session(path, threads=1) for path in (float_model, quantized_model)]
    for session in sessions:
        session.feed([_middle(spec) for spec in session.inputs])
        for _ in range(WARM_UP):
            session.invoke()
    rounds = []
    started = time.perf_counter()
    while len(rounds) < ROUNDS and (
        len(rounds) < LEAST_ROUNDS or time.perf_counter() - started < LONGEST_S
    ):
        rounds.append([_seconds(session) for session in sessions])
    measured = np.array(rounds)
    return Interleaved(measured[:, 0], measured[:, 1])


def _middle(spec) -> np.ndarray:
    if spec.dtype == "float32":
        return np.full(spec.shape, 0.5, np.float32)
    if not spec.is_quantized and spec.dtype != "uint8":
        return np.zeros(spec.shape, spec.dtype)  # a number: 0 is one of any vocabulary
    limits = np.iinfo(spec.dtype)
    return np.full(spec.shape, (int(limits.min) + int(limits.max)) // 2, spec.dtype)


def _seconds(session) -> float:
    started = time.perf_counter()
    session.invoke()
    return time.perf_counter() - started
