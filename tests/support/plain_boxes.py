"""Overlap of two boxes [ymin, xmin, ymax, xmax], as the definition has it."""

from __future__ import annotations


def overlap(one, other) -> float:
    height, width = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    common = max(height, 0) * max(width, 0)
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other))
    return common / (areas - common)
