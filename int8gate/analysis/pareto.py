"""Which points no other beats in both cost and gain."""

from __future__ import annotations


def pareto_front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (cost, gain) those that no other beats in both, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, gain in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or gain > front[-1][1]:
            front.append((cost, gain))
    return front
