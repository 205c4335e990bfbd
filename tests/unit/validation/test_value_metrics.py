"""RMSE, MAE, R2 and AUC against scikit-learn's, and what a lost sample costs."""

from __future__ import annotations

import numpy as np
import pytest
from data_folders import refused
from sklearn import metrics as theirs

from int8gate.validation.bootstrap import pair, unseen_loss
from int8gate.validation.metrics.registry import metric
from int8gate.validation.noninferiority import non_inferiority

RNG = np.random.default_rng(0)
REAL = RNG.normal(5, 2, (400, 2))
FOUND = (REAL + RNG.normal(0, 0.5, REAL.shape)).astype(np.float32)
WEIGHTS = RNG.exponential(size=(3, 400))
EXPECTED = {
    "rmse": lambda w=None: theirs.mean_squared_error(REAL, FOUND, sample_weight=w) ** 0.5,
    "mae": lambda w=None: theirs.mean_absolute_error(REAL, FOUND, sample_weight=w),
    "r2": lambda w=None: theirs.r2_score(REAL, FOUND, sample_weight=w),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_values_score_as_scikit_learn_says(name):
    score, expected = metric(name), EXPECTED[name]
    rows = score.sample_statistics(FOUND, REAL)
    assert score.score(rows) == pytest.approx(expected())
    assert score.score(rows, WEIGHTS) == pytest.approx([expected(w) for w in WEIGHTS])
    blind = score.baseline_statistics(REAL, rows.shape[1])
    assert score.score(blind) == pytest.approx(score.chance(REAL))
    assert score.drop(score.score(rows), score.chance(REAL)) > 0, "better than the mean"
    right, wrong = score.lost(rows)
    assert score.drop(score.score(right), score.score(wrong)) > 0


def test_auc_is_scikit_learns_ties_and_weights_too():
    score, labels = metric("auc"), (RNG.random(400) < 0.3).astype(int)
    scores = np.round(labels + RNG.normal(size=400), 1).astype(np.float32)
    rows = score.sample_statistics(scores, labels)
    assert score.score(rows) == pytest.approx(theirs.roc_auc_score(labels, scores))
    expected = [theirs.roc_auc_score(labels, scores, sample_weight=w) for w in WEIGHTS]
    assert score.score(rows, WEIGHTS) == pytest.approx(expected)
    right, wrong = score.lost(rows)
    assert (score.score(right), score.score(wrong)) == (1, 0)


@pytest.mark.parametrize("name", ["rmse", "mae", "r2", "auc"])
@pytest.mark.parametrize(("noise", "verdict"), [(0.01, "passed"), (1.5, "failed")])
def test_a_worse_model_fails_whichever_direction_is_better(name, noise, verdict):
    score = metric(name)
    if name == "auc":
        labels = (RNG.random(400) < 0.4).astype(int)
        outputs = labels + RNG.normal(0, 0.4, 400)
        worse = outputs + RNG.normal(0, noise, 400)
    else:
        labels, outputs = REAL, FOUND
        worse = FOUND + RNG.normal(0, noise, FOUND.shape)
    rows = [score.sample_statistics(each, labels) for each in (outputs, worse)]
    tolerance = 0.05 * abs(score.score(rows[0]))
    baseline = score.baseline_statistics and score.baseline_statistics(labels, rows[0].shape[1])
    found = non_inferiority(
        score,
        *rows,
        np.arange(400),
        tolerance,
        chance=score.chance(labels),
        distinct_outputs=400,
        baseline_statistics=baseline,
    )
    assert found.verdict == verdict
    assert found.drop == pytest.approx(score.drop(*map(score.score, rows)))


def test_what_does_not_fit_is_refused():
    refused(lambda: metric("rmse").sample_statistics(FOUND[:, :1], REAL), "do not fit labels")
    refused(lambda: metric("mae").sample_statistics(FOUND * np.nan, REAL), "NaN or infinity")
    refused(lambda: metric("auc").score(np.ones((5, 2))), "both needed")


def test_few_samples_that_lose_all_do_not_pass():
    """At the margin, where 2% of the samples lose all that is lost: few are seen, and the worst of
    them seldom. Before the bound knew of the quantized model's errors, a tenth passed.
    """
    rng, judged = np.random.default_rng(7), metric("rmse")
    n, error, tolerance, passed = 400, 0.1, 0.005, 0
    added = (error + tolerance) ** 2 - error**2
    for seed in range(60):
        labels, own = rng.normal(0, 1, n), rng.normal(0, error, n)
        more = rng.normal(0, 1, n) * (rng.random(n) < 0.02) * np.sqrt(added / 0.02)
        rows = [
            judged.sample_statistics((labels + errors)[:, None], labels[:, None])
            for errors in (own, own + more)
        ]
        about = {"chance": 1.0, "distinct_outputs": n, "seed": seed, "resamples": 199}
        passed += (
            non_inferiority(judged, *rows, np.arange(n), tolerance, **about).verdict == "passed"
        )
    assert passed <= 6, "of 60, where 5% is 3"


def test_what_may_be_lost_unseen_knows_the_errors_of_both_models():
    judged = metric("rmse")
    labels = np.linspace(-3, 3, 200)[:, None]
    own = judged.sample_statistics(labels + 0.01, labels)
    errors = np.where(np.arange(200) == 7, 0.5, 0.01)[:, None]
    worse = judged.sample_statistics(labels + errors, labels)
    alone = unseen_loss(pair(judged, own, own, np.arange(200)))
    both = unseen_loss(pair(judged, own, worse, np.arange(200)))
    assert both.effect > 100 * alone.effect


def test_what_an_auc_may_lose_unseen_is_an_anomaly_where_they_are_few():
    """Of 400 samples 8 are anomalies: each lost one costs an eighth. A normal sample was taken, and
    at the margin 65% passed.
    """
    judged, labels = metric("auc"), np.arange(400) < 8
    rows = judged.sample_statistics(labels + RNG.normal(0, 0.3, 400), labels.astype(int))
    assert unseen_loss(pair(judged, rows, rows, np.arange(400))).effect == pytest.approx(1 / 8)
