"""Better, worse, drifted, the same: what tells them apart, and what is too much."""

import re
from dataclasses import replace

import numpy as np
import pytest
from accepted_figures import figures, figures_of, top1
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from int8gate.validation.case_summary import Accuracy, Figures, Npu, Size
from int8gate.validation.comparing.changes import compare
from int8gate.validation.comparing.limits import BASELINE_LIMITS, Limit, exceeded, parse_limits
from int8gate.validation.comparing.paired import paired_change, score_interval, unpaired_change
from int8gate.validation.comparing.sample_scores import Predictions

MIRRORED = {"better": "worse", "worse": "better", "same": "same", "drifted": "drifted"}
TOOLS = {"host": "x86_64", "ethos-u-vela": "5.2.0"}
CASE = "tiny-tflite_int8"
MEASURED = Figures(
    environment=TOOLS,
    artifact="a" * 64,
    accuracy=Accuracy("top1", 0.9, 2000, 2000, float=0.91, tolerance=0.009),
    size_bytes=Size(quantized=1000, float=4000),
    npu={"npu": Npu(coverage=1.0, latency_ms=0.615107, compiler="vela 5.2.0")},
    sqnr_db=31.0,
    cpu_speedup=3.0,
    judged=frozenset({"accuracy", "size", "npu_speedup", "cpu_speedup"}),
)


def by_figure(before: Figures, now: Figures, **options) -> dict:
    return {change.figure: change for change in compare(CASE, before, now, **options)}


def with_npu(**changed) -> Figures:
    return replace(MEASURED, npu={"npu": replace(MEASURED.npu["npu"], **changed)})


def flipped(n: int, losses: int, gains: int = 0, seed: int = 0) -> tuple[Predictions, Predictions]:
    """Two runs of n samples, right in about 0.9: so many lost, so many gained."""
    rng = np.random.default_rng(seed)
    before = rng.random(n) < 0.9
    now = before.copy()
    now[rng.choice(np.flatnonzero(before), losses, replace=False)] = False
    now[rng.choice(np.flatnonzero(~before), gains, replace=False)] = True
    return top1(before), top1(now)


@given(figures, figures)
@settings(max_examples=200, deadline=None)
def test_to_swap_the_runs_swaps_better_and_worse(before, now):
    there = by_figure(before, now)
    back = by_figure(now, before)
    assert there.keys() == back.keys()
    for name, change in there.items():
        assert back[name].verdict == MIRRORED[change.verdict]
        assert back[name].loss == pytest.approx(-change.loss)


@given(st.integers(0, 30), st.integers(0, 30))
@settings(max_examples=20, deadline=None)
def test_to_swap_paired_runs_turns_the_change_around(losses, gains):
    one, other = flipped(600, losses, gains)
    there, back = paired_change(one, other), paired_change(other, one)
    assert (back.drop, back.at_least) == pytest.approx((-there.drop, there.at_least))
    assert there.at_least <= abs(there.drop)


@given(figures, st.data())
@settings(max_examples=200, deadline=None)
def test_an_improvement_never_fails(before, data):
    def less(number):
        return data.draw(st.floats(0.1, 1)) * number

    def nearer_to_one(share):
        return max(share, 1 - less(1 - share))

    accuracy, size, npu = before.accuracy, before.size_bytes, {}
    if accuracy:
        accuracy = replace(accuracy, quantized=nearer_to_one(accuracy.quantized))
    if size:
        size = replace(size, quantized=max(1, int(less(size.quantized))))
    for target, was in before.npu.items():
        latency = was.latency_ms and less(was.latency_ms)
        coverage = None if was.coverage is None else nearer_to_one(was.coverage)
        npu[target] = replace(was, latency_ms=latency, coverage=coverage)
    now = replace(before, accuracy=accuracy, size_bytes=size, npu=npu)
    strictest = dict.fromkeys(BASELINE_LIMITS, Limit(0.0))
    assert exceeded(compare(CASE, before, now), strictest) == []


@given(figures)
@settings(deadline=None)
def test_nothing_changed_is_the_same_and_says_nothing_to_do(measured):
    for change in compare(CASE, measured, measured):
        assert (change.verdict, change.loss, change.cure) == ("same", 0, "")


class TestDeterministic:
    @pytest.mark.parametrize(
        ("latency", "verdict"),
        [(0.615107, "same"), (0.615108, "worse"), (0.615106, "better"), (0.68, "worse")],
    )
    def test_modelled_latency_is_compared_exactly(self, latency, verdict):
        assert by_figure(MEASURED, with_npu(latency_ms=latency))["npu_latency"].verdict == verdict

    def test_one_byte_counts_and_fails_nothing(self):
        now = replace(MEASURED, size_bytes=Size(quantized=1001, float=4000))
        change = by_figure(MEASURED, now)["size"]
        assert (change.verdict, change.loss) == ("worse", 1)
        assert exceeded([change], BASELINE_LIMITS) == []
        assert exceeded([change], {"size": Limit(0.0)})

    def test_any_operator_that_falls_back_fails(self):
        change = by_figure(MEASURED, with_npu(coverage=0.99))["coverage"]
        (sentence,) = exceeded([change], BASELINE_LIMITS)
        assert "share of operators on npu fell from 1.0000 to 0.9900" in sentence

    def test_other_versions_are_named_and_the_same_ones_too(self):
        slower = with_npu(latency_ms=0.7)
        same = by_figure(MEASURED, slower)["npu_latency"]
        assert "host and versions are the same" in same.sentence
        elsewhere = replace(slower, environment={**TOOLS, "ethos-u-vela": "5.3.0"})
        other = by_figure(MEASURED, elsewhere)["npu_latency"]
        assert "ethos-u-vela 5.2.0 → 5.3.0" in other.sentence
        assert exceeded([other], BASELINE_LIMITS), "a slower model is one, whoever made it slower"

    def test_the_sentence_has_figures_share_and_next_command(self):
        change = by_figure(MEASURED, with_npu(latency_ms=0.6766177))["npu_latency"]
        assert "latency on npu rose from 0.615107 ms to 0.676618 ms (+10.00%)" in change.sentence
        assert "pytest --int8-case tiny-tflite_int8 --int8-report=report" in change.cure
        full = compare("full:tiny-a", MEASURED, with_npu(latency_ms=0.7))
        command = "pytest --int8-case tiny-a --int8-profile=full"
        assert any(command in change.cure for change in full)

    def test_a_figure_that_is_gone_fails_where_its_gate_was_run(self):
        gone = by_figure(MEASURED, replace(MEASURED, size_bytes=None))["size"]
        assert "size was 1000 bytes and is not measured now" in gone.sentence
        assert exceeded([gone], {"size": Limit(1e9, is_share=False)})
        not_run = replace(MEASURED, size_bytes=None, judged=frozenset({"accuracy"}))
        assert "size" not in by_figure(MEASURED, not_run)


class TestOfThisHost:
    @pytest.mark.parametrize(
        ("sqnr", "environment", "verdict"),
        [
            (30.5, TOOLS, "worse"),
            (30.5, {**TOOLS, "host": "arm64"}, "drifted"),
            (31.5, {**TOOLS, "host": "arm64"}, "drifted"),
            (24.0, {**TOOLS, "host": "arm64"}, "worse"),
        ],
        ids=["here", "elsewhere", "elsewhere, up", "elsewhere, far"],
    )
    def test_fidelity_drifts_between_hosts(self, sqnr, environment, verdict):
        now = replace(MEASURED, sqnr_db=sqnr, environment=environment)
        assert by_figure(MEASURED, now)["fidelity"].verdict == verdict

    @pytest.mark.parametrize(("speedup", "verdict"), [(2.4, "drifted"), (2.0, "worse")])
    def test_a_measured_time_drifts_within_its_noise(self, speedup, verdict):
        now = replace(MEASURED, cpu_speedup=speedup)
        assert by_figure(MEASURED, now)["cpu_speedup"].verdict == verdict


class TestAccuracy:
    def test_pairs_find_what_intervals_cannot(self):
        runs = flipped(2000, losses=12)
        before, now = (figures_of(each) for each in runs)
        paired = by_figure(before, now, predictions=runs)["accuracy"]
        assert paired.verdict == "worse"
        assert "in pairs on 2000 samples of 2000 sources" in paired.sentence
        assert exceeded([paired], BASELINE_LIMITS)
        by_interval = by_figure(before, now, predictions="no predictions were kept before")
        assert by_interval["accuracy"].verdict == "drifted"
        assert "by interval (no predictions were kept before)" in by_interval["accuracy"].sentence
        assert exceeded(by_interval.values(), BASELINE_LIMITS) == []

    def test_pairs_have_more_power_over_many_runs(self):
        found = {"pairs": 0, "intervals": 0}
        for seed in range(40):
            runs = flipped(1000, losses=14, gains=3, seed=seed)
            before, now = (figures_of(each).accuracy for each in runs)
            found["pairs"] += not paired_change(*runs).may_be_chance
            found["intervals"] += not unpaired_change(before, now, "").may_be_chance
        assert found["intervals"] < 4
        assert found["pairs"] > 30

    def test_noise_of_another_machine_is_seldom_taken_for_a_regression(self):
        """As many lost as gained by chance: at most one in twenty is called worse."""
        from scipy.stats import binomtest

        worse, simulations = 0, 200
        for seed in range(simulations):
            rng = np.random.default_rng(seed)
            losses = rng.binomial(20, 0.5)
            change = paired_change(*flipped(800, losses, 20 - losses, seed))
            worse += change.drop > 0 and not change.may_be_chance
        assert binomtest(worse, simulations, 0.05, alternative="greater").pvalue > 0.001

    @pytest.mark.parametrize(("losses", "is_found"), [(4, False), (5, True)])
    def test_five_losses_are_significant_as_in_a_sign_test(self, losses, is_found):
        assert paired_change(*flipped(1000, losses)).may_be_chance is not is_found

    def test_worse_within_the_tolerance_is_told_and_passes(self):
        runs = flipped(2000, losses=9)  # 0.0045 of 0.005
        before, now = (figures_of(each) for each in runs)
        change = by_figure(before, now, predictions=runs)["accuracy"]
        assert change.verdict == "worse"
        assert exceeded([change], BASELINE_LIMITS) == []
        assert exceeded([change], parse_limits("accuracy:0.3%"))

    def test_another_evaluation_set_is_compared_by_interval(self):
        before, now = flipped(2000, losses=400)
        now = replace(now, evaluation_set="set b")
        change = by_figure(figures_of(before), figures_of(now), predictions=(before, now))
        assert change["accuracy"].verdict == "worse"
        assert "have not the same evaluation set" in change["accuracy"].sentence

    def test_fewer_samples_are_compared_on_those_that_both_have(self):
        before, now = flipped(1000, losses=20)
        fewer = replace(now, statistics=now.statistics[:500], sources=now.sources[:500])
        assert "on 500 samples" in paired_change(before, fewer).how

    def test_another_metric_fails_and_says_so(self):
        other = replace(MEASURED, accuracy=replace(MEASURED.accuracy, metric="mean_iou"))
        change = by_figure(MEASURED, other)["accuracy"]
        assert "top1 before, mean_iou now" in change.sentence
        assert exceeded([change], BASELINE_LIMITS)

    def test_decibels_without_predictions_are_compared_with_the_limit_alone(self):
        before = replace(MEASURED, accuracy=Accuracy("psnr", 32.0, 400, 400, "dB", tolerance=0.3))
        now = replace(before, accuracy=replace(before.accuracy, quantized=31.5))
        change = by_figure(before, now)["accuracy"]
        assert "with no interval" in change.sentence
        assert exceeded([change], BASELINE_LIMITS)

    def test_a_model_that_changed_itself_is_told(self):
        accuracy = replace(MEASURED.accuracy, quantized=0.8, float=0.82)
        now = replace(MEASURED, accuracy=accuracy, artifact="b" * 64)
        said = by_figure(MEASURED, now)["accuracy"].summary
        assert "the float model from 0.9100 to 0.8200" in said

    def test_a_lower_score_of_the_same_file_is_told_as_such(self):
        now = replace(MEASURED, accuracy=replace(MEASURED.accuracy, quantized=0.8))
        assert (
            "the model file is the same, byte for byte"
            in by_figure(MEASURED, now)["accuracy"].summary
        )


def test_the_interval_is_that_of_a_binomial_share():
    low, high = score_interval(top1(np.arange(1000) >= 100))
    assert (low, high) == pytest.approx((0.9 - 1.645 * 0.00949, 0.9 + 1.645 * 0.00949), abs=0.002)


class TestLimits:
    def test_shares_and_amounts(self):
        limits = parse_limits("accuracy:0.5%, npu_latency:5% ,fidelity:2")
        assert limits == {
            "accuracy": Limit(0.005),
            "npu_latency": Limit(0.05),
            "fidelity": Limit(2.0, is_share=False),
        }

    @given(st.floats(0, 100, exclude_min=True), st.floats(1e-3, 1e3), st.floats(0, 1))
    @settings(deadline=None)
    def test_a_loss_fails_just_beyond_its_limit(self, percent, latency, share):
        assume(abs(share - 0.5) > 0.01)
        rise = 2 * share * percent / 100
        assume(rise > 1e-4)
        before, now = with_npu(latency_ms=latency), with_npu(latency_ms=latency * (1 + rise))
        change = by_figure(before, now)["npu_latency"]
        assert bool(exceeded([change], parse_limits(f"npu_latency:{percent}%"))) == (share > 0.5)

    def test_a_figure_without_a_limit_does_not_fail(self):
        change = by_figure(MEASURED, with_npu(latency_ms=9.0))["npu_latency"]
        assert exceeded([change], parse_limits("accuracy:0.5%")) == []

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "'' is no limit: expected FIGURE:AMOUNT as in accuracy:0.5%"),
            ("accuracy", "'accuracy' is no limit"),
            ("npu_latencey:5%", "did you mean npu_latency?"),
            ("latency:5%", "did you mean npu_latency?"),
            ("weight:5%", "'weight' is no figure: expected accuracy, size"),
            ("size:", "size: is no limit: expected a number from 0"),
            ("size:5%%", "size:5%% is no limit"),
            ("size:-1%", "size:-1% is no limit"),
            ("size:nan", "size:nan is no limit"),
            ("size:inf", "size:inf is no limit"),
            ("size:1%,size:2%", "size has two limits"),
            ("size:1%,", "'' is no limit"),
        ],
    )
    def test_what_is_wrong_is_said(self, text, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            parse_limits(text)
