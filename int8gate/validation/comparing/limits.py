"""How much worse a figure may get before it fails the run: `accuracy:0.5%,npu_latency:5%`.

A percentage is of the figure before, a plain number is in the figure's unit: a score as a fraction
or in dB, bytes, ms, a ratio. A figure that got better never fails.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from int8gate.validation.comparing.changes import FIGURES, Change

EXAMPLE = "accuracy:0.5%,npu_latency:5%"
ROUNDING = 1e-9  # a loss this close to the limit equals it


@dataclass(frozen=True)
class Limit:
    """The largest loss allowed: a share of the figure before, or an amount in its unit."""

    amount: float
    is_share: bool = True

    def allowed(self, change: Change) -> float:
        return self.amount * abs(change.before) if self.is_share else self.amount

    def __str__(self) -> str:
        return f"{self.amount * 100:g}%" if self.is_share else f"{self.amount:g}"


@dataclass(frozen=True)
class OwnTolerance(Limit):
    """The drop that the case's own accuracy rule allows from float; `amount` where it has none."""

    def allowed(self, change: Change) -> float:
        return super().allowed(change) if change.tolerance is None else change.tolerance

    def __str__(self) -> str:
        return "the case's own tolerance"


BASELINE_LIMITS: Mapping[str, Limit] = {
    "accuracy": OwnTolerance(0.01),
    "size": Limit(0.01),
    "npu_latency": Limit(0.01),
    "coverage": Limit(0.0),
    "fidelity": Limit(3.0, is_share=False),  # dB: twice the noise power
}


def parse_limits(text: str) -> dict[str, Limit]:
    """The limits of `--gate-compare-fail`. Raises ValueError that names what is wrong with them."""
    limits: dict[str, Limit] = {}
    for part in text.split(","):
        name, colon, amount = (piece.strip() for piece in part.partition(":"))
        if not colon:
            raise ValueError(
                f"{part.strip()!r} is no limit: expected FIGURE:AMOUNT as in {EXAMPLE}"
            )
        if name not in FIGURES:
            near = difflib.get_close_matches(name, FIGURES, 1, cutoff=0.5)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"{name!r} is no figure: expected {', '.join(FIGURES)}{meant}")
        if name in limits:
            raise ValueError(f"{name} has two limits: name it once")
        limits[name] = _limit(name, amount)
    return limits


def exceeded(changes: Iterable[Change], limits: Mapping[str, Limit]) -> list[str]:
    """A sentence for each figure that got worse by more than its limit, or is gone."""
    return [sentence for _, sentence in beyond(changes, limits)]


def beyond(changes: Iterable[Change], limits: Mapping[str, Limit]) -> Iterator[tuple[Change, str]]:
    """Each change for the worse by more than its limit, with a sentence."""
    for change in changes:
        limit = limits.get(change.figure)
        if limit is None or change.verdict != "worse":
            continue
        if change.loss > limit.allowed(change) + ROUNDING * abs(change.before):
            yield change, f"{change.summary}; allowed: {limit}; {change.cure}"


def _limit(name: str, amount: str) -> Limit:
    is_share = amount.endswith("%")
    try:
        number = float(amount.removesuffix("%"))
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(
            f"{name}:{amount} is no limit: expected a number from 0, with % for a share of the "
            f"figure before, as in {EXAMPLE}"
        )
    return Limit(number / 100 if is_share else number, is_share)
