"""A run's comparison of each model's recipes (`methods` of `results.json`) as texts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import groupby

from int8gate.reporting.fields import printable


@dataclass(frozen=True)
class Compared:
    """Of a model: for each target the recipe to take and why; each recipe's rank and the Pareto
    fronts that it is on, such as ``rank 1; front: host_cpu, ~size``.
    """

    to_take: list[tuple[str, str, str]] = field(default_factory=list)
    ranks: dict[str, str] = field(default_factory=dict)
    order: str = ""


NOT_COMPARED = Compared()


def compared(results: dict) -> dict[str, Compared]:
    """By model; of a model in both profiles what was found of the compact one."""
    found: dict[str, Compared] = {}
    for entry in sorted(results.get("methods") or [], key=lambda each: each["profile"]):
        taken = [
            (each["target"], each["recipe"] or "none", printable(each["reason"]))
            for each in entry["recommended"]
        ]
        ranks = {each["recipe"]: _rank(each) for each in entry["ranks"]}
        found.setdefault(entry["model"], Compared(taken, ranks, _order(entry["ranks"])))
    return found


def _rank(each: dict) -> str:
    if each["rank"] is None:
        return ""
    fronts = front_words(each["fronts"], each["by_chance"])
    return f"rank {each['rank']}; front: {fronts}" if fronts else f"rank {each['rank']}"


def front_words(fronts: Iterable[str], by_chance: Collection[str]) -> str:
    """``host_cpu, ~size``"""
    return ", ".join(f"{'~' * (which in by_chance)}{which}" for which in fronts)


def _order(ranks: list[dict]) -> str:
    """``1: a, b; 3: c``"""
    scored = [each for each in ranks if each["rank"] is not None]
    groups = groupby(scored, key=lambda each: each["rank"])
    return "; ".join(f"{rank}: {', '.join(of['recipe'] for of in group)}" for rank, group in groups)
