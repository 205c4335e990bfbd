"""What a tolerance allows, in every gate and whichever direction is better, and what an unclear
result tells its reader to write."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.plugin import xfails
from int8gate.validation import gates
from int8gate.validation.comparing.paired import paired_change
from int8gate.validation.comparing.sample_scores import Predictions
from int8gate.validation.expectations import Expectations, with_own
from int8gate.validation.gates.accuracy import rule_for
from int8gate.validation.metrics.registry import metric
from int8gate.validation.noninferiority import non_inferiority

TOP1 = metric("top1")
EXPECTED = Expectations("0.99 * float", 0.4, 1.0, 1.0, 1.0)
CASE = "unet-tflite_int8"
RULES = ("0.99 * float", "1.01 * float", "float - 0.01", "float + 0.01")


def error_rate(statistics, weights=None):
    return 1 - TOP1.score(statistics, weights)


ERROR = replace(
    TOP1,
    name="error",
    score=error_rate,
    chance=lambda labels: 1 - TOP1.chance(labels),
    higher_is_better=False,
)


def rows(right: int, n: int = 3000) -> np.ndarray:
    return np.stack([np.arange(n) < right, np.ones(n)], axis=1) * 1.0


def expecting(rule: str) -> Expectations:
    return with_own(EXPECTED, {"accuracy": rule}, "test")


def by_error(quantized: int, rule: str = "float + 0.01") -> gates.GateResult:
    """The accuracy gate of a float model with 300 errors of 3,000, and of its quantized self."""
    pair, expected = (rows(2700), rows(quantized)), expecting(rule)
    scores = [error_rate(each) for each in pair]
    result = non_inferiority(
        ERROR,
        *pair,
        np.arange(3000),
        expected.tolerance(scores[0], higher_is_better=False),
        chance=0.9,
        distinct_outputs=9,
    )
    return gates.accuracy_gate(result, rule, ERROR, (*scores, 0.9), CASE)


class TestLowerIsBetter:
    @pytest.mark.parametrize("rule", RULES)
    def test_either_way_to_write_it_allows_as_much(self, rule):
        tolerance = expecting(rule).tolerance(0.5, higher_is_better=False)
        assert tolerance == pytest.approx(0.005 if "*" in rule else 0.01)

    def test_accuracy(self):
        found = [by_error(right).status for right in (2790, 2700, 2676, 2660, 2500)]
        assert found == ["passed", "passed", "inconclusive", "inconclusive", "failed"]

    def test_accuracy_no_better_than_the_baseline_fails(self):
        found = by_error(300)
        assert (found.status, "baseline" in found.message) == ("failed", False)
        assert "chance alone reaches 0.9" in found.message

    def test_the_rule_that_is_proposed_adds(self):
        told = by_error(2694, "1.03 * float").message
        rule = re.search(r'accuracy = "(.+?)"', told)[1]
        assert re.fullmatch(r"1\.\d+ \* float", rule)
        assert by_error(2694, rule).status == "passed"

    @pytest.mark.parametrize(
        ("raw", "status"), [(0.05, "passed"), (0.1, "passed"), (0.2, "failed")]
    )
    def test_raw_pixels(self, raw, status):
        assert gates.raw_pixels_gate(raw, 0.1, EXPECTED, ERROR, CASE).status == status

    @pytest.mark.parametrize(("simulated", "status"), [(0.05, "recorded"), (0.2, "failed")])
    def test_simulated(self, simulated, status):
        scored = {"metric": "error", "simulated": simulated, "host": 0.1, "samples": 9}
        entry = {"target": "qnn_htp", "npu_ops": 1, "cpu_ops": 0, "accuracy": scored}
        assert gates.simulated_gate(entry, EXPECTED, ERROR, CASE).status == status

    @pytest.mark.parametrize(("score", "holds"), [(0.1, True), (0.3, False)])
    def test_reference_and_labels(self, score, holds):
        assert (gates.reference_gate(score, 0.2, ERROR) is None) is holds
        passed = SimpleNamespace(verdict="passed")
        assert (gates.labels_gate(passed, score, 0.2, ERROR, CASE).status == "passed") is holds

    def test_a_change_in_pairs(self, monkeypatch):
        monkeypatch.setattr(
            "int8gate.validation.comparing.paired.metric_of_file", lambda name, declared: ERROR
        )
        before, now = (
            Predictions(CASE, "error", "set", rows(right), np.arange(3000))
            for right in (2700, 2680)
        )
        worse, better = paired_change(before, now), paired_change(now, before)
        assert (worse.drop, better.drop) == pytest.approx((20 / 3000, -20 / 3000))
        assert not worse.may_be_chance
        assert worse.at_least == pytest.approx(better.at_least, rel=0.1)


def test_of_a_score_below_zero_a_share_is_allowed():
    """Such as a log-likelihood."""
    assert EXPECTED.tolerance(-5.0) == pytest.approx(0.05)


@given(
    drop=st.floats(1e-4, 3.0),
    reference=st.floats(0.05, 40.0),
    rule=st.sampled_from(RULES),
    higher=st.booleans(),
)
@settings(deadline=None)
def test_the_rule_that_is_proposed_allows_the_drop_and_little_more(drop, reference, rule, higher):
    proposed = expecting(rule_for(drop, rule, reference, higher))
    allowed = proposed.tolerance(reference, higher)
    assert drop < allowed <= drop * 1.2 + 0.002 * reference


def unclear(n: int, losses: int, where: str | None = None, rule: str = "0.99 * float"):
    pair, expected = (rows(n, n), rows(n - losses, n)), expecting(rule)
    options = {"chance": 0.1, "distinct_outputs": 9}
    result = non_inferiority(TOP1, *pair, np.arange(n), expected.tolerance(1.0), **options)
    scores = (1.0, TOP1.score(pair[1]), 0.1)
    return gates.accuracy_gate(result, rule, TOP1, scores, CASE, where=where)


class TestUnclear:
    @pytest.mark.parametrize(("n", "losses"), [(200, 2), (600, 6), (1000, 11)])
    def test_out_of_reach_it_names_the_line_which_then_passes(self, n, losses):
        found = unclear(n, losses, "models.toml, [models.x]")
        assert found.status == "inconclusive"
        rule = re.search(r'expect = \{ accuracy = "(.+?)" \} in models.toml, ', found.message)[1]
        assert unclear(n, losses, rule=rule).status == "passed"

    def test_of_the_zoo_the_line_stands_in_its_file(self):
        told = unclear(200, 2).message
        assert re.search(
            r'accuracy = ".+" in the case\'s entry of int8gate/validation/expectations', told
        )

    def test_within_reach_more_samples_are_asked_for(self):
        told = unclear(280, 0).message
        assert "samples would settle it" in told
        assert "accuracy =" not in told


class TestTooFewSamples:
    @pytest.mark.parametrize(("n", "rule"), [(60, "0.99 * float"), (900, "float - 0.001")])
    def test_it_is_known_before_anything_is_converted(self, n, rule):
        found = gates.too_few_samples(expecting(rule), n, "models.toml, [models.x]")
        assert found.status == "invalid"
        assert f"one of {n} samples moves the metric by {1 / n:.4g}" in found.message
        wider = re.search(r'accuracy = "(.+?)"', found.message)[1]
        assert gates.too_few_samples(expecting(wider), n, None) is None
        least = int(re.search(r"takes (\d+) or more", found.message)[1])
        assert gates.too_few_samples(expecting(rule), least, None) is None

    @pytest.mark.parametrize("rule", ["0.99 * float", "float - 0.01", "0.7"])
    def test_what_can_be_told_is_left_to_the_test(self, rule):
        assert gates.too_few_samples(expecting(rule), 100, None) is None

    def test_no_tolerance_at_all(self):
        told = gates.too_few_samples(expecting("float"), 4000, None).message
        assert "at most 0: allow more, accuracy = " in told


class TestExceptions:
    """A declared one is stale when the gate passes by more than the noise between runs."""

    @pytest.mark.parametrize(
        ("result", "status"),
        [
            (gates.GateResult("failed"), "unsupported"),
            (gates.GateResult("inconclusive"), "unsupported"),
            (gates.GateResult("passed", is_narrow=True), "unsupported"),
            (gates.GateResult("passed"), "failed"),
            (gates.GateResult("invalid"), "invalid"),
        ],
    )
    def test_judged(self, result, status):
        assert xfails.judged(result, "the peaks are cut", "a file")[0] == status

    def test_the_mark_is_strict_and_takes_no_other_failure(self):
        """Also where a gate ends without having been judged."""
        expected = replace(EXPECTED, unsupported={"size": "nothing to shrink"})
        ((mark,), none) = (xfails.xfail_marks(expected, gate) for gate in ("size", "accuracy"))
        assert mark.kwargs == {
            "reason": "nothing to shrink",
            "raises": xfails.DeclaredUnsupported,
            "strict": True,
        }
        assert none == []

    @pytest.mark.parametrize(("losses", "is_stale"), [(2, True), (15, False), (20, False)])
    def test_by_the_interval_of_the_drop(self, losses, is_stale):
        found = unclear(3000, losses)
        assert (xfails.judged(found, "reason", "a file")[0] == "failed") is is_stale

    def test_by_the_noise_of_a_measured_speedup(self):
        def judged(speedup):
            recipe = SimpleNamespace(gates_cpu_speed=True)
            return xfails.judged(
                gates.cpu_speed_gate(speedup, recipe, 1.0, EXPECTED, CASE), "x", "y"
            )

        assert [judged(x)[0] for x in (0.9, 1.05, 1.2)] == ["unsupported", "unsupported", "failed"]
