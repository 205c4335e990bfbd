"""The non-inferiority test: exact where theory is, honest where only simulation can tell."""

import re
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.noninferiority import failures, passes
from benchmarks.simulated_pairs import Detections, MeanIou, Top1
from int8gate.validation.evaluation import DistinctOutputs
from int8gate.validation.metrics.registry import metric
from int8gate.validation.noninferiority import (
    NonInferiority,
    enough_samples,
    non_inferiority,
    upper_bound,
)

TOP1 = metric("top1")


def rows(correct: np.ndarray) -> np.ndarray:
    return np.stack([correct, np.ones(len(correct))], axis=1).astype(float)


def flips(n: int, losses: int, gains: int = 0, wrong: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a float and a quantized model; `wrong` samples are wrong in both."""
    reference, quantized = np.ones(n), np.ones(n)
    quantized[:losses] = 0
    reference[losses : losses + gains] = 0
    reference[n - wrong :] = quantized[n - wrong :] = 0
    return rows(reference), rows(quantized)


def judge(pair, tolerance=0.01, sources=None, score=TOP1, **options) -> NonInferiority:
    options = {"chance": 0.1, "distinct_outputs": 100} | options
    sources = np.arange(len(pair[0])) if sources is None else sources
    return non_inferiority(score, *pair, sources, tolerance, **options)


def too_many(false_passes: int, simulations: int) -> bool:
    """Whether a rate above 5% explains the passes; wrongly so once in a thousand times."""
    from scipy.stats import binomtest

    return binomtest(false_passes, simulations, 0.05, alternative="greater").pvalue < 0.001


def heavy(*scenario):
    return pytest.param(*scenario, marks=pytest.mark.heavy)


HARD = [
    (Top1(1000, 0.005, symmetric=0.0, drop=0.005), 400),
    (Top1(300, 0.005, symmetric=0.01, drop=0.005), 400),
    heavy(Top1(4000, 0.02, symmetric=0.03, drop=0.02), 400),
    (Top1(1000, 0.02, symmetric=0.01, drop=0.02, cluster=10), 400),
    heavy(Top1(4000, 0.01, symmetric=0.01, drop=0.01, cluster=10, mixed=True), 200),
    (MeanIou(300, 0.02, 0.02, "pictures"), 200),
    (MeanIou(2000, 0.02, 0.02, "rare class", presence=0.02), 80),
    (MeanIou(1000, 0.02, 0.02, "large pictures", presence=0.03), 100),
    (Detections(1000, 0.02, 0.02, "rare class", presence=0.05), 30),
    heavy(Detections(4000, 0.02, 0.02, "pictures", classes=1, metric="oks_ap"), 60),
]


@pytest.mark.parametrize(("scenario", "simulations"), HARD, ids=lambda value: str(value))
def test_passes_at_the_margin_are_rare(scenario, simulations):
    assert not too_many(passes(scenario, simulations), simulations)


@pytest.mark.parametrize(("scenario", "simulations"), [HARD[1], HARD[3], HARD[6]], ids=str)
def test_a_percentile_bootstrap_would_be_caught(scenario, simulations):
    assert too_many(passes(scenario, simulations, naive=True), simulations)


@pytest.mark.parametrize(
    "scenario",
    [
        Top1(2000, 0.01, symmetric=0.01, drop=0.0),
        MeanIou(1000, 0.01, drop=0.0),
        MeanIou(2000, 0.02, drop=0.0, presence=0.05),
        Detections(1000, 0.02, 0.0, "rare class", presence=0.1),
    ],
    ids=str,
)
def test_a_model_without_drop_passes_nearly_always(scenario):
    assert passes(scenario, 40) >= 38


@pytest.mark.parametrize("losses", [0, 1, 4, 20])
def test_losses_alone_give_the_clopper_pearson_bound(losses):
    from scipy.stats import beta

    n, seeds = 1500, 20
    uppers = [judge(flips(n, losses), seed=seed).drop_upper_95 for seed in range(seeds)]
    assert np.mean(uppers) == pytest.approx(beta.ppf(0.95, losses + 1, n - losses), rel=0.02)


@pytest.mark.parametrize(("n", "verdict"), [(270, "inconclusive"), (330, "passed")])
def test_no_discordance_follows_the_rule_of_three(n, verdict):
    assert judge(flips(n, losses=0)).verdict == verdict


@given(losses=st.integers(0, 12), gains=st.integers(0, 12), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_gains_help_and_losses_hurt(losses, gains, seed):
    result = judge(flips(900, losses, gains), seed=seed)
    assert result.drop == pytest.approx((losses - gains) / 900)
    assert result.drop_upper_95 > result.drop
    more = judge(flips(900, losses + 3, gains), seed=seed)
    assert more.drop_upper_95 > result.drop_upper_95


@pytest.mark.parametrize("n", [1000, 4000])
def test_no_bound_is_nearer_than_the_drop_of_a_score_that_goes_in_steps(n):
    scenario = Detections(n, 0.02, 0.02, "pictures", classes=1, metric="oks_ap")
    for seed in range(10):
        pairs = scenario.simulate(np.random.default_rng(seed))
        models = pairs.reference, pairs.quantized
        found = judge(models, 0.0, score=pairs.metric, resamples=39)
        assert found.drop_lower_95 <= found.drop <= found.drop_upper_95


def test_a_drop_beyond_the_tolerance_fails():
    result = judge(flips(1000, losses=20))
    assert (result.verdict, result.samples_needed) == ("failed", None)
    assert "top1 drops by 0.02, beyond the tolerance of 0.01" in result.reason


def test_failed_takes_more_than_a_point_estimate():
    """At no true drop 200 samples scatter beyond 1% often enough; that is no failure."""
    scenario = Top1(200, 0.01, drop=0.0, symmetric=0.04)
    beyond = [
        judge(pair, tolerance=0.01)
        for pair in (flips(200, losses=3), flips(200, losses=6, gains=2))
    ]
    assert [each.verdict for each in beyond] == ["inconclusive", "inconclusive"]
    assert all(each.drop > each.tolerance > each.drop_lower_95 for each in beyond)
    assert all(each.samples_needed > 200 for each in beyond)
    assert failures(scenario, 200) <= 4


@pytest.mark.parametrize("losses", [15, 25, 60])
def test_the_lower_bound_is_that_of_clopper_and_pearson(losses):
    from scipy.stats import beta

    n, seeds = 1000, 20
    lowers = [judge(flips(n, losses), seed=seed).drop_lower_95 for seed in range(seeds)]
    assert np.mean(lowers) <= beta.ppf(0.05, losses, n - losses + 1)
    assert np.mean(lowers) == pytest.approx(beta.ppf(0.05, losses, n - losses + 1), abs=0.0025)


def with_class(n: int, pictures: int) -> MeanIou:
    """Rows (n, 2 * 3) of a segmenter of three classes, the last in so many pictures."""
    union = np.full((n, 3), 100.0)
    union[pictures:, 2] = 0
    return np.hstack([0.9 * union, union])


def test_losses_may_hide_in_a_class_that_few_pictures_have():
    common, rare = with_class(1000, 900), with_class(1000, 20)
    score = metric("mean_iou")
    assert judge((common, common), score=score).verdict == "passed"
    found = judge((rare, rare), score=score)
    assert found.verdict == "inconclusive"
    assert "class 2 is in 20 of 1000 sources alone" in found.reason
    assert found.drop_upper_95 == pytest.approx((1 - 0.05 ** (1 / 20)) / 3, rel=0.1)


def test_a_class_that_is_never_met_has_nothing_to_lose():
    rows = with_class(1000, 20)
    rows[:, 2] = 0
    assert judge((rows, rows), score=metric("mean_iou")).verdict == "passed"


@pytest.mark.parametrize(("n", "is_worthless"), [(26, False), (4, True)])
def test_better_on_every_picture_is_better_whatever_their_scatter(n, is_worthless):
    """Bicubic enlargement scores 28 dB, give or take 4; the network 1.4 dB more on each."""
    rng = np.random.default_rng(0)
    bicubic = np.stack([rng.normal(28, 4, n), np.full(n, 14.0), np.ones(n)], axis=1)
    rows = bicubic + np.array([1.4, 0, 0])
    chance = metric("psnr").score(bicubic)
    options = {"score": metric("psnr"), "chance": chance, "tolerance": 9.0}
    assert judge((rows, rows), baseline_statistics=bicubic, **options).is_worthless is is_worthless
    assert judge((bicubic, bicubic), baseline_statistics=bicubic, **options).is_worthless
    assert judge((bicubic, bicubic), baseline_statistics=rows, **options).is_worthless


@settings(max_examples=10, deadline=None)
@given(tolerance=st.floats(0.005, 0.05), seed=st.integers(0, 9))
def test_enough_samples_let_a_small_loss_pass(tolerance, seed):
    """A third of the tolerance lost, as many flips beside it as the tolerance has."""
    everything = rows(np.random.default_rng(seed).random(6000) < 0.95)
    n = enough_samples(TOP1, everything, np.arange(6000), tolerance)
    losses, gains = round(n * tolerance * 5 / 6), round(n * tolerance / 2)
    assert judge(flips(n, losses, gains), tolerance=tolerance, seed=seed).verdict == "passed"


def test_a_rare_class_takes_more_samples():
    common, rare = with_class(1000, 900), with_class(1000, 20)
    score = metric("mean_iou")
    few, many = (enough_samples(score, each, np.arange(1000), 0.01) for each in (common, rare))
    assert many > 10 * few


@given(st.integers(0, 30), st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_narrow_is_within_twice_the_interval(losses, gains):
    result = judge(flips(2000, losses, gains))
    if result.is_narrow:
        assert result.verdict == "passed"
    clear = result.drop + 2 * (result.drop_upper_95 - result.drop) <= result.tolerance
    assert result.is_narrow == (result.verdict == "passed" and not clear)


def test_a_drop_of_the_tolerance_is_inconclusive_for_ever():
    result = judge(flips(1000, losses=10))
    assert (result.verdict, result.samples_needed) == ("inconclusive", None)


@pytest.mark.parametrize(("losses", "gains"), [(6, 0), (8, 6), (3, 3)])
def test_the_samples_it_asks_for_settle_it(losses, gains):
    n = 600 if losses == 3 else 1000
    result = judge(flips(n, losses, gains), tolerance=0.008)
    assert result.verdict == "inconclusive"
    assert f"about {result.samples_needed} samples would settle it" in result.reason

    def scaled(factor: float) -> str:
        pair = flips(*(round(factor * count) for count in (n, losses, gains)))
        return judge(pair, tolerance=0.008).verdict

    times = result.samples_needed / n
    assert (scaled(1.25 * times), scaled(0.75 * times)) == ("passed", "inconclusive")


@pytest.mark.parametrize(
    ("pair", "options", "reason"),
    [
        (flips(1000, 0), {"distinct_outputs": 1}, "same output for every sample"),
        (flips(1000, 0, wrong=890), {}, r"not significantly better than chance \(0.1\)"),
        (flips(1000, 0, wrong=1000), {"tolerance": 0.0}, "not significantly better than chance"),
        (flips(60, 0), {}, r"one of 60 samples moves top1 by 0.01667, the tolerance is less"),
    ],
)
def test_what_proves_nothing_is_invalid(pair, options, reason):
    result = judge(pair, **options)
    assert result.verdict == "invalid"
    assert re.search(reason, result.reason)


def test_few_samples_still_show_a_broken_model():
    assert judge(flips(60, losses=50)).verdict == "failed"


def test_samples_of_one_source_count_as_one():
    reference, quantized = flips(2000, losses=10, gains=10)
    apart = judge((reference, quantized))
    together = judge((reference, quantized), sources=np.arange(2000) // 10)
    assert (apart.sources, together.sources) == (2000, 200)
    assert (apart.verdict, together.verdict) == ("passed", "inconclusive")


def test_the_order_of_the_samples_does_not_matter():
    simulated = MeanIou(300, 0.02, 0.02, "classes").simulate(np.random.default_rng(0))
    sources = simulated.sources // 3
    order = np.random.default_rng(1).permutation(300)
    pair = simulated.reference, simulated.quantized
    straight = judge(pair, sources=sources, score=simulated.metric)
    shuffled = judge([part[order] for part in pair], sources=sources[order], score=simulated.metric)
    assert shuffled.drop_upper_95 == pytest.approx(straight.drop_upper_95, rel=1e-6)
    assert judge(pair, sources=sources, score=simulated.metric) == straight


def test_statistics_that_do_not_add_up_give_the_same_bound():
    pair, sources = flips(1200, losses=9, gains=4, wrong=100), np.arange(1200) // 3
    additive = judge(pair, sources=sources)
    general = judge(pair, sources=sources, score=replace(TOP1, additive=False))
    assert general.drop == additive.drop
    assert general.drop_upper_95 == pytest.approx(additive.drop_upper_95, rel=0.06)


def test_a_metric_that_is_better_when_lower():
    def error_rate(statistics, weights=None):
        return 1 - TOP1.score(statistics, weights)

    pair = flips(1000, losses=3, wrong=100)
    lower = judge(pair, score=replace(TOP1, higher_is_better=False, score=error_rate), chance=0.9)
    assert lower.drop == pytest.approx(judge(pair).drop)
    assert lower.drop_upper_95 == pytest.approx(judge(pair).drop_upper_95)
    assert lower.verdict == "passed"


def test_shapes_and_tolerance_are_checked():
    reference, quantized = flips(10, 0)
    with pytest.raises(ValueError, match="not of the same samples"):
        judge((reference, quantized[:5]))
    with pytest.raises(ValueError, match="not of the same samples"):
        judge((reference, quantized), sources=np.arange(5))
    with pytest.raises(ValueError, match=r"tolerance is -0\.1"):
        judge((reference, quantized), tolerance=-0.1)


def test_distinct_outputs_are_counted_across_batches():
    distinct = DistinctOutputs()
    distinct.add(np.zeros((3, 2)))
    assert distinct.count == 1
    distinct.add(np.eye(2) * [0, 1])
    assert distinct.count == 2


def test_it_is_fast():
    simulated = MeanIou(4000, 0.01, 0.0, classes=11).simulate(np.random.default_rng(0))
    start = time.process_time()
    judge((simulated.reference, simulated.quantized), score=simulated.metric)
    assert time.process_time() - start < 2  # about 0.6 s on an idle core


@settings(max_examples=15)
@given(st.integers(100, 2000), st.integers(0, 6), st.integers(0, 4))
def test_the_bound_at_another_confidence(n, losses, gains):
    """That of the gate at 95%; with losses alone it is Clopper and Pearson's at each."""
    from scipy.stats import beta

    pair, sources = flips(n, losses, gains), np.arange(n)
    bounds = [upper_bound(TOP1, *pair, sources, level) for level in (0.95, 0.99, 0.999)]
    assert bounds[0] == judge(pair).drop_upper_95
    assert bounds == sorted(bounds)
    if not gains:
        exact = [beta.ppf(level, losses + 1, n - losses) for level in (0.95, 0.99, 0.999)]
        np.testing.assert_allclose(bounds, exact, rtol=0.2)
