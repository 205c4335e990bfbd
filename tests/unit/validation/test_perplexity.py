"""Perplexity and hits: against PyTorch's cross-entropy, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.validation.metrics.registry import metric

SHAPE, VOCABULARY = (6, 9), 11


def drawn(seed: int, hidden: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels, of which some do not count."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, VOCABULARY, SHAPE)
    labels[rng.random(SHAPE) < hidden] = -100
    labels[:, 0] = 3
    return 5 * rng.standard_normal((*SHAPE, VOCABULARY)).astype(np.float32), labels


@given(seed=st.integers(0, 999), shift=st.floats(-80, 80))
@settings(max_examples=30, deadline=None)
def test_perplexity_is_that_of_cross_entropy(seed, shift):
    import torch

    logits, labels = drawn(seed)
    judged = metric("perplexity")
    rows = judged.sample_statistics(logits + np.float32(shift), labels)
    loss = torch.nn.functional.cross_entropy(
        torch.tensor(logits, dtype=torch.float64).flatten(0, 1), torch.tensor(labels).flatten()
    )
    assert judged.score(rows) == pytest.approx(float(loss.exp()), rel=1e-4)
    parts = slice(3), slice(3, 6)
    halves = [judged.sample_statistics(logits[part], labels[part]) for part in parts]
    whole = judged.sample_statistics(logits, labels)
    np.testing.assert_allclose(np.concatenate(halves), whole)


@given(seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_weights_count_samples_as_often_as_they_say(seed):
    logits, labels = drawn(seed)
    for name in ("perplexity", "next_token"):
        judged = metric(name)
        rows = judged.sample_statistics(logits, labels)
        counts = np.random.default_rng(seed).integers(0, 3, len(rows))
        counts[0] += 1
        repeated = judged.score(rows.repeat(counts, axis=0))
        assert judged.score(rows, counts) == pytest.approx(repeated)


def test_a_perfect_model_has_one_and_a_blind_one_no_better_than_frequencies():
    _, labels = drawn(1, hidden=0)
    sure = 40.0 * np.eye(VOCABULARY, dtype=np.float32)[labels]
    assert metric("perplexity").score(metric("perplexity").sample_statistics(sure, labels)) == 1
    assert metric("next_token").score(metric("next_token").sample_statistics(sure, labels)) == 1
    shares = np.bincount(labels.ravel(), minlength=VOCABULARY) / labels.size
    blind = np.broadcast_to(np.log(np.maximum(shares, 1e-30)), (*SHAPE, VOCABULARY))
    blind = blind.astype(np.float32)
    for name in ("perplexity", "next_token"):
        judged = metric(name)
        rows = judged.sample_statistics(blind, labels)
        assert judged.score(rows) == pytest.approx(judged.chance(labels), rel=1e-6)
        np.testing.assert_allclose(rows, judged.baseline_statistics(labels, 2), rtol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda logits, labels: (logits[:, 1:], labels), "do not fit labels"),
        (lambda logits, labels: (logits[:, 0], labels), "expected logits"),
        (lambda logits, labels: (logits, labels.astype(float)), "whole numbers"),
        (lambda logits, labels: (logits, labels + 5), "another tokenizer"),
        (lambda logits, labels: (logits + np.nan, labels), "NaN"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(spoil, said):
    with pytest.raises(ValueError, match=said):
        metric("perplexity").sample_statistics(*spoil(*drawn(2)))


def test_nothing_that_counts_is_nothing_to_score():
    logits, labels = drawn(3)
    rows = metric("perplexity").sample_statistics(logits, np.full_like(labels, -100))
    with pytest.raises(ValueError, match="nothing to score"):
        metric("perplexity").score(rows)
