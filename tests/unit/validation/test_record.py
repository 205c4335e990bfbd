"""The case record: what gates tell it, in whatever order and however often."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from int8gate.quantizers.recipe_type import ALL_GATES
from int8gate.validation import record as records

# The case record of the design, field by field; `conversion`, `messages` and `notes` are ours.
FIELDS = [
    *("model", "recipe", "task", "source_format", "profile", "verdict", "reason", "gates"),
    *("pending", "deselected"),
    *(
        "conversion",
        "calibration",
        "calibration_audit",
        "training",
        "accuracy",
        "fidelity",
        "error_origin",
        "rescue",
        "io",
        "integer_ops",
        "size_bytes",
    ),
    *("cpu", "generation", "npu"),
    "seconds",
    *("peak_rss_bytes", "artifact", "messages", "notes"),
]
WORST_FIRST = ("error", "invalid", "failed", "inconclusive", "not_measured", "unsupported")
STATUSES = (*WORST_FIRST, "recorded", "passed")
SIZE = {"size_bytes": {"float": 400, "quantized": 100, "ratio": 0.25}}
CPU = {"cpu": {"kind": "measured", "float_ms": 2.0, "quantized_ms": 1.0, "speedup": 2.0}}


def npu(target: str, speedup: float | None = 3.0) -> dict:
    return {"npu": [{"target": target, "kind": "modelled", "speedup": speedup}]}


def new() -> dict:
    return records.new_case("tiny", "tflite_int8", "classification", "keras", "compact")


def told(*findings) -> dict:
    record = new()
    for finding in findings:
        records.add(record, *finding)
    return record


# What a gate can tell: a status, words, and its own fields; the NPU's gate for one of its targets.
words = st.text("ab \n", max_size=8)
statuses = st.sampled_from(STATUSES)
single = st.tuples(st.sampled_from(ALL_GATES[:-1]), statuses, words).map(lambda told: (*told, {}))
targets = st.sampled_from(["ethos_u55_128", "ethos_u85_512"])
for_npu = st.tuples(statuses, words, targets).map(
    lambda told: ("npu_speedup", told[0], told[1], npu(told[2]))
)
findings = st.lists(single | for_npu, max_size=8)


@given(findings, st.randoms())
def test_order_and_repetition_change_nothing(said, random):
    again = [*said, *random.sample(said, len(said) // 2)]
    random.shuffle(again)
    assert told(*said) == told(*again)


@given(findings.filter(bool))
def test_worst_status_of_a_gate_stands(said):
    record = told(*said)
    for gate in ALL_GATES:
        found = [status for name, status, *_ in said if name == gate]
        assert record["gates"][gate] == min(found, key=STATUSES.index, default=None)
        if not found:
            assert gate not in record["messages"]


@given(findings.filter(bool))
def test_nothing_bad_or_unmeasured_ends_as_passed(said):
    record = told(*said)
    statuses = set(record["gates"].values()) - {None}
    for status in WORST_FIRST[:4]:
        if status in statuses:
            assert record["verdict"] == status
            break
    else:
        rests_on = {None: None, "unsupported": "unsupported"}
        expected = rests_on.get(record["gates"]["accuracy"], "passed")
        if "not_measured" in (record["gates"]["accuracy"], record["gates"]["npu_speedup"]):
            expected = "not_judged"
        assert record["verdict"] == expected


@given(findings)
def test_record_is_json_of_the_declared_fields(said):
    record = told(*said)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert list(record) == FIELDS
    assert list(record["gates"]) == list(ALL_GATES)


def test_new_record_holds_nothing_that_was_not_measured():
    record = new()
    assert list(record) == FIELDS
    assert record["verdict"] is None
    known = {"model", "recipe", "task", "source_format", "profile", "reason", "gates"}
    empty = {"npu": [], "messages": {}, "notes": [], "pending": [], "deselected": []}
    for name in set(FIELDS) - known:
        assert record[name] == empty.get(name), name
    assert set(record["gates"].values()) == {None}


def test_unmeasured_fields_stay_null_beside_measured_ones():
    record = told(("size", "passed", "", SIZE))
    assert record["size_bytes"] == SIZE["size_bytes"]
    assert record["verdict"] is None
    assert record["reason"] == "the accuracy gate was not run"
    for name in ("accuracy", "fidelity", "io", "integer_ops", "cpu", "seconds", "artifact"):
        assert record[name] is None


def test_targets_stand_side_by_side():
    first, second = npu("ethos_u55_128", None), npu("ethos_u85_512")
    record = told(("npu_speedup", "failed", "no speedup on u55", first))
    records.add(record, "npu_speedup", "passed", "", second)
    assert record["npu"] == first["npu"] + second["npu"]
    assert record["gates"]["npu_speedup"] == "failed"
    records.add(record, "npu_speedup", "failed", "slow on u85", second)
    assert record["messages"]["npu_speedup"] == "no speedup on u55\n\nslow on u85"
    assert record["verdict"] == "failed"
    assert record["reason"] == "npu_speedup: no speedup on u55"


def test_worse_status_takes_the_message_along():
    record = told(("size", "recorded", "0.3 of float: recorded", SIZE), ("size", "failed", "", {}))
    assert record["messages"] == {}
    assert record["reason"] == "size: "
    records.add(record, "size", "error", "LiteRT cannot load it\nmeasured: nothing", {})
    assert record["reason"] == "size: LiteRT cannot load it"


def test_reason_names_every_gate_of_the_verdict():
    record = told(("size", "failed", "big", {}), ("integer_only", "failed", "ELU\nmore", {}))
    assert record["reason"] == "integer_only, size: ELU"
    unmeasured = told(("accuracy", "not_measured", "the weights are random", {}))
    assert unmeasured["verdict"] == "not_judged"
    assert unmeasured["reason"] == "the weights are random"


def test_recorded_speed_is_no_failure():
    record = told(("accuracy", "passed", "", {}), ("cpu_speedup", "recorded", "0.1x", CPU))
    assert record["verdict"] == "passed"


def test_unknown_status_is_refused():
    record = new()
    with pytest.raises(ValueError, match="passd"):
        records.add(record, "size", "passd", "", {})
    records.add(record, "size", "passed", "", {})
    with pytest.raises(ValueError, match="passd"):
        records.add(record, "size", "passd", "", {})


def test_results_say_what_they_depend_on():
    about = records.environment("compact", "2026-01-01T00:00:00+00:00", "pytest -k tiny", True)
    whole = records.results([told(("size", "passed", "", SIZE)), new() | {"model": "a"}], about)
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole
    assert [case["model"] for case in whole["cases"]] == ["a", "tiny"]
    assert whole["schema"] == 2
    assert whole["environment"]["command"] == "pytest -k tiny"
    assert whole["environment"]["packages"]["numpy"]
