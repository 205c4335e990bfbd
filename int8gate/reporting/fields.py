"""Values of a record as text: what is null or absent is an en dash, never a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from int8gate.engine.errors import plain_text

DASH = "–"


def dig(record: Any, *path: str) -> Any:
    """The value at a path of keys, or None where a step is absent or null."""
    for key in path:
        if not isinstance(record, Mapping):
            return None
        record = record.get(key)
    return record


def higher_is_better(accuracy: Mapping | None) -> bool:
    """Of the gated metric of a record's `accuracy`; of older records, which do not say, by their
    scores and the drop between them.
    """
    told = dig(accuracy, "higher_is_better")
    if told is not None:
        return bool(told)
    scores = [dig(accuracy, name) for name in ("float", "quantized", "drop")]
    if None in scores:
        return True
    before, after, drop = scores
    return (before - after) * drop >= 0


def text(value: Any) -> str:
    return DASH if value is None or value == "" else str(value)


def printable(line: str) -> str:
    """A name from a model file must neither steer a terminal nor break the line."""
    return plain_text(line).replace("\n", "?").replace("\t", "?")


def metric(value: float | None, unit: str | None = None) -> str:
    """Four decimals for a score of order one, two for a PSNR or a perplexity; never -0.0000.

    Decibels say so, `32.41 dB`; a fraction or an unknown unit goes without.
    """
    if value is None:
        return DASH
    if unit == "dB":
        return f"{value:z.2f} dB"
    return f"{value:z.4f}" if abs(value) < 10 else f"{value:.2f}"


def percent(fraction: float | None) -> str:
    """Rounded down to a tenth, so that only a whole graph reads 100%."""
    return DASH if fraction is None else f"{math.floor(fraction * 1000) / 10:g}%"


def times(ratio: float | None) -> str:
    if ratio is None:
        return DASH
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:.1f}×"


def three_digits(value: float | None) -> str:
    """Three significant digits, no exponent from 0.0001 up: 0.0410, 1.87, 23.4, 1310."""
    if value is None:
        return DASH
    return f"{value:#.3g}" if abs(value) < 99.95 else f"{value:.0f}"


def with_unit(value: float | None, unit: str) -> str:
    return DASH if value is None else f"{three_digits(value)} {unit}"


def size(count: float | None) -> str:
    """A number of bytes in B, KiB, MiB or GiB."""
    if count is None:
        return DASH
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return with_unit(count, unit)
        count /= 1024
    return with_unit(count, "GiB")


def size_change(before: float | None, after: float | None) -> str:
    """Two numbers of bytes in the unit of the larger: `1.61 → 0.463 MiB`."""
    largest = max(before or 0, after or 0)
    scale, unit = (2**20, "MiB") if largest >= 2**20 else (2**10, "KiB")
    return change(divided(before, scale), divided(after, scale), unit)


def change(before: float | None, after: float | None, unit: str) -> str:
    """`1.94 → 0.815 ms`, with spaces at which no browser breaks the line."""
    if before is None and after is None:
        return DASH
    return f"{three_digits(before)} → {three_digits(after)} {unit}".replace(
        " ", "\N{NO-BREAK SPACE}"
    )


def divided(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


def with_bounds(value: float | None, bounds: tuple[float | None, float | None], unit: str) -> str:
    """`0.9123 (0.9001..0.9200)`; of a single bound `(≤ 0.0100)` or `(≥ 0.0100)`."""
    low, high = (None if each is None else metric(each, unit) for each in bounds)
    if low and high:
        return f"{metric(value, unit)} ({low}..{high})"
    one = f" (≤ {high})" if high else f" (≥ {low})" if low else ""
    return metric(value, unit) + one
