"""Generation with a cache: it is the scored network's, and a wrong cache is told."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_language
from hypothesis import given
from hypothesis import strategies as st

from int8gate.engine.cache import ArtifactCache
from int8gate.quantizers.generation_steps import steps_of
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import recipe
from int8gate.quantizers.settings import Settings
from int8gate.runtimes.onnx_weights import weights_of
from int8gate.validation import gates, generation, measure, record
from int8gate.validation.case_run import CaseRun
from int8gate.validation.results_model import check
from int8gate.validation.speed import median_interval

pytest.importorskip("torch")


def heavy(name: str):
    return pytest.param(name, marks=pytest.mark.heavy)


# In floats, of the same weights; and what rounds activations, too. Those that take samples run the
# networks over them.
ALIKE = ("onnx_fp32", "onnx_weight_int8", heavy("onnx_weight_int4_gptq"))
ROUNDED = ("onnx_dynamic_int8", heavy("onnx_int8_mse"))
RECIPES = ("onnx_fp32", "onnx_weight_int8", "onnx_weight_int4_gptq")
RECIPES += ("onnx_dynamic_int8", "onnx_int8_mse")
PROMPT = tiny_language.LENGTH // 2


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory, worker):
    cache = ArtifactCache(tmp_path_factory.mktemp("cache"))
    return Pipeline(Settings(random_weights=True), cache, worker)


@pytest.fixture(scope="module")
def runs(pipeline) -> dict[str, CaseRun]:
    spec = tiny_language.tiny()
    return {name: CaseRun(spec, recipe(name), pipeline) for name in RECIPES}


def compared(run: CaseRun, decode=None, prefill=None) -> dict:
    """What is found of a case's own steps, or of others."""
    steps = steps_of(run.pipeline, run.spec, run.recipe)
    tokens = np.random.default_rng(0).integers(0, 256, (4, tiny_language.LENGTH)).astype(np.int32)
    whole = run.float_built.artifact.path, run.built.artifact.path
    chosen = prefill or steps.prefill.path, decode or steps.decode.path
    return generation.compared(*whole, *chosen, tokens, PROMPT)


@pytest.mark.parametrize("name", ALIKE)
def test_of_the_same_weights_logits_are_alike_to_rounding(runs, name):
    found = runs[name].generation["consistency"]
    assert found["same_weights"]
    assert found["allowed"] == generation.ROUNDING
    assert found["difference"] < 1e-5
    assert found["same_tokens"] == 1
    assert found["holds"]


@pytest.mark.parametrize("name", ROUNDED)
def test_quantized_activations_may_differ_by_their_own_rounding(runs, name):
    found = runs[name].generation["consistency"]
    assert found["same_weights"]
    assert 0 < found["difference"] <= found["allowed"] == 2 * found["quantization"]
    assert found["holds"]


@pytest.mark.parametrize("name", [*ALIKE, *ROUNDED])
@pytest.mark.parametrize("fault", [tiny_language.one_place_off, tiny_language.with_stale_cache])
def test_a_wrong_place_and_a_stale_cache_are_told(runs, tmp_path, name, fault):
    run = runs[name]
    decode = steps_of(run.pipeline, run.spec, run.recipe).decode.path
    found = compared(run, fault(decode, tmp_path / "decode.onnx"))
    assert found["same_weights"]
    assert found["difference"] > 1.5 * generation.allowed(run.recipe, found)
    assert found["same_tokens"] < 1


def test_what_is_not_finite_does_not_hold(runs, tmp_path):
    run = runs["onnx_weight_int8"]
    decode = steps_of(run.pipeline, run.spec, run.recipe).decode.path
    found = compared(run, tiny_language.not_finite(decode, tmp_path / "decode.onnx"))
    assert found["difference"] is found["largest_logit"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    limit = generation.allowed(run.recipe, found)
    result = gates.generation_gate({"consistency": found | {"allowed": limit, "holds": False}}, "x")
    assert result.status == "invalid"
    assert "not finite" in result.message


def test_other_weights_are_told(runs):
    run = runs["onnx_weight_int8"]
    others = steps_of(run.pipeline, run.spec, recipe("onnx_fp32"))
    found = compared(run, others.decode.path, others.prefill.path)
    assert not found["same_weights"]
    assert found["difference"] > generation.ROUNDING


@pytest.mark.heavy
def test_rounding_by_samples_is_that_of_the_whole_network(runs):
    run = runs["onnx_weight_int4_gptq"]
    nearest = run.pipeline.artifact(run.spec, recipe("onnx_weight_int4")).artifact
    known = weights_of(run.built.artifact.path)
    assert known - weights_of(nearest.path), "GPTQ rounds some otherwise"
    for path in steps_of(run.pipeline, run.spec, run.recipe).paths:
        assert weights_of(path) == known


def test_the_record_has_it_and_follows_the_schema(runs):
    run = runs["onnx_weight_int8"]
    measured = measure.cpu_speedup(run)
    found = measured.fields["generation"]
    assert (found["kind"], found["prompt"], found["reason"]) == ("measured", PROMPT, None)
    for step in ("first_token_ms", "tokens_per_s"):
        assert found[step]["rounds"] >= 5
        for which in ("float", "quantized", "speedup"):
            estimate = found[step][which]
            assert 0 < estimate["lower_95"] <= estimate["value"] <= estimate["upper_95"]
    case = record.new_case(run.spec.name, run.recipe.name, "language", "pytorch", "compact")
    record.add(case, "cpu_speedup", measured.result.status, "", measured.fields)
    about = record.environment("compact", "2026-03-02T09:14:05+00:00", "pytest", True)
    whole = record.results([case], about)
    check(whole, "x.json")
    spoiled = copy.deepcopy(whole)
    spoiled["cases"][0]["generation"]["consistency"]["holds"] = "yes"
    with pytest.raises(ValueError, match="consistency"):
        check(spoiled, "x.json")


def test_a_float_case_has_its_own_figures_alone(runs):
    found = runs["onnx_fp32"].generation
    for step in ("first_token_ms", "tokens_per_s"):
        assert found[step]["float"]["value"] > 0
        assert found[step]["quantized"] is found[step]["speedup"] is None


def test_steps_and_their_consistency_come_from_the_cache(runs, monkeypatch):
    run = runs["onnx_weight_int8"]
    first = run.generation
    asked = []
    in_worker = run.pipeline.runner.in_worker

    def counted(function, *arguments, **options):
        asked.append(getattr(function, "__name__", function))
        return in_worker(function, *arguments, **options)

    monkeypatch.setattr(run.pipeline.runner, "in_worker", counted)
    again = CaseRun(run.spec, run.recipe, run.pipeline).generation
    assert asked == ["interleave", "interleave"], "time alone is measured again"
    assert again["consistency"] == first["consistency"]


def test_the_gate_of_speed_is_invalid_where_the_steps_write_something_else(runs, monkeypatch):
    run = runs["onnx_weight_int8"]
    found = copy.deepcopy(run.generation)
    found["consistency"] |= {"difference": 0.5, "same_tokens": 0.25, "holds": False}
    monkeypatch.setattr(CaseRun, "generation", found)
    result = measure.cpu_speedup(run).result
    assert result.status == "invalid"
    assert "0.5 of their spread" in result.message
    assert "25.0% of the tokens" in result.message
    assert measure.host_latency(run).result.status != "invalid"
    reference = measure.accuracy(runs["onnx_fp32"])
    assert reference.result.status == "invalid"
    assert reference.fields["generation"] is found


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("tflite_int8", {}, "litert-torch"),
        ("onnx_qat_int8", {}, "trained in the scored network"),
        ("onnx_weight_int8", {"steps": None}, "declares no networks with a cache"),
    ],
)
def test_what_is_not_measured_says_why(pipeline, name, changes, why):
    spec = tiny_language.tiny()
    spec = replace(spec, compact=replace(spec.compact, **changes))
    run = CaseRun(spec, recipe(name), pipeline)
    found = generation.unmeasured(run.plan)
    assert run.generation == found
    assert why in found["reason"]
    assert {value for key, value in found.items() if key != "reason"} == {None}
    assert gates.generation_gate(found, run.case_id) is None


@given(st.lists(st.floats(1e-6, 1e3), min_size=5, max_size=60))
def test_the_interval_holds_the_median_and_turns_with_the_values(values):
    found = median_interval(np.array(values))
    assert found["lower_95"] <= found["value"] <= found["upper_95"]
    turned = median_interval(-np.array(values))
    assert (turned["lower_95"], turned["upper_95"]) == (-found["upper_95"], -found["lower_95"])


@pytest.mark.parametrize("count", [6, 9, 40, 200])
def test_the_interval_of_a_median_covers_it(count):
    rng = np.random.default_rng(count)
    drawn = rng.standard_exponential((4000, count))
    found = [median_interval(values) for values in drawn]
    covered = [each["lower_95"] <= np.log(2) <= each["upper_95"] for each in found]
    assert np.mean(covered) > 0.94, "95%, but for chance in 4,000 draws"
    if count == 200:
        assert np.mean(covered) < 0.975
