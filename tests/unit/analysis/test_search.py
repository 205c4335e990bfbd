"""Searching widths: as cheap as can be within the bound, anytime, verified, refused clearly."""

from __future__ import annotations

from itertools import count, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.mixed_search import exhaustive, plain_greedy, random_table
from int8gate.analysis import search_budget
from int8gate.analysis.mix_table import Boundary, MixTable, Option
from int8gate.analysis.search import METHODS, search
from int8gate.analysis.search_budget import Budget

ALL = sorted(METHODS)
NEAR = 1.01
seeds = st.integers(0, 2**32 - 1)


def chain(layers: int, boundary: float = 1.0, loss: float = 1.0) -> MixTable:
    """Layers that all cost 10 wide and 1 narrow, and lose `loss` narrow."""
    names = [f"layer{number}" for number in range(layers)]
    both = [Option("int8", loss, 1.0), Option("float32", 0.0, 10.0)]
    ends = pairwise(names)
    return MixTable(dict.fromkeys(names, both), [Boundary(*pair, boundary) for pair in ends])


@given(seeds)
@settings(max_examples=8, deadline=None, derandomize=True)
def test_integer_programming_equals_exhaustive_search_and_the_others_are_near(seed):
    table, bound = random_table(seed)
    best = exhaustive(table, bound)
    for method in ALL:
        found = search(table, bound, method=method, seed=seed % 1000)
        mix = table.numbered(found.widths)
        assert found.cost == pytest.approx(table.costs_of(mix))
        assert found.loss == pytest.approx(table.losses_of(mix))
        assert found.loss <= bound + table.tolerance
        exact = 1 + 1e-9
        assert best / exact <= found.cost <= best * (exact if method == "integer" else NEAR), method
        if found.is_optimal:
            assert found.cost <= best * exact
    assert search(table, bound).is_optimal


def test_plain_greedy_is_what_needs_improvements():
    """The reason for greedy's exchanges and runs; else they could go."""
    gaps = [plain_greedy(*each) / exhaustive(*each) for each in map(random_table, range(12))]
    assert max(gaps) > NEAR


@pytest.mark.parametrize("method", ALL)
@given(seeds)
@settings(max_examples=3, deadline=None, derandomize=True)
def test_without_a_budget_all_are_wide_and_more_budget_is_never_dearer(method, seed):
    table, bound = random_table(seed)
    costs = []
    for steps in (0, 1, 4, 16, 64):
        found = search(table, bound, method=method, seed=1, budget=Budget(steps=steps))
        assert found.loss <= bound + table.tolerance
        assert found.steps <= steps
        costs.append(found.cost)
        if steps == 0:
            assert found.widths == table.named(table.widest)
            assert not found.is_optimal
    assert costs == sorted(costs, reverse=True)
    nothing = search(table, bound, method=method, budget=Budget(seconds=0))
    assert nothing.widths == table.named(table.widest)


@pytest.mark.parametrize("method", ALL)
def test_the_same_seed_gives_the_same_mix(method):
    table, bound = random_table(5)
    first, again = (search(table, bound, method=method, seed=3) for _ in range(2))
    assert (first.widths, first.steps) == (again.widths, again.steps)


@pytest.mark.parametrize("method", ALL)
def test_a_region_that_pays_only_as_a_whole_is_narrowed(method):
    """One layer alone saves 9 and has two boundaries of 8: only runs pay."""
    found = search(chain(8, boundary=8.0), 4.0, method=method)
    widths = list(found.widths.values())
    assert widths.count("int8") == 4
    assert sum(a != b for a, b in pairwise(widths)) == 1  # at an end
    assert found.cost == 4 * 1 + 4 * 10 + 8


@pytest.mark.parametrize("method", ["dynamic", "integer"])
def test_a_long_chain_is_solved(method):
    found = search(chain(150), 75.0, method=method)
    assert found.is_optimal
    assert found.cost == pytest.approx(75 * 1 + 75 * 10 + 1)


@pytest.mark.parametrize("method", ALL)
def test_it_ends_when_its_seconds_are_over(method, monkeypatch):
    """By a clock that goes on by a second whenever it is read."""
    seconds = count()
    monkeypatch.setattr(search_budget.time, "monotonic", lambda: float(next(seconds)))
    found = search(chain(40), 20.0, method=method, budget=Budget(seconds=30))
    assert found.steps <= 30
    assert found.seconds <= 40
    assert found.loss <= 20


def test_boundaries_are_charged_by_the_pair_of_widths():
    both = [Option("int8", 0.0, 1.0), Option("float16", 0.0, 1.0)]
    table = MixTable(
        {"a": both, "b": both},
        [
            Boundary("a", "b", {("int8", "float16"): 5.0, ("float16", "int8"): 2.0}),
            Boundary("b", "a", {("int8", "int8"): 7.0}),
        ],
    )
    costs = {
        (a, b): float(table.costs_of(table.numbered({"a": a, "b": b})))
        for a in ("int8", "float16")
        for b in ("int8", "float16")
    }
    assert costs == {
        ("int8", "int8"): 9.0,
        ("int8", "float16"): 7.0,
        ("float16", "int8"): 4.0,
        ("float16", "float16"): 2.0,
    }


def test_losses_below_zero_are_gains():
    """A measured drop may be negative: noise, or luck."""
    table = MixTable(
        {
            "a": [Option("int8", -0.5, 1.0), Option("float32", 0.0, 2.0)],
            "b": [Option("int8", 0.4, 1.0), Option("float32", 0.0, 2.0)],
        }
    )
    for method in ALL:
        assert search(table, 0.0, method=method).widths == {"a": "int8", "b": "int8"}
        tight = search(table, -0.2, method=method)  # less than all wide loses
        assert tight.widths == {"a": "int8", "b": "float32"}


class TestVerification:
    @pytest.mark.parametrize("method", ALL)
    @pytest.mark.parametrize("tells", ["whether", "how much"])
    def test_a_failure_tightens_the_bound_until_one_passes(self, method, tells):
        """The real loss is 1.6 times the table's: 10 of 16 narrow layers pass."""
        table, bound = chain(16), 16.0
        asked = []

        def verify(widths):
            loss = 1.6 * list(widths.values()).count("int8")
            asked.append(loss)
            return loss <= bound if tells == "whether" else loss

        found = search(table, bound, method=method, verify=verify)
        assert asked[0] > bound
        assert found.is_verified
        narrow = list(found.widths.values()).count("int8")
        assert narrow == 10
        assert found.bound < bound
        assert [each.passed for each in found.candidates] == [loss <= bound for loss in asked]
        assert len(asked) <= 8
        if tells == "how much":
            assert [each.measured for each in found.candidates] == asked
            assert len(asked) <= 3

    def test_a_candidate_that_passes_ends_the_search(self):
        asked = []
        found = search(chain(6), 3.0, verify=lambda widths: asked.append(widths) or True)
        assert found.widths == asked[0]
        assert (len(asked), found.is_verified, found.is_optimal) == (1, True, True)

    def test_where_not_even_the_start_passes_it_says_so(self):
        found = search(chain(6), 3.0, verify=lambda widths: False)
        assert found.is_verified is False
        assert set(found.widths.values()) == {"float32"}
        assert found.widths in [each.widths for each in found.candidates]

    def test_no_candidate_is_asked_twice_and_the_number_of_questions_is_kept(self):
        asked = []

        def verify(widths):
            asked.append(tuple(widths.values()))
            return False

        found = search(
            chain(64), 60.0, method="dynamic", verify=verify, budget=Budget(verifications=3)
        )
        assert len(asked) == len(set(asked)) == 3
        assert found.is_verified is None
        assert set(found.widths.values()) == {"float32"}

    def test_without_a_budget_nothing_is_verified(self):
        found = search(chain(4), 2.0, verify=pytest.fail, budget=Budget(seconds=0))
        assert found.is_verified is None
        assert set(found.widths.values()) == {"float32"}

    def test_a_measured_loss_that_is_no_number_is_refused(self):
        with pytest.raises(ValueError, match="verify returned NaN"):
            search(chain(4), 2.0, verify=lambda widths: float("nan"))


OPTION = Option("int8", 0.1, 1.0)


@pytest.mark.parametrize(
    ("options", "boundaries", "message"),
    [
        ({}, [], "the table has no layers"),
        ({"a": []}, [], "layer a offers no width"),
        ({"a": [OPTION, OPTION]}, [], "layer a offers a width twice: int8, int8"),
        ({"a": [Option("int8", np.nan, 1.0)]}, [], "loss of a in int8 is nan: expected a finite"),
        ({"a": [Option("int8", 0.1, np.inf)]}, [], "cost of a in int8 is inf"),
        ({"conv1": [OPTION]}, [Boundary("conv1", "conv", 1.0)], "'conv': did you mean conv1"),
        ({"a": [OPTION]}, [Boundary("a", "a", 1.0)], "begins and ends in the same layer"),
        (
            {"a": [OPTION], "b": [OPTION]},
            [Boundary("a", "b", {("int8", "int4"): 1.0})],
            "layer b is not offered in 'int4': expected one of int8",
        ),
        ({"a": [OPTION], "b": [OPTION]}, [Boundary("a", "b", np.nan)], "is nan: expected a finite"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_in_a_sentence(options, boundaries, message):
    with pytest.raises(ValueError, match=message):
        MixTable(options, boundaries)


def test_a_search_that_cannot_be_is_refused_in_a_sentence():
    table = MixTable({"a": [OPTION], "b": [OPTION]})
    for method in ALL:
        with pytest.raises(ValueError, match=r"no mix of the 2 layers loses as little as 0\.1: "):
            search(table, 0.1, method=method)
    with pytest.raises(ValueError, match="no search method 'greddy': did you mean greedy"):
        search(table, 1.0, method="greddy")
    with pytest.raises(ValueError, match="bound is nan"):
        search(table, float("nan"))
    with pytest.raises(ValueError, match="layer a is not offered in 'int4'"):
        table.numbered({"a": "int4", "b": "int8"})
    with pytest.raises(ValueError, match="no width for layer b"):
        table.numbered({"a": "int8"})
