"""A gate as a test: measured, put into the record of its case, and ended as its result asks."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from int8gate.engine.errors import plain_text
from int8gate.engine.extras import explained
from int8gate.plugin.cases import gate_of, targets_of
from int8gate.plugin.hints import pasteable
from int8gate.plugin.predictions import store_predictions
from int8gate.plugin.recording import GATE_RESULTS, RECORDS
from int8gate.plugin.selecting import gate_id
from int8gate.plugin.xfails import DeclaredUnsupported, is_ignored, judged, past_its_date
from int8gate.validation import measure
from int8gate.validation.case_summary import case_key
from int8gate.validation.expectations import CONVERSION
from int8gate.validation.record import describe_conversion
from int8gate.validation.verdict import fails

JUNIT_PROPERTY = "int8gate"  # of a test in JUnit's XML: case, gate, status and message as JSON
EXPECTED_ERRORS = (ValueError, OSError, RuntimeError)  # sentences for people, see the rooms' docs


def gate_case(
    request: pytest.FixtureRequest,
    run,
    errors: dict[tuple[str, str], str],
    measurement: str | Callable,
    *arguments,
    history: Callable | None = None,
) -> None:
    """Measures a case (`CaseRun`) for the gate that the test of `request` is, and ends the test.

    `measurement` is called with the case and `arguments`; a name is one of `validation.measure`.
    `errors` are those of the run so far, `history` takes the seconds of a gate of speed.
    """
    name = gate_of(request.function)
    measurement = getattr(measure, measurement) if isinstance(measurement, str) else measurement
    declared = {} if is_ignored(request.config) else run.expected.unsupported
    try:
        found = measurement(run, *arguments)
    except Exception as error:
        fields = {"conversion": describe_conversion(run)}
        if fields["conversion"]["status"] == "not_converted" and CONVERSION in declared:
            _record_result(request.node, run, name, "unsupported", declared[CONVERSION], fields)
            raise DeclaredUnsupported(plain_text(declared[CONVERSION])) from None
        missing = explained(error, run.case_id)
        message = missing or plain_text(str(error))
        _record_result(request.node, run, name, "error", message, fields)
        first = errors.setdefault((run.case_id, message), name)
        if first != name:
            message = f"the same as in its {first}"
        elif not missing and not isinstance(error, EXPECTED_ERRORS):
            raise
        message = f"error: {run.case_id}: {message}"
        raise pytest.fail.Exception(message, pytrace=False) from None
    if request.config.getoption("int8_rescue") and name == "accuracy":
        found.fields.update(rescued(run, found.result.status, request.config))
    if scores := found.fields.get("accuracy"):
        key = case_key(request.config.stash[RECORDS].of(_case(run)))
        store_predictions(request.config, run, key, scores)
    reason = declared.get(CONVERSION) or declared.get(name)
    status, message = judged(found.result, reason, _exceptions_of(run.declared))
    if status == "unsupported" and (past := past_its_date(run.expected, name)):
        status, message = "failed", past
    message = pasteable(plain_text(message), request.config)
    record = _record_result(request.node, run, name, status, message, found.fields)
    if history and found.rounds_s:
        history(found.rounds_s, record)
    if (found.fields.get("rescue") or {}).get("is_interrupted"):
        raise KeyboardInterrupt
    _end(run.case_id, name, status, message)


def rescued(run, status: str, config: pytest.Config) -> dict:
    """The record's `rescue` of a case whose accuracy gate ended so; empty of one that passed."""
    if status not in ("failed", "inconclusive") or not run.recipe.is_calibrated:
        return {}
    from int8gate.analysis.ladder import rescue

    option = config.getoption
    ladder = rescue(
        run,
        targets=targets_of(config, run.declared),
        core=option("int8_cpu_baseline"),
        budget_s=option("int8_rescue_budget"),
    )
    return {"rescue": ladder.as_record()}


def _exceptions_of(spec) -> str:
    """Where a model's exceptions are declared, for a message."""
    return f"{spec.own.where}, expect" if spec.own else "int8gate/validation/expectations.toml"


def _case(run) -> tuple[str, str, str, str]:
    """What the run's records are kept by."""
    spec = run.declared
    return spec.name, run.recipe.name, spec.task, spec.source_format


def _record_result(
    item: pytest.Item, run, gate_name: str, status: str, message: str, fields: dict
) -> dict:
    case, found = _case(run), gate_id(item.nodeid)
    assert found is not None, item.nodeid
    label = found[1]
    about = {"gate": gate_name, "status": status, "message": message}
    result = {"case": case, "label": label, "fields": fields} | about
    item.stash.setdefault(GATE_RESULTS, []).append(result)
    item.user_properties.append((JUNIT_PROPERTY, json.dumps({"case": run.case_id} | about)))
    item.config.stash[RECORDS].take(result)
    return item.config.stash[RECORDS].of(case)


def _end(case_id: str, gate_name: str, status: str, message: str) -> None:
    """The status comes first: of a long line pytest's last lines show the beginning."""
    if fails(gate_name, status):
        word = "not judged" if status == "not_measured" else status
        said = f"\n{message}" if "\n" in message else f": {message}"
        pytest.fail(f"{word}: {case_id} {gate_name}{said}", pytrace=False)
    if status == "unsupported":
        raise DeclaredUnsupported(message)
    if status == "not_measured":
        pytest.skip(message)
