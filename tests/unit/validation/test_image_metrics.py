"""PSNR and SSIM: what the field's protocol says, and what the statistics of a case need."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.calibration_data.synthetic.super_resolution import (
    SuperResolutionPairs,
    degrade,
    enlarge,
)
from int8gate.validation.metrics.picture_similarity import PSNR, SSIM, psnr, ssim
from int8gate.validation.noninferiority import non_inferiority

METRICS = pytest.mark.parametrize("metric", [PSNR, SSIM], ids=["psnr", "ssim"])
seeds = st.integers(0, 2**32 - 1)


def noise(seed: int, shape=(3, 32, 36, 1)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    pairs = SuperResolutionPairs("calibration", (32, 32), count=20)
    return next(pairs.batches(20))[1]


def restored(labels: np.ndarray, error: float, seed: int = 0) -> np.ndarray:
    """Labels with a Gaussian error, in grey levels."""
    return labels + np.random.default_rng(seed).normal(0, error, labels.shape)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_psnr_is_that_of_scikit_image(seed):
    from skimage.metrics import peak_signal_noise_ratio

    truth, found = noise(seed)[0, ..., 0], noise(seed + 1)[0, ..., 0]
    expected = peak_signal_noise_ratio(truth, found, data_range=255)
    assert psnr(found, truth) == pytest.approx(expected)


def test_psnr_of_one_level_everywhere():
    flat = np.full((20, 20), 100.0)
    assert psnr(flat + 1, flat) == pytest.approx(20 * np.log10(255))


def test_an_exact_picture_scores_finitely_and_above_every_other():
    flat = np.full((20, 20), 100.0)
    almost = flat.copy()
    almost[0, :2] += 1
    assert psnr(almost, flat) < psnr(flat, flat) < np.inf
    assert ssim(flat, flat) == pytest.approx(1)


@METRICS
def test_pictures_are_clipped_and_rounded(metric, labels):
    outputs = restored(labels, 4)
    whole = np.rint(np.clip(outputs, 0, 255))
    expected = metric.sample_statistics(whole, labels)
    np.testing.assert_array_equal(metric.sample_statistics(outputs, labels), expected)
    np.testing.assert_array_equal(metric.sample_statistics(whole + 0.4, labels), expected)


@METRICS
def test_the_border_is_not_scored(metric, labels):
    outputs = restored(labels, 4)
    spoilt = np.full_like(outputs, 255)
    spoilt[:, 2:-2, 2:-2] = outputs[:, 2:-2, 2:-2]
    expected = metric.sample_statistics(outputs, labels)
    np.testing.assert_array_equal(metric.sample_statistics(spoilt, labels), expected)
    outputs[:, 2, 2] += 60
    assert (metric.sample_statistics(outputs, labels)[:, 0] < expected[:, 0]).all()


@METRICS
def test_a_larger_error_scores_lower(metric, labels):
    scores = [
        metric.score(metric.sample_statistics(restored(labels, e), labels)) for e in (1, 4, 16)
    ]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3


@METRICS
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_a_weight_counts_as_repetition(metric, seed):
    rows = metric.sample_statistics(noise(seed).astype(float), noise(seed + 1))
    weights = np.random.default_rng(seed).integers(1, 4, len(rows))
    repeated = metric.score(rows.repeat(weights, axis=0))
    both = metric.score(rows, np.stack([weights, 7 * weights]).astype(float))
    np.testing.assert_allclose(both, [repeated, repeated])


@METRICS
def test_chance_is_bicubic_enlargement(metric, labels):
    enlarged = np.stack([enlarge(degrade(label)) for label in labels])
    assert metric.chance(labels) == metric.score(metric.sample_statistics(enlarged, labels))


@METRICS
def test_a_lost_picture_is_worth_flat_grey(metric, labels):
    rows = metric.sample_statistics(restored(labels, 0.7), labels)
    flat = np.stack([np.full_like(x, round(x[2:-2, 2:-2].mean())) for x in labels])
    right, wrong = metric.lost(rows)
    np.testing.assert_array_equal(right, rows)
    blind = metric.sample_statistics(flat, labels)[:, 0]
    np.testing.assert_allclose(wrong[:, 0], np.minimum(blind, rows[:, 0]), atol=1e-5)
    hopeless = metric.lost(metric.sample_statistics(flat, labels))
    assert (hopeless[1][:, 0] < hopeless[0][:, 0]).all(), "a sample that cannot be lost"


def verdict(metric, labels, float_outputs, quantized_outputs, tolerance):
    rows = [metric.sample_statistics(x, labels) for x in (float_outputs, quantized_outputs)]
    chance = metric.chance(labels)
    sources = np.arange(len(labels))
    return non_inferiority(metric, *rows, sources, tolerance, chance=chance, distinct_outputs=20)


@METRICS
def test_a_model_worse_than_bicubic_proves_nothing(metric, labels):
    outputs = restored(labels, 60)
    assert verdict(metric, labels, outputs, outputs, 1.0).verdict == "invalid"


def test_a_loss_beyond_the_tolerance_fails_and_a_small_one_passes(labels):
    good, slightly, worse = (restored(labels, error) for error in (2, 2.05, 4))
    assert verdict(PSNR, labels, good, slightly, 3.0).verdict == "passed"
    assert verdict(PSNR, labels, good, worse, 3.0).verdict == "failed"


@METRICS
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_are_refused(metric, broken, labels):
    outputs = restored(labels, 2)
    outputs[3, 5, 5] = broken
    with pytest.raises(ValueError, match="NaN or infinity"):
        metric.sample_statistics(outputs, labels)


@METRICS
def test_pictures_of_another_size_are_refused(metric, labels):
    with pytest.raises(ValueError, match="do not fit"):
        metric.sample_statistics(restored(labels, 2)[:, ::2, ::2], labels)


@METRICS
def test_no_weight_no_score(metric, labels):
    rows = metric.sample_statistics(restored(labels, 2), labels)
    with pytest.raises(ValueError, match="nothing to score"):
        metric.score(rows, np.zeros(len(rows)))
