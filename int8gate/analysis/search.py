"""Which width each layer takes, so that the whole costs least within a loss bound.

    found = search(table, bound=2e-3, method="integer", budget=Budget(seconds=20), seed=0,
                   verify=lambda widths: passes_the_gate(widths))
    found.widths        {"conv1": "int8", "conv2": "float32", ...}

Methods, all with one signature, all anytime (what is best when the budget ends is returned; with
none left that is the start, every layer in its widest width):

    greedy         widths narrowed by cost saved for loss added, then improved by single changes,
                   exchanges of two layers and runs of layers, from many seeded starts. Without
                   these improvements greedy was 11% dearer than the cheapest mix on average and
                   up to 111% (200 small tables, benchmarks/mixed_search.py).
    dynamic        dynamic programming over the layers; the state is the widths of those layers that
                   still have boundaries ahead, with the front of loss against cost. Exact on chains
                   and on graphs with few layers open at a time, as long as fronts are short enough
                   to be kept whole; longer ones are thinned, and see `exact_search.STATES`.
    evolutionary   a population of mixes: crossover by runs of layers, mutation, repair, selection.
    integer        exact: integer programming (HiGHS by `scipy.optimize.milp`), boundary costs by
                   variables of the edges.

The table adds up what was measured layer by layer, which the network need not obey. So `verify`
judges a candidate by the real gate: True, False, or its loss as measured, in the unit of the bound.
Where one fails that the table calls feasible, the bound is tightened and the search goes on; where
one passes, the cheaper mixes between it and the last failure are tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from int8gate.analysis.exact_search import dynamic, integer
from int8gate.analysis.local_search import evolutionary, greedy
from int8gate.analysis.mix_table import MixTable
from int8gate.analysis.search_budget import NO_LIMIT, Budget, BudgetOver, Clock, Improvements
from int8gate.engine.errors import instead

Verify = Callable[[dict[str, str]], "bool | float"]

METHODS: dict[str, Callable[..., Improvements]] = {
    "greedy": greedy,
    "dynamic": dynamic,
    "evolutionary": evolutionary,
    "integer": integer,
}
FINE_ENOUGH = 0.01  # of the bound: verified and failed mixes nearer than this are not parted again


@dataclass(frozen=True)
class Verified:
    """A candidate that `verify` judged: its loss and cost by the table, and its loss as measured
    where it was told.
    """

    widths: dict[str, str]
    loss: float
    cost: float
    passed: bool
    measured: float | None


@dataclass(frozen=True)
class Mix:
    """What a search found. `loss` and `cost` are the table's.

    `is_optimal`: no mix within `bound` is cheaper, as far as the table goes. `is_verified` is None
    where nothing was verified, False where not even the start passed. `bound` is what was left of
    the one that was asked for, `candidates` what was verified, in order.
    """

    widths: dict[str, str]
    loss: float
    cost: float
    bound: float
    method: str
    is_optimal: bool
    is_verified: bool | None
    steps: int
    seconds: float
    candidates: tuple[Verified, ...] = ()


def search(
    table: MixTable,
    bound: float,
    *,
    method: str = "integer",
    budget: Budget = NO_LIMIT,
    seed: int = 0,
    verify: Verify | None = None,
) -> Mix:
    """The cheapest mix that was found whose losses add up to at most `bound`.

    Raises ValueError for an unknown method, a bound that is not finite, and one that no mix meets.
    """
    if method not in METHODS:
        raise ValueError(f"no search method {method!r}: {instead(method, METHODS)}")
    start = _start(table, bound)
    clock = Clock(budget)

    def solve(limit: float) -> tuple[np.ndarray, bool]:
        """The best within `limit` when method or budget end, and whether it is optimal."""
        best, rng = _start(table, limit), np.random.default_rng(seed)
        improvements = METHODS[method](table, limit + table.tolerance, clock, rng, best)
        try:
            while True:
                better = next(improvements)
                if table.costs_of(better) < table.costs_of(best):
                    best = better
        except StopIteration as end:
            return best, bool(end.value)
        except BudgetOver:
            return best, False

    if verify is None:
        best, is_optimal = solve(bound)
        return _mix(table, best, bound, method, is_optimal, None, clock)
    judge = _Judge(table, verify, budget)
    return _verified(table, bound, start, solve, judge, clock, method)


def _start(table: MixTable, bound: float) -> np.ndarray:
    """All wide; the mix of least loss where that is beyond the bound."""
    if not np.isfinite(bound):
        raise ValueError(f"the loss bound is {bound}: expected a finite number")
    for start in (table.widest, table.least_lossy):
        if table.losses_of(start) <= bound + table.tolerance:
            return start
    raise ValueError(
        f"no mix of the {len(table.layers)} layers loses as little as {bound:.4g}: each layer at "
        f"its best loses {table.losses_of(table.least_lossy):.4g} in all: allow more, or offer "
        "wider widths"
    )


@dataclass
class _Judge:
    """Asks `verify`, once for each candidate, as long as its budget lasts."""

    table: MixTable
    verify: Verify
    budget: Budget
    asked: dict[bytes, Verified] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        limit = self.budget.verifications
        return limit is not None and len(self.asked) >= limit

    def __call__(self, candidate: np.ndarray, bound: float) -> Verified:
        """Raises ValueError where a measured loss is not finite."""
        key = candidate.tobytes()
        if key not in self.asked:
            widths = self.table.named(candidate)
            answer = self.verify(widths)
            is_plain = isinstance(answer, (bool, np.bool_))
            measured = None if is_plain else float(answer)
            if measured is not None and np.isnan(measured):
                raise ValueError("verify returned NaN: expected True, False or a measured loss")
            passed = bool(answer) if measured is None else measured <= bound
            loss, cost = float(self.table.losses_of(candidate)), self.table.costs_of(candidate)
            self.asked[key] = Verified(widths, loss, float(cost), passed, measured)
        return self.asked[key]


def _verified(table, bound, start, solve, judge: _Judge, clock: Clock, method: str) -> Mix:
    """Bisects the bound between the largest loss that passed and the smallest that failed."""
    best, verdict = start, None
    passing, failing = float(table.losses_of(start)), np.inf  # of the table's losses
    limit = bound
    is_optimal = False
    while not (clock.is_over or judge.is_over):
        candidate, is_best = solve(limit)
        if verdict and table.costs_of(candidate) >= table.costs_of(best):
            judged = None  # nothing cheaper up to this limit
        else:
            judged = judge(candidate, bound)
        if judged is None or judged.passed:
            passing = max(passing, limit)
            if judged:
                best, verdict, is_optimal = candidate, True, is_best and limit == bound
            if limit == bound or (judged and _is_at(judged.measured, bound)):
                break
            limit = (passing + failing) / 2
        else:
            if np.array_equal(candidate, start):
                verdict = verdict or False
                break
            failing = min(failing, judged.loss)
            limit = _tighter(judged, bound, passing, failing)
        if failing - passing <= FINE_ENOUGH * abs(bound - float(table.losses_of(start))):
            break
    if verdict is None and not (clock.is_over or judge.is_over):
        verdict = judge(start, bound).passed
    candidates = tuple(judge.asked.values())
    return _mix(table, best, limit, method, is_optimal, verdict, clock, candidates)


def _is_at(measured: float | None, bound: float) -> bool:
    return measured is not None and bound - measured <= FINE_ENOUGH * abs(bound)


def _tighter(failed: Verified, bound: float, passing: float, failing: float) -> float:
    """The next bound: as much lower as the measured loss was higher, else half way down."""
    middle = (passing + failing) / 2
    if failed.measured is None or failed.measured <= 0 or failed.loss <= 0:
        return middle
    in_proportion = failed.loss * bound / failed.measured
    return in_proportion if passing < in_proportion < failing else middle


def _mix(table, best, bound, method, is_optimal, verdict, clock: Clock, candidates=()) -> Mix:
    return Mix(
        widths=table.named(best),
        loss=float(table.losses_of(best)),
        cost=float(table.costs_of(best)),
        bound=float(bound),
        method=method,
        is_optimal=is_optimal,
        is_verified=verdict,
        steps=clock.steps,
        seconds=clock.seconds,
        candidates=candidates,
    )
