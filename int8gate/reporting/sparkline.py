"""A row of bars, one for each run, within a line of text."""

from __future__ import annotations

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
GAP = "·"  # not measured


def sparkline(values: Sequence[float | None]) -> str:
    """Bars from the least to the largest value; all equal are of middle height."""
    known = [value for value in values if value is not None]
    if not known:
        return GAP * len(values)
    low, spread = min(known), max(known) - min(known)

    def bar(value: float | None) -> str:
        if value is None:
            return GAP
        share = (value - low) / spread if spread else 0.5
        return BARS[min(int(share * len(BARS)), len(BARS) - 1)]

    return "".join(bar(value) for value in values)
