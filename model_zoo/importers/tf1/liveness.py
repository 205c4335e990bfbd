"""Under which outcomes of which predicates a tensor is alive.

That is kept as a disjunction of conjunctions of (predicate, outcome), so a `Merge` of two, three or
four inputs, nested or not, ends a condition exactly when one of its inputs is alive whatever the
outcomes are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce

MOST_TERMS = 64

Literal = tuple[str, bool]
Term = frozenset[Literal]
Alive = frozenset[Term]  # a disjunction of terms
ALWAYS: Alive = frozenset({frozenset()})


def literal(predicate: str, outcome: bool) -> Alive:
    return frozenset({frozenset({(predicate, outcome)})})


def all_of(conditions: Iterable[Alive]) -> Alive:
    return reduce(_both, dict.fromkeys(conditions), ALWAYS)


def any_of(conditions: Iterable[Alive]) -> Alive:
    terms = frozenset().union(*conditions)
    return ALWAYS if _tautology(terms) else _bounded(_joined(terms))


def _joined(terms: Alive) -> Alive:
    """With one term for two that differ in the outcome of one predicate alone: an inner condition
    that ends in a branch or in a loop leaves the outer one."""
    for term in terms:
        for name, value in term:
            other = term - {(name, value)} | {(name, not value)}
            if other in terms:
                return _joined(terms - {term, other} | {term - {(name, value)}})
    return terms


def without(condition: Alive, decided: Callable[[str], bool]) -> Alive:
    """`condition` for any outcome of the predicates that are `decided`."""
    return _bounded(frozenset(lit for lit in t if not decided(lit[0])) for t in condition)


def _both(one: Alive, other: Alive) -> Alive:
    if ALWAYS in (one, other) or one == other:
        return other if one == ALWAYS else one
    terms = (a | b for a in one for b in other)
    return _bounded(t for t in terms if not any((name, not value) in t for name, value in t))


def _bounded(terms: Iterable[Term]) -> Alive:
    """Without terms that others imply. Too many terms count as always: extraction checks that no
    control flow came along."""
    distinct = frozenset(terms)
    shortest = frozenset(t for t in distinct if not any(other < t for other in distinct))
    return shortest if len(shortest) <= MOST_TERMS else ALWAYS


def _tautology(terms: Alive) -> bool:
    if frozenset() in terms:
        return True
    if not terms:
        return False
    name = next(iter(next(iter(terms))))[0]
    return all(
        _tautology(frozenset(t - {(name, value)} for t in terms if (name, not value) not in t))
        for value in (True, False)
    )
