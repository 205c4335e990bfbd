"""Which methods can be told apart, which none beats, and which is to be taken on a target."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import median

from int8gate.analysis.method_points import SIZE, Method
from int8gate.analysis.pareto import pareto_front
from int8gate.targets.registry import HOST
from int8gate.validation.case_summary import Accuracy
from int8gate.validation.comparing.paired import MetricChange, paired_change, unpaired_change
from int8gate.validation.shipping import same_latency, to_ship


@dataclass(frozen=True)
class Recommended:
    """The recipe to take for a target, None where none passes there, and why."""

    target: str
    recipe: str | None
    reason: str


class Comparer:
    """How one method's score differs from another's, each pair once.

    `unpaired` are the recipes that could not be compared in pairs.
    """

    def __init__(self, declared: Collection[str]):
        self._declared = declared
        self._known: dict[tuple[str, str], MetricChange] = {}
        self.unpaired: set[str] = set()

    def change(self, better: Method, worse: Method) -> MetricChange:
        """Raises ValueError where their metrics differ, or are unknown."""
        key = better.recipe, worse.recipe
        if key not in self._known:
            self._known[key] = self._compared(better, worse)
        return self._known[key]

    def are_apart(self, better: Method, worse: Method) -> bool:
        """Whether one is better beyond chance; what nothing is known of is not."""
        try:
            change = self.change(better, worse)
        except ValueError:
            return False
        return change.drop > 0 and change.at_least is not None and change.at_least > 0

    def _compared(self, better: Method, worse: Method) -> MetricChange:
        first, second = better.predictions, worse.predictions
        why = "predictions were not kept"
        if first and second:
            try:
                return paired_change(first, second, declared=self._declared)
            except ValueError as error:
                why = str(error)
        self.unpaired |= {better.recipe, worse.recipe}
        if (change := _of_drops(better, worse, why)) is not None:
            return change
        assert better.figures.accuracy
        assert worse.figures.accuracy
        accuracies = (_bounded(of.figures.accuracy, of.interval) for of in (better, worse))
        return unpaired_change(*accuracies, why, declared=self._declared)


def _of_drops(better: Method, worse: Method, why: str) -> MetricChange | None:
    """By the drops from float, each with its bound: float's own scatter is in neither, so that it
    sees more than the scores' intervals do. None where a bound is missing.
    """
    known = [
        (of.figures.accuracy.metric, of.drop, of.drop_interval[1] - of.drop)
        for of in (better, worse)
        if of.figures.accuracy and of.drop is not None and of.drop_interval[1] is not None
    ]
    if len(known) < 2 or known[0][0] != known[1][0]:
        return None
    change, margin = known[1][1] - known[0][1], math.hypot(known[0][2], known[1][2])
    return MetricChange(change, change - margin, f"by the intervals of the drops ({why})")


def _bounded(accuracy: Accuracy, interval: tuple[float, float] | None) -> Accuracy:
    if interval is None:
        return accuracy
    return replace(accuracy, lower_95=interval[0], upper_95=interval[1])


def ranked(methods: list[Method], compare: Comparer) -> tuple[list[Method], list[Method]]:
    """Best first with ranks, and those that were not scored."""
    scored = [each for each in methods if each.score is not None]
    scored.sort(key=lambda each: (each.drop is None, -_gain(each), each.recipe))
    placed: list[Method] = []
    for place, each in enumerate(scored, start=1):
        best = next((of for of in placed if of.rank == placed[-1].rank), None)
        rank = place if best is None or compare.are_apart(best, each) else best.rank
        placed.append(replace(each, rank=rank))
    return placed, sorted((each for each in methods if each.score is None), key=_name)


def _name(method: Method) -> str:
    return method.recipe


def _gain(method: Method) -> float:
    """The change from float, the more the better; of what has no float the score."""
    if method.drop is not None:
        return -method.drop
    assert method.score is not None
    return method.score


def with_front(methods: list[Method], which: str, compare: Comparer) -> list[Method]:
    """Marks the Pareto front of those that passed, float among them, in one cost."""
    passed = {
        (cost, _gain(each)): each
        for each in methods
        if each.may_ship
        and not each.is_float
        and each.drop is not None
        and (cost := each.cost(which)) is not None
    }
    float_costs = [cost for each in methods if (cost := _float_cost(each.record, which))]
    reference = [(median(float_costs), 0.0)] if float_costs else []
    marked: dict[str, bool] = {}  # whether it is there by chance alone
    cheaper: Method | None = None
    for place in pareto_front([*passed, *reference]):
        if (each := passed.get(place)) is not None:
            marked[each.recipe] = cheaper is not None and not compare.are_apart(each, cheaper)
            cheaper = each
    return [
        each
        if each.recipe not in marked
        else replace(
            each,
            fronts=(*each.fronts, which),
            by_chance=(*each.by_chance, *([which] if marked[each.recipe] else [])),
        )
        for each in methods
    ]


def _float_cost(record: dict, which: str) -> float | None:
    if which == SIZE:
        return (record.get("size_bytes") or {}).get("float")
    return (record.get("cpu") or {}).get("float_ms") if which == HOST else None


def recommended_on(target: str, methods: Sequence[Method]) -> Recommended:
    timed = [each for each in methods if each.cost(target) is not None and not each.is_float]
    ships = [each for each in timed if each.may_ship]
    if not ships:
        states = ", ".join(f"{each.recipe} {each.state}" for each in timed)
        return Recommended(target, None, f"no recipe that was timed there passed: {states}")
    (record,) = to_ship([each.record for each in ships], target)
    best = next(each for each in ships if each.record is record)
    fastest = min(ships, key=lambda each: _known_cost(each, target))
    told = [f"{_known_cost(best, target):.3g} ms"]
    if fastest is not best:
        share = same_latency(target)
        told.append(
            f"within about {share:.0%} of {fastest.recipe} ({_known_cost(fastest, target):.3g} ms),"
            f" and {_advantage(best, fastest)}"
        )
    slower = [each for each in ships if each is not best and each is not fastest]
    if fastest is best and slower:
        following = min(slower, key=lambda each: _known_cost(each, target))
        told.append(f"next {following.recipe} with {_known_cost(following, target):.3g} ms")
    faster = [
        each
        for each in timed
        if not each.may_ship and _known_cost(each, target) < _known_cost(best, target)
    ]
    told += [
        f"{each.recipe} is faster ({_known_cost(each, target):.3g} ms), but {each.state}"
        for each in faster
    ]
    count = f"of {len(ships)} that pass" if len(ships) > 1 else "that passes"
    first = "the fastest" if fastest is best else "as fast as the fastest"
    return Recommended(target, best.recipe, f"{first} {count}: {'; '.join(told)}")


def _known_cost(method: Method, target: str) -> float:
    cost = method.cost(target)
    assert cost is not None
    return cost


def _advantage(best: Method, fastest: Method) -> str:
    """In which figure `to_ship` preferred one of two that are as fast."""
    exceptions = [
        "unsupported" in (of.record.get("gates") or {}).values() for of in (best, fastest)
    ]
    if exceptions == [False, True]:
        return "needs no declared exception"
    gates = [(of.record.get("gates") or {}).get("cpu_speedup") for of in (best, fastest)]
    if gates[0] == "passed" != gates[1]:
        return "its CPU speed is gated"
    sizes = best.size, fastest.size
    if sizes[0] is not None and sizes[1] is not None and sizes[0] < sizes[1]:
        return "smaller"
    return "more accurate, or listed first"
