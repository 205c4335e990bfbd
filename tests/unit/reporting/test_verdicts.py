"""The rule of `int8gate/validation/verdict.py`, row by row, and what the headline makes of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from int8gate.quantizers.recipe_type import ALL_GATES
from int8gate.reporting import html, markdown
from int8gate.reporting.rows import rows_of
from int8gate.reporting.terminal import summary_lines
from int8gate.reporting.verdicts import Headline, headline
from int8gate.validation import record as records
from int8gate.validation.shipping import to_ship
from int8gate.validation.verdict import case_fails, case_state, fails, run_answer, why_not_accepted

WORST_FIRST = ("error", "invalid", "failed", "inconclusive")
STATUSES = (*WORST_FIRST, "not_measured", "unsupported", "recorded", "passed")
GOOD = dict.fromkeys(ALL_GATES, "passed")


def case(model="m", recipe="tflite_int8", pending=(), deselected=(), gates=None, **fields) -> dict:
    """A record as the gates fill it; those not in `gates` pass, but for pending and deselected."""
    record = records.new_case(model, recipe, "classification", "keras", "compact")
    record |= {"pending": list(pending), "deselected": list(deselected)}
    statuses = GOOD | (gates or {})
    for gate in (*pending, *deselected):
        statuses[gate] = None
    for gate, status in statuses.items():
        if status:
            records.add(record, gate, status, f"{gate} was {status}\nmore", {})
    records.judge(record)
    return record | fields


def of(*cases: dict, regressions=(), **environment) -> dict:
    return records.results(list(cases), {"finished": True} | environment, regressions)


def worse(record: dict, figure="size") -> dict:
    key = f"{record['model']}-{record['recipe']}"
    told = {"target": None, "against": "accepted.toml", "message": f"{key}: {figure} grew"}
    return {"case": key, "figure": figure} | told


def said(results: dict) -> Headline:
    return headline(rows_of(results), results)


@pytest.mark.parametrize(
    ("record", "verdict", "state", "is_failure"),
    [
        (case(), "passed", "passed", False),
        (case(gates={"cpu_speedup": "recorded"}), "passed", "passed", False),
        (case(gates={"size": "unsupported"}), "passed", "passed", False),
        (case(gates={"size": "not_measured"}), "passed", "passed", False),
        (case(gates={"cpu_speedup": "not_measured"}), "passed", "passed", False),
        (case(gates={"accuracy": "not_measured"}), "not_judged", "not_judged", True),
        (case(gates={"npu_speedup": "not_measured"}), "not_judged", "not_judged", True),
        (case(gates={"accuracy": "unsupported"}), "unsupported", "unsupported", False),
        (case(gates={"accuracy": "inconclusive"}), "inconclusive", "inconclusive", True),
        (case(gates={"size": "failed", "accuracy": "inconclusive"}), "failed", "failed", True),
        (case(gates={"size": "failed", "accuracy": "invalid"}), "invalid", "invalid", True),
        (case(gates={"size": "error", "accuracy": "invalid"}), "error", "error", True),
        (case(pending=["size"]), None, "unfinished", True),
        (case(pending=["size"], deselected=["accuracy"]), None, "unfinished", True),
        (case(pending=["size"], gates={"accuracy": "failed"}), "failed", "failed", True),
        (case(deselected=["size"]), "passed", "partly", False),
        (case(deselected=["accuracy"]), None, "partly", False),
        (case(deselected=["size"], gates={"io_dtype": "failed"}), "failed", "failed", True),
        (case(deselected=["size"], gates={"accuracy": "not_measured"}),
         "not_judged", "not_judged", True),
        (case(deselected=["size"], gates={"accuracy": "unsupported"}),
         "unsupported", "unsupported", False),
    ],
)  # fmt: skip
def test_a_case_ends_as_the_table_says(record, verdict, state, is_failure):
    assert (record["verdict"], case_state(record), case_fails(record)) == (
        verdict,
        state,
        is_failure,
    )


statuses = st.fixed_dictionaries(dict.fromkeys(ALL_GATES, st.sampled_from(STATUSES)))
left_out = st.lists(st.sampled_from(ALL_GATES), unique=True, max_size=3)


@given(statuses, left_out, left_out)
def test_a_case_fails_where_a_gate_fails_or_is_pending_and_nowhere_else(gates, pending, deselected):
    record = case(gates=gates, pending=pending, deselected=deselected)
    ran = set(ALL_GATES) - {*pending, *deselected}
    bad = any(fails(gate, gates[gate]) for gate in ran)
    assert case_fails(record) == (bad or bool(pending))
    if record["verdict"] == "passed":
        assert "accuracy" in ran
        assert not pending
    accepted = why_not_accepted(record) is None
    assert not (accepted and (pending or deselected or bad))
    assert accepted or record["verdict"] != "passed" or deselected


A, B = case(model="a"), case(model="b")
FAILED, UNSURE = case(gates={"size": "failed"}), case(gates={"accuracy": "inconclusive"})
UNJUDGED = case(gates={"accuracy": "not_measured"})
DECLARED = case(model="d", gates={"accuracy": "unsupported"})
ONE_GATE = case(deselected=[gate for gate in ALL_GATES if gate != "accuracy"])
NO_ACCURACY = case(deselected=["accuracy"])
CUT = case(model="c", pending=["size"])


@pytest.mark.parametrize(
    ("results", "kind", "code", "tone", "answer"),
    [
        (of(), "nothing", 1, "warn", "Nothing was tested."),
        (of(A), "yes", 0, "good", "Yes: ship a with tflite_int8."),
        (of(A, B), "yes", 0, "good", "Yes: 2 models, the recipes to ship are below."),
        (of(A, DECLARED), "yes", 0, "good", "Yes: ship a with tflite_int8."),
        (of(DECLARED), "declared", 0, "warn", "Nothing to ship: as declared, 1 case unsupported."),
        (of(A, FAILED), "no", 1, "bad", "Not all: 1 of 2 cases may ship."),
        (of(FAILED), "no", 1, "bad", "No: m-tflite_int8 did not pass."),
        (of(UNSURE), "no", 1, "bad", "No: m-tflite_int8 did not pass."),
        (of(UNJUDGED), "no", 1, "bad", "No: m-tflite_int8 did not pass."),
        (of(UNJUDGED, DECLARED), "no", 1, "bad", "No: m-tflite_int8 did not pass."),
        (of(FAILED, case(recipe="tflite_uint8", gates={"size": "error"})),
         "no", 1, "bad", "No: none of 2 cases passed."),
        (of(A, regressions=[worse(A)]), "no", 1, "bad", "No: figures got worse than allowed."),
        (of(A, B, regressions=[worse(A)]), "no", 1, "bad", "Not all: 1 of 2 cases may ship."),
        (of(ONE_GATE), "selected", 0, "warn",
         "Not known: the selected gates passed: accuracy of 1 case."),
        (of(A, ONE_GATE, FAILED), "no", 1, "bad", "Not all: 1 of 3 cases may ship."),
        (of(ONE_GATE, FAILED), "no", 1, "bad", "No: m-tflite_int8 did not pass."),
        (of(NO_ACCURACY, weights="random"), "structure", 0, "warn",
         "Structure only, the weights are random. The selected gates of 1 case passed."),
        (of(UNJUDGED, weights="random"), "no", 1, "bad",
         "Structure only, the weights are random. No: m-tflite_int8 did not pass."),
        (of(A, finished=False), "unfinished", 1, "warn",
         "Not known: the run did not finish. So far: 1 of 1 case ended."),
        (of(A, CUT), "unfinished", 1, "warn",
         "Not known: the run did not finish. So far: 1 of 2 cases ended."),
    ],
)  # fmt: skip
def test_a_run_answers_as_the_table_says(results, kind, code, tone, answer):
    found = run_answer(results)
    assert (found.kind, found.exit_code) == (kind, code)
    assert results["answer"]["exit_code"] == code
    shown = said(results)
    assert (shown.tone, shown.answer) == (tone, answer)
    assert summary_lines(results, 500)[0][0].startswith(shown.line[:100])


some_cases = st.lists(
    st.builds(
        lambda number, gates, pending, deselected: case(
            f"m{number}", gates=gates, pending=pending, deselected=deselected
        ),
        st.integers(0, 9),
        statuses,
        left_out,
        left_out,
    ),
    max_size=4,
    unique_by=lambda record: record["model"],
)


@given(some_cases, st.sampled_from(["trained", "random"]), st.booleans(), st.booleans())
def test_no_document_says_yes_unless_all_of_it_holds(cases, weights, finished, regressed):
    """The exit code and the headline agree, and a random network is never said to ship."""
    regressions = [worse(cases[0])] if cases and regressed else []
    results = of(*cases, regressions=regressions, weights=weights, finished=finished)
    found, shown = run_answer(results), said(results)
    holds = finished and cases and not regressions and not any(map(case_fails, cases))
    assert (found.exit_code == 0) == bool(holds)
    may_say_yes = holds and weights == "trained" and not any(c["deselected"] for c in cases)
    if not may_say_yes:
        assert "Yes" not in shown.line
        assert shown.tone != "good"
    if weights == "random":
        assert "Structure only" in shown.line
        assert not re.search(r"\bship\b", shown.line)
    for record in found.may_ship:
        assert (record["verdict"], record["deselected"], record["pending"]) == ("passed", [], [])


def test_the_detail_names_what_was_left_out_and_what_got_worse():
    assert "Not judged, as not selected: io_dtype, integer_only, size" in said(of(ONE_GATE)).detail
    shown = said(of(A, B, regressions=[worse(A), worse(A, "accuracy")]))
    assert "Worse than accepted.toml: a-tflite_int8 size, a-tflite_int8 accuracy." in shown.detail
    assert "To ship: b with tflite_int8." in shown.detail
    structure = said(of(NO_ACCURACY, weights="random")).detail
    assert structure.startswith("Passed: io_dtype, integer_only, size, cpu_speedup, npu_speedup.")
    assert "To ship: a with tflite_int8; b with tflite_int8." in said(of(A, B)).detail
    unmeasured = said(of(case(gates={"size": "not_measured"})))
    assert (unmeasured.tone, unmeasured.detail) == ("warn", "Not measured: m-tflite_int8 size.")


def test_a_declared_exception_of_the_recipe_to_ship_is_said_and_of_another_is_no_but():
    excepted = case(gates={"npu_speedup": "unsupported"})
    shown = said(of(excepted))
    assert shown.answer.startswith("Yes, but for gates declared unsupported: ship m with")
    assert "m-tflite_int8 npu_speedup" in shown.detail
    both = said(of(excepted, case(recipe="tflite_uint8")))
    assert both.answer == "Yes: ship m with tflite_uint8."
    assert "m-tflite_int8 npu_speedup" in both.detail


def test_each_document_shows_a_regression_and_its_headline():
    results = of(A, regressions=[worse(A)])
    for document in (html.render(results), markdown.render(results)):
        assert "No: figures got worse than allowed." in document
        assert "a-tflite_int8: size grew" in document.replace("\\", "")
    glance = html.render(results).split('class="glance"')[1].split("</header>")[0]
    assert 'class="chip bad"' in glance
    assert html.render(of(ONE_GATE)).count("not selected") >= 5
    structure = of(NO_ACCURACY, weights="random")
    for document in (html.render(structure), markdown.render(structure)):
        assert "Structure only, the weights are random" in document
        assert "May these" not in document


def measured(recipe: str, latency=None, size=100, drop=0.0, **gates) -> dict:
    npu = [{"target": "t", "latency_ms": latency}] if latency else []
    figures = {"npu": npu, "size_bytes": {"quantized": size}, "accuracy": {"drop": drop}}
    return case(recipe=recipe, gates=gates, **figures)


@pytest.mark.parametrize(
    ("better", "others"),
    [
        (measured("tflite_int8", 2.0), [measured("tflite_fp16"), measured("tflite_fp32")]),
        (measured("tflite_uint8", 1.5), [measured("tflite_int8", 2.0, size=50)]),
        (measured("tflite_int8", 1.5, size=50), [measured("tflite_uint8", 1.5, size=100)]),
        (measured("tflite_int8_entropy", 1.5, drop=0.001), [measured("tflite_int8", 1.501, 101)]),
        (measured("onnx_int8", drop=0.001), [measured("onnx_int8_mse", drop=0.002)]),
        (measured("tflite_int8"), [measured("tflite_int16x8", cpu_speedup="recorded")]),
        (measured("tflite_int8", 2.0), [measured("tflite_uint8", 1.0, io_dtype="unsupported")]),
        (measured("tflite_int8"), [measured("tflite_uint8")]),
        (measured("tflite_fp16"), [measured("tflite_fp32", size=10)]),
    ],
)
def test_the_recipe_to_ship(better, others):
    for order in ([better, *others], [*others, better]):
        assert [record["recipe"] for record in to_ship(order)] == [better["recipe"]]
