"""Parts of a set that are judged each by itself, and how far answers are from float's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from int8gate.engine.cache import ArtifactCache
from int8gate.validation import cached_results, gates, to_float
from int8gate.validation.cached_results import KeptEvaluation
from int8gate.validation.evaluation import STATISTICS
from int8gate.validation.gates import GateResult

TOKENS, WINDOWS = 128, 3200
METRICS = ("perplexity", "next_token")


@pytest.fixture
def kept(tmp_path):
    """Evaluations in a cache, of a model that needs so many nats a token more on each corpus."""
    cache = ArtifactCache(tmp_path)
    rng = np.random.default_rng(0)
    nats = rng.gamma(40, 1.3 / 40, WINDOWS)
    groups = np.array(["prose", "code"] * (WINDOWS // 2))

    def build(more: dict[str, float]) -> KeptEvaluation:
        noise = np.random.default_rng(1).normal(0, 0.005, WINDOWS) * any(more.values())
        worse = nats + noise + np.array([more[name] for name in groups])

        def write(directory) -> dict:
            counted = np.full(WINDOWS, float(TOKENS))
            arrays = {
                "statistics": np.stack([worse * TOKENS, counted], axis=1),
                "baseline": np.stack([np.full(WINDOWS, 3.2 * TOKENS), counted], axis=1),
                "also/next_token": np.stack([0.6 * counted, counted], axis=1),
                "to_float/kl_divergence": np.stack([0.01 * counted, counted], axis=1)[:200],
                "sources": np.arange(WINDOWS),
                "groups": groups,
            }
            np.savez(directory / STATISTICS, **arrays)
            known = ("chance", "distinct_outputs", "fidelity", "agreement", "seconds")
            return dict.fromkeys(known, 99.0) | {"chance": 24.5, "peak_rss_bytes": None}

        return KeptEvaluation.of(cache.get_or_build("evaluation", {"more": more}, write))

    real = build({"prose": 0.0, "code": 0.0})

    def compared(**more: float) -> cached_results.Compared:
        rule = lambda score: 0.01 * score  # noqa: E731
        return cached_results.compared(cache, METRICS, real, build(more), "1%", rule, 0)

    return compared


def judged(found: cached_results.ScoredPair) -> GateResult:
    from int8gate.validation.metrics.registry import metric

    scores = found.float_score, found.quantized_score, found.chance
    return gates.accuracy_gate(
        found.test, "1.01 * float", metric("perplexity"), scores, "m-onnx_int8"
    )


def test_what_holds_on_both_corpora_passes(kept):
    found = kept(prose=0.001, code=0.002)
    assert list(found.groups) == ["prose", "code"]
    parts = {name: judged(part) for name, part in found.groups.items()}
    assert gates.worst_part(parts) == GateResult("passed")
    assert found.groups["code"].test.samples == WINDOWS // 2
    assert found.groups["code"].test.drop > found.groups["prose"].test.drop
    assert found.groups["prose"].float_score == pytest.approx(found.float_score, rel=0.05)


def test_a_loss_on_one_corpus_fails_though_the_whole_gains(kept):
    found = kept(prose=-0.05, code=0.03)
    assert found.test.verdict == "passed"
    parts = {name: judged(part) for name, part in found.groups.items()}
    result = gates.worst_part(parts)
    assert (parts["prose"].status, parts["code"].status, result.status) == (
        "passed",
        "failed",
        "failed",
    )
    assert result.message.startswith("on code (failed): measured: perplexity rises by")
    assert "on prose" not in result.message


def test_what_is_found_travels_through_the_cache(kept):
    assert kept(prose=0.0, code=0.01) == kept(prose=0.0, code=0.01)
    found = kept(prose=0.0, code=0.01).to_float["kl_divergence"]
    assert found["value"] == pytest.approx(0.01)
    assert found["samples"] == 200


STATUSES = st.sampled_from(["invalid", "failed", "inconclusive", "passed"])


@given(st.dictionaries(st.text("abc", min_size=1), STATUSES, min_size=1, max_size=4))
def test_the_worst_part_decides_in_any_order(statuses):
    results = {name: GateResult(status, status) for name, status in statuses.items()}
    found = gates.worst_part(results)
    assert found.status == gates.worst_part(dict(reversed(results.items()))).status
    assert (found.status == "passed") == (set(statuses.values()) == {"passed"})
    assert found.status in statuses.values()
    assert len(found.message.splitlines()) == sum(each != "passed" for each in statuses.values())


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 3))
def test_divergence_is_zero_of_the_same_and_positive_of_others(seed, scale):
    rng = np.random.default_rng(seed)
    logits, noise = rng.normal(0, 3, (2, 3, 5, 11)).astype(np.float32)
    shifted = logits + 7  # the same probabilities
    assert to_float.kl_divergence(logits, shifted) == pytest.approx(
        np.tile([0.0, 5.0], (3, 1)), abs=1e-4
    )
    rows = to_float.kl_divergence(logits, logits + np.float32(scale) * noise)
    assert (rows[:, 0] > 0).all()
    real = np.exp(logits - logits.max(-1, keepdims=True)).astype(float)
    other = np.exp((logits + np.float32(scale) * noise).astype(float))
    p, q = real / real.sum(-1, keepdims=True), other / other.sum(-1, keepdims=True)
    assert rows[:, 0] == pytest.approx((p * np.log(p / q)).sum((1, 2)), rel=1e-5, abs=1e-7)
    same = to_float.same_next_token(logits, shifted)
    assert (same == 5).all()


def test_an_interval_holds_the_mean_as_often_as_it_says():
    """Windows of one source are alike: counted as independent ones, it would hold too seldom."""
    rng, held = np.random.default_rng(0), []
    for seed in range(300):
        of_source = rng.exponential(0.02, 100).repeat(4)
        rows = np.stack([of_source * 128, np.full(400, 128.0)], axis=1)
        found = to_float.distance(rows, np.arange(100).repeat(4), seed)
        assert found["lower_95"] <= found["value"] <= found["upper_95"]
        held.append(found["lower_95"] <= 0.02 <= found["upper_95"])
    assert 0.90 <= np.mean(held) <= 0.98
