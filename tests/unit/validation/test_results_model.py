"""`results.json` follows the schema that the package brings, and `int8gate validate` says so."""

from __future__ import annotations

import copy
import json

import pytest
from typer.testing import CliRunner

from int8gate.cli.app import app
from int8gate.plugin.options import pytest_addoption
from int8gate.reporting import write_results
from int8gate.validation import record as records
from int8gate.validation.comparing.history import RUNS
from int8gate.validation.results_model import SCHEMA_FILE, Case, check, schema_text

SHA256 = "1f" * 32
MEASURED = {
    "accuracy": {
        "metric": "top1", "unit": "fraction", "float": 0.9, "quantized": 0.89, "drop": 0.01,
        "drop_upper_95": 0.02, "tolerance": 0.009, "tolerance_rule": "0.99 * float",
        "samples": 512, "sources": 512,
    },
    "size_bytes": {"float": 400, "quantized": 100, "ratio": 0.25},
    "npu": [{"target": "ethos_u85_512", "kind": "modelled", "latency_ms": 1}],
    "artifact": {"path": "unet.tflite", "sha256": SHA256},
}  # fmt: skip


def results() -> dict:
    case = records.new_case("unet", "tflite_int8", "segmentation", "keras", "compact")
    records.add(case, "accuracy", "inconclusive", "512 samples", MEASURED)
    other = records.new_case("vit", "onnx_int8", "classification", "pytorch", "full")
    about = records.environment("compact", "2026-03-02T09:14:05+00:00", "pytest", True)
    return copy.deepcopy(records.results([case, other], about))


def changed(*place, value) -> dict:
    whole = inner = results()
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    return whole


def test_what_a_run_writes_follows_it(tmp_path):
    write_results(results(), tmp_path)
    shown = CliRunner().invoke(app, ["validate", str(tmp_path)])
    assert (shown.exit_code, shown.output.split(": ")[1]) == (0, "schema 2, 2 cases\n")
    assert list(Case.model_fields) == list(results()["cases"][0]), "every field of a record"


@pytest.mark.parametrize(
    ("whole", "sentence"),
    [
        (changed("cases", 0, "size_bytes", "quantized", value="100"),
         r"cases\[0\]\.size_bytes: quantized = '100', expected a whole number"),
        (changed("cases", 1, "verdict", value="fine"),
         r"cases\[1\]: verdict = 'fine', expected 'passed', "),
        (changed("cases", 1, "verdikt", value=None), r"unknown verdikt; did you mean verdict\?"),
        (changed("cases", 0, "gates", "size", value="ok"),
         r"cases\[0\]\.gates: size = 'ok', expected 'passed'"),
        (changed("cases", 0, "artifact", "sha256", value="1f"),
         r"artifact: sha256 = '1f', expected "),
        (changed("environment", "finished", value=1),
         r"environment: finished = 1, expected true or"),
        (changed("schema", value=1), r"schema = 1, expected 2"),
        ({}, r"environment is missing; .*: write it again with pytest --report"),
        ([], r"expected a table, found \[\]"),
    ],
)  # fmt: skip
def test_what_does_not_is_told_in_a_sentence(whole, sentence):
    with pytest.raises(ValueError, match=rf"^x\.json is not of schema 2: .*{sentence}") as refused:
        check(whole, "x.json")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_none_fails_the_command(tmp_path):
    file = tmp_path / "results.json"
    file.write_text(json.dumps(changed("answer", "kind", value="maybe")))
    (tmp_path / "notes.json").write_text("{}")
    shown = CliRunner().invoke(app, ["validate", str(file), str(tmp_path / "notes.json")])
    assert shown.exit_code == 1
    assert "answer: kind = 'maybe', expected 'nothing', " in shown.output
    assert "notes.json holds no run of int8gate (schema = None): expected" in shown.output
    assert CliRunner().invoke(app, ["validate"]).exit_code == 2


def test_the_schema_that_is_shipped_is_that_of_the_types():
    """After a change: `int8gate validate --schema > int8gate/validation/results.schema.json`."""
    shown = CliRunner().invoke(app, ["validate", "--schema"])
    assert shown.output == schema_text() == SCHEMA_FILE.read_text()
    assert set(json.loads(schema_text())["properties"]) == set(results())


def test_pytest_and_the_commands_look_for_runs_in_one_place():
    parser = pytest.Parser(_ispytest=True)
    pytest_addoption(parser)
    assert parser.parse_known_args([]).int8_runs == RUNS
