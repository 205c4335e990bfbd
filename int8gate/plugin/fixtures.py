"""The fixtures of the gates: the pipeline, a case on its way through it, and `int8_gate`.

Their names begin with `int8_`: other plugins have `settings`, a conftest.py may have `pipeline`.
"""

from __future__ import annotations

import json

import pytest

from int8gate.engine.errors import plain_text
from int8gate.engine.extras import explained
from int8gate.plugin.comparing import store_predictions
from int8gate.plugin.hints import pasteable
from int8gate.plugin.models import MODELS
from int8gate.plugin.recording import GATE_RESULTS, RECORDS
from int8gate.plugin.selecting import gate_id
from int8gate.plugin.xfails import DeclaredUnsupported, is_ignored, judged, past_its_date
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.settings import Settings
from int8gate.validation.case_summary import case_key
from int8gate.validation.verdict import fails

JUNIT_PROPERTY = "int8gate"  # of a test in JUnit's XML: case, gate, status and message as JSON
EXPECTED_ERRORS = (ValueError, OSError, RuntimeError)  # sentences for people, see the rooms' docs


def gate_of(function) -> str:
    """The gate that a test is, as in the record: `test_size` is `size`."""
    return function.__name__.removeprefix("test_")


@pytest.fixture(scope="session")
def int8_settings(pytestconfig: pytest.Config) -> Settings:
    option = pytestconfig.getoption
    return Settings(
        profile=option("int8_profile"),
        weights_dir=option("int8_weights_dir"),
        random_weights=option("int8_weights") == "random",
        data_dir=option("int8_data_dir"),
        min_calibration_samples=option("int8_min_calibration_samples"),
        stage_timeout_s=option("int8_stage_timeout"),
        calibration_jobs=option("int8_calibration_jobs"),
        trust=option("int8_trust"),
    )


@pytest.fixture(scope="session")
def int8_cpu_baseline(pytestconfig: pytest.Config) -> str:
    return pytestconfig.getoption("int8_cpu_baseline")


@pytest.fixture(scope="session")
def int8_pipeline(int8_settings: Settings, pytestconfig: pytest.Config):
    from int8gate.engine.cache import open_cache
    from int8gate.engine.worker import Worker
    from int8gate.quantizers.pipeline import Pipeline

    limit = pytestconfig.getoption("int8_memory_limit")
    watch = pytestconfig.pluginmanager.get_plugin("int8gate-progress")
    with Worker(limit and round(limit * 1e9), watch) as worker:
        yield Pipeline(
            int8_settings, open_cache(pytestconfig.getoption("int8_artifact_cache")), worker
        )


@pytest.fixture(scope="session")
def int8_runs() -> dict:
    """The runs of this process by case id, so that the gates of a case share them."""
    return {}


@pytest.fixture
def int8_case(request: pytest.FixtureRequest, int8_runs: dict, int8_pipeline):
    from int8gate.validation.case_run import CaseRun

    models = request.config.stash[MODELS]
    model_name, recipe_name = request.param
    key = f"{model_name}-{recipe_name}"
    if key not in int8_runs:
        int8_runs[key] = CaseRun(models[model_name], RECIPES[recipe_name], int8_pipeline)
    return int8_runs[key]


@pytest.fixture(scope="session")
def int8_errors() -> dict[tuple[str, str], str]:
    """The gate that met an error first, by case and message: the others do not repeat it."""
    return {}


@pytest.fixture
def int8_gate(request: pytest.FixtureRequest, int8_case, int8_errors: dict):
    """Calls a measurement, puts it into the record, and lets the test end as its result asks."""
    from int8gate.validation.expectations import CONVERSION
    from int8gate.validation.record import describe

    name = gate_of(request.function)

    def check(measurement, *arguments, history=None) -> None:
        declared = {} if is_ignored(request.config) else int8_case.expected.unsupported
        try:
            found = measurement(int8_case, *arguments)
        except Exception as error:
            fields = {"conversion": describe(int8_case)}
            if fields["conversion"]["status"] == "not_converted" and CONVERSION in declared:
                _record_result(
                    request.node, int8_case, name, "unsupported", declared[CONVERSION], fields
                )
                raise DeclaredUnsupported(plain_text(declared[CONVERSION])) from None
            missing = explained(error, int8_case.case_id)
            message = missing or plain_text(str(error))
            _record_result(request.node, int8_case, name, "error", message, fields)
            first = int8_errors.setdefault((int8_case.case_id, message), name)
            if first != name:
                message = f"the same as in its {first}"
            elif not missing and not isinstance(error, EXPECTED_ERRORS):
                raise
            message = f"error: {int8_case.case_id}: {message}"
            raise pytest.fail.Exception(message, pytrace=False) from None
        if scores := found.fields.get("accuracy"):
            key = case_key(request.config.stash[RECORDS].of(_case(int8_case)))
            store_predictions(request.config, int8_case, key, scores)
        reason = declared.get(CONVERSION) or declared.get(name)
        status, message = judged(found.result, reason, _exceptions_of(int8_case.declared))
        if status == "unsupported" and (past := past_its_date(int8_case.expected, name)):
            status, message = "failed", past
        message = pasteable(plain_text(message), request.config)
        record = _record_result(request.node, int8_case, name, status, message, found.fields)
        if history and found.rounds_s:
            history(found.rounds_s, record)
        _end(int8_case.case_id, name, status, message)

    return check


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


@pytest.fixture
def int8_history(benchmark, request: pytest.FixtureRequest):
    """Puts measured or modelled seconds into pytest-benchmark's history, with the case record.

    The benchmark's timer is a clock that these seconds move, so that `--benchmark-autosave`,
    `--benchmark-compare` and `--benchmark-compare-fail` work on them as on any benchmark.
    """
    clock = request.node.get_closest_marker("benchmark").kwargs["timer"]

    def keep(rounds_s: tuple[float, ...], record: dict) -> None:
        benchmark.extra_info["case"] = record
        rounds = iter(rounds_s)
        benchmark.pedantic(lambda: clock.advance(next(rounds)), rounds=len(rounds_s))

    yield keep
    if not benchmark.extra_info:  # a gate that found no rounds: no unused fixture to warn of
        benchmark.skipped = True
