"""Methods of a model compared: ranks, fronts, what is recommended, and from which run."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import numpy as np
import pytest
from accepted_figures import top1
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_records import sample_results

from int8gate.analysis.methods import compare_methods, summaries
from int8gate.reporting import methods as drawn
from int8gate.reporting import write_report
from int8gate.reporting.compared import front_words
from int8gate.validation.case_summary import PREDICTIONS, case_key
from int8gate.validation.comparing.history import Run, run_of
from int8gate.validation.comparing.sample_scores import store
from int8gate.validation.record import results
from int8gate.validation.results_model import Methods as MethodsModel
from int8gate.validation.shipping import to_ship

COUNT = 2000
HOST = "host_cpu"
NPU = "ethos_u85_512"
START = datetime(2026, 3, 2)


def record(recipe: str, drop: float, ms: float = 1.0, size: int = 1000, **more) -> dict:
    """A case that passed, scored on 2000 samples, with a tolerance of 0.01."""
    results = sample_results()
    case = next(each for each in results["cases"] if case_key(each) == "mobilenet_v2-tflite_int8")
    assert case["verdict"] == "passed"
    scores = {"float": 0.9, "quantized": 0.9 - drop, "drop": drop, "drop_upper_95": drop + 0.004}
    counts = {"samples": COUNT, "sources": COUNT, "tolerance": 0.01}
    case |= {
        "recipe": recipe,
        "accuracy": {"metric": "top1", "unit": "fraction", **scores, **counts},
        "size_bytes": {"float": 4000, "quantized": size, "ratio": 4000 / size},
        "cpu": {**case["cpu"], "float_ms": 10.0, "quantized_ms": ms, "speedup": 10 / ms},
        "npu": [{**case["npu"][0], "latency_ms": ms / 10}],
    }
    return case | more


def run(*records: dict, name: str = "report", hours: int = 0, folders=()) -> Run:
    environment = sample_results()["environment"]
    environment["started"] = (START + timedelta(hours=hours)).isoformat()
    return run_of({"environment": environment, "cases": records}, name, folders)


def model_of(*records: dict) -> str:
    return records[0]["model"]


def compared(*records: dict, **asked):
    return compare_methods(model_of(*records), [run(*records)], **asked)


def kept(folder, recipe: str, wrong: np.ndarray, **more) -> dict:
    """A case whose predictions, and those of float, lie in the folder."""
    right = np.ones(COUNT, bool)
    float_right = right.copy()
    float_right[: COUNT // 10] = False
    right[: COUNT // 10] = False
    right[wrong] = False
    case = record(recipe, float(float_right.mean() - right.mean()), **more)
    files = {"predictions": right, "float_predictions": float_right}
    for name, of in files.items():
        case["accuracy"][name] = store(folder, top1(of, recipe)).sha256
    return case


def test_a_report_says_what_the_comparison_found(tmp_path):
    folder = tmp_path / PREDICTIONS
    lost = np.arange(COUNT - 8, COUNT)
    records = [
        kept(folder, "tflite_int8", lost, ms=1.0),
        kept(folder, "onnx_int8", lost[:0], ms=2.0),
    ]
    other = next(each for each in sample_results()["cases"] if each["model"] == "unet")
    of_run = run(*records, other, folders=[folder])
    (summary,) = summaries(of_run)  # of unet one recipe was scored: there is nothing to compare
    assert [each["recipe"] for each in summary["ranks"]] == ["onnx_int8", "tflite_int8"]
    assert [each["rank"] for each in summary["ranks"]] == [1, 2]
    taken = {each["target"]: each["recipe"] for each in summary["recommended"]}
    assert taken == {HOST: "tflite_int8", NPU: "tflite_int8"}
    whole = results([*records, other], of_run.environment, methods=[summary])
    write_report(whole, tmp_path)
    MethodsModel.model_validate(summary)
    page = (tmp_path / "report.html").read_text()
    assert "take <b>tflite_int8</b>" in page
    assert "rank 2; front: host_cpu, ethos_u85_512" in page
    text = (tmp_path / "report.md").read_text()
    assert "host_cpu: take tflite_int8" in text
    assert "told apart together: 1: onnx_int8; 2: tflite_int8" in text


def test_a_front_that_may_be_chance_is_marked():
    assert front_words(["host_cpu", "size"], ["size"]) == "host_cpu, ~size"
    assert front_words([], []) == ""


def test_in_pairs_small_differences_are_told_apart_and_by_intervals_they_share_a_rank(tmp_path):
    folder = tmp_path / PREDICTIONS
    losses = {"onnx_int8": 0, "tflite_int8": 3, "tflite_uint8": 8}
    records = [
        kept(folder, recipe, np.arange(COUNT - count, COUNT)) for recipe, count in losses.items()
    ]
    in_pairs = compare_methods(model_of(*records), [run(*records, folders=[folder])])
    assert [(each.recipe, each.rank) for each in in_pairs.methods] == [
        ("onnx_int8", 1),
        ("tflite_int8", 1),  # 3 of 2000 may be chance
        ("tflite_uint8", 3),
    ]
    assert not any("by intervals" in note for note in in_pairs.notes)
    lost = in_pairs.method("tflite_uint8")
    low, high = lost.drop_interval
    assert 0 < low < lost.drop < high
    assert lost.drop == pytest.approx(8 / COUNT)
    by_interval = compared(*records)
    assert {each.rank for each in by_interval.methods} == {1}
    assert any("compared by intervals" in note and "all" in note for note in by_interval.notes)


def test_far_apart_is_told_without_predictions():
    told = compared(record("tflite_int8", 0.001), record("onnx_int8", 0.05))
    assert [each.rank for each in told.methods] == [1, 2]


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 12), st.integers(1, 9), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=25, deadline=None)
def test_nothing_that_passed_beats_the_front_and_the_fastest_is_recommended(drawn_records):
    records = [
        record(f"recipe{number}", drop / 1000, float(ms), 500 * size)
        for number, (drop, ms, size, _) in enumerate(drawn_records)
    ]
    for case, (*_, passed) in zip(records, drawn_records, strict=True):
        if not passed:
            case |= {"verdict": "failed", "gates": {**case["gates"], "accuracy": "failed"}}
    told = compared(*records)
    passed = [each for each in told.methods if each.may_ship]
    assert {each.recipe for each in passed} == {
        case["recipe"] for case in records if case["verdict"] == "passed"
    }
    for which, reference in ((HOST, 10.0), (NPU, None), ("size", 4000)):
        for each in told.methods:
            better = [(of.cost(which), -of.drop) for of in passed]
            better += [(reference, 0.0)] if reference else []
            beaten = any(
                cost <= each.cost(which) and gain >= -each.drop
                for cost, gain in better
                if (cost, gain) != (each.cost(which), -each.drop)
            )
            if which in each.fronts:
                assert each.may_ship
                assert not beaten
            elif each.may_ship and not beaten:  # as good as one that is there
                twins = [of for of in passed if which in of.fronts]
                assert (each.cost(which), each.drop) in [(of.cost(which), of.drop) for of in twins]
    for each in told.recommended:
        if not passed:
            assert each.recipe is None
            assert "no recipe that was timed there passed" in each.reason
            continue
        least = min(of.cost(each.target) for of in passed)
        assert told.method(each.recipe).may_ship
        assert told.method(each.recipe).cost(each.target) <= least * 1.11
        ships = [of.record for of in passed]
        assert to_ship(ships, each.target)[0]["recipe"] == each.recipe


def test_the_reason_says_what_was_faster_and_did_not_pass():
    failed = record("tflite_int8", 0.05, ms=0.5, verdict="failed")
    told = compared(
        failed, record("onnx_int8", 0.001, ms=2.0), record("onnx_int8_mse", 0.0, ms=4.0)
    )
    (host, npu) = told.recommended
    assert (host.target, host.recipe, npu.target) == (HOST, "onnx_int8", NPU)
    assert host.reason.startswith("the fastest of 2 that pass: 2 ms; next onnx_int8_mse with 4 ms")
    assert "tflite_int8 is faster (0.5 ms), but failed" in host.reason


def test_times_of_the_host_that_are_close_count_as_equal():
    big, small = record("onnx_int8", 0.0, ms=1.0, size=2000), record("tflite_int8", 0.0, ms=1.03)
    told = compared(big, small)
    host, npu = told.recommended
    assert host.recipe == "tflite_int8"
    assert npu.recipe == "onnx_int8"  # 3% of a modelled time is real
    assert "within about 10% of onnx_int8 (1 ms), and smaller" in host.reason


def test_on_a_target_the_fastest_is_taken_and_without_one_what_is_wholly_integer():
    records = [record("tflite_fp16", 0.0, ms=1.0), record("tflite_int8", 0.001, ms=2.0)]
    assert compared(*records).recommended[0].recipe == "tflite_fp16"
    assert [each["recipe"] for each in to_ship(records)] == ["tflite_int8"]
    float_model = record("tflite_fp32", 0.0, ms=0.1)
    assert compared(*records, float_model).recommended[0].recipe == "tflite_fp16"


def test_the_last_run_that_scored_a_case_is_taken():
    old, new = record("tflite_int8", 0.004), record("tflite_int8", 0.001)
    unscored = record("tflite_int8", 0.0, accuracy=None)
    runs = [
        run(new, name="second", hours=1),
        run(old, name="first"),
        run(unscored, name="x", hours=2),
    ]
    told = compare_methods(model_of(old), runs)
    (method,) = told.methods
    assert method.drop == 0.001
    assert "tflite_int8 is in 3 runs: taken from second" in told.notes


def test_what_was_not_run_is_refused_with_what_was():
    case = record("tflite_int8", 0.0)
    with pytest.raises(ValueError, match="did you mean"):
        compare_methods(f"{case['model']}x", [run(case)])
    with pytest.raises(ValueError, match=f"timed on qnn_htp: the runs have {HOST}, {NPU}"):
        compared(case, targets=["qnn_htp"])
    with pytest.raises(ValueError, match="was not run in the profile full"):
        compared(case, profile="full")
    with pytest.raises(ValueError, match="did you mean tflite_int8"):
        compared(case).method("tflite_int")


def test_the_page_has_charts_with_intervals_and_no_markup_of_others(tmp_path):
    folder = tmp_path / PREDICTIONS
    lost = [np.arange(COUNT - count, COUNT) for count in (3, 12)]
    records = [
        kept(folder, "tflite_<b>x|y", lost[0], ms=1.0),
        kept(folder, "onnx_int8", lost[1], ms=2.0, size=1500),
    ]
    told = compare_methods(model_of(*records), [run(*records, folders=[folder])], targets=[NPU])
    page = drawn.page(told)
    assert page.count("<svg") == 2  # size, and the target that was asked for
    assert "<b>x" not in page
    assert "tflite_&lt;b&gt;x|y" in page
    assert "host_cpu" not in page
    plain = drawn.page(compare_methods(model_of(*records), [run(*records)], targets=[NPU]))
    charts = [re.findall(r"<svg.*?</svg>", each, re.DOTALL) for each in (page, plain)]
    assert charts[0] != charts[1], "kept predictions tell how little it may have lost, too"
    assert drawn.page(told) == page
