"""Which elements of a large tensor are counted: every `step`-th, from a start drawn anew for each
sample, so that every element is as likely as any other.

Elements, and not places of a picture with all of their channels: what is at one place is alike.
Sampled so, the percentiles of a ResNet-50 left their intervals (`sampling.percentile_bounds`, of
95%) more than four times as often as they may; by elements they keep them, see
benchmarks/calibration.py.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

COUNTED = 4_000_000  # elements of a tensor that go into its histogram, over all samples, about,
COUNTED_OF_EACH = 8192  # but of no sample fewer than this
PLACES = 64  # of a picture, at which its channels' extremes are taken


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
