"""pytest's side of int8gate: parametrization, fixtures, the report. No quantization logic.

A test that takes `case_run` runs once for each model and recipe of the zoo; one that takes `target`
too, once for each NPU. Every gate hands its measurement to `gate`, which puts it into the case
record that travels with the test's report: to the summary, `--report`, and pytest-benchmark's
history.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from int8gate.options import DEFAULT_RECIPE, DEFAULT_TARGETS
from model_zoo.registry import zoo
from quantizers.recipe import RECIPES, recipe
from quantizers.settings import Settings
from reporting import ReportError, begin_report, write_report, write_results
from reporting.terminal import summary_lines
from runtimes.targets import FORMATS, HOST, check_target
from validation import record as records

pytest_plugins = ["int8gate.options"]
RECORDS = pytest.StashKey["Records"]()
CASE = pytest.StashKey[tuple | None]()
RECORD_PROPERTY = "int8gate"
EXPECTED_ERRORS = (ValueError, OSError, RuntimeError)  # sentences for people, see the rooms' docs


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    if getattr(config.option, "numprocesses", None):
        config.option.dist = "loadgroup"  # the gates of a case stay on one worker


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RECORDS] = Records(config)
    config.pluginmanager.register(config.stash[RECORDS], "int8gate-records")
    for name in config.getoption("--recipe") or ():
        if name != DEFAULT_RECIPE:
            _usage(recipe, name)
    for name in config.getoption("--target") or ():
        _usage(check_target, name)
    if not config.option.collectonly:
        _usage(config.stash[RECORDS].begin)


def _usage(check, *arguments) -> None:
    try:
        check(*arguments)
    except (ValueError, ReportError) as error:
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case_run" not in metafunc.fixturenames:
        return
    option, gate_name = metafunc.config.getoption, _gate_of(metafunc.function)
    targets = option("--target") or DEFAULT_TARGETS
    cases = [
        (spec.name, name)
        for spec in zoo().values()
        for name in _recipes_of(spec, option("--recipe"))
        if gate_name in RECIPES[name].gates
    ]
    if "target" in metafunc.fixturenames:
        parameters = [
            _parameter(case, npu)
            for case in cases
            for npu in targets
            if FORMATS.get(npu) == RECIPES[case[1]].toolchain
        ]
        metafunc.parametrize(("case_run", "target"), parameters, indirect=["case_run"])
        return
    if gate_name == "cpu_speedup" and HOST not in targets:
        cases = []
    metafunc.parametrize("case_run", [_parameter(case) for case in cases], indirect=True)


def _recipes_of(spec, chosen: list[str] | None) -> list[str]:
    """The model's recipes that the command line asks for, all of them when it names none."""
    if not chosen:
        return list(spec.recipes)
    named = {spec.default_recipe if name == DEFAULT_RECIPE else name for name in chosen}
    return [name for name in spec.recipes if name in named]


def _gate_of(function) -> str:
    return function.__name__.removeprefix("test_")


def _parameter(case: tuple[str, str], target: str | None = None):
    case_id = "-".join(case)
    values, label = ([case], case_id) if target is None else ([case, target], f"{case_id}-{target}")
    return pytest.param(*values, id=label, marks=pytest.mark.xdist_group(case_id))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One case after another, so that an interrupted run holds whole cases."""
    order: dict = {}
    for item in items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case_run")
        item.stash[CASE] = case
        order.setdefault(case, len(order))
    items.sort(key=lambda item: order[item.stash[CASE]])


@pytest.fixture(scope="session")
def settings(pytestconfig: pytest.Config) -> Settings:
    option = pytestconfig.getoption
    return Settings(
        profile=option("--profile"),
        weights_dir=option("--weights-dir"),
        random_weights=option("--weights") == "random",
        data_dir=option("--data-dir"),
        min_calibration_samples=option("--min-calibration-samples"),
        stage_timeout_s=option("--stage-timeout"),
        calibration_jobs=option("--calibration-jobs"),
    )


@pytest.fixture(scope="session")
def cpu_baseline(pytestconfig: pytest.Config) -> str:
    return pytestconfig.getoption("--cpu-baseline")


@pytest.fixture(scope="session")
def pipeline(settings: Settings, pytestconfig: pytest.Config):
    from quantizers.cache import open_cache
    from quantizers.pipeline import Pipeline
    from quantizers.worker import Worker

    with Worker() as worker:
        yield Pipeline(settings, open_cache(pytestconfig.getoption("--artifact-cache")), worker)


@pytest.fixture(scope="session")
def case_runs() -> dict:
    """The runs of this process by case id, so that the gates of a case share them."""
    return {}


@pytest.fixture
def case_run(request: pytest.FixtureRequest, case_runs: dict, pipeline):
    from model_zoo.registry import model
    from validation.case_run import CaseRun

    model_name, recipe_name = request.param
    key = f"{model_name}-{recipe_name}"
    if key not in case_runs:
        case_runs[key] = CaseRun(model(model_name), RECIPES[recipe_name], pipeline)
    return case_runs[key]


@pytest.fixture
def gate(request: pytest.FixtureRequest, case_run):
    """Calls a measurement, puts it into the record, and lets the test end as its result asks."""
    from validation.conversion import describe
    from validation.expectations import CONVERSION

    name = _gate_of(request.function)

    def check(measurement, *arguments, history=None) -> None:
        declared = case_run.expected.unsupported
        try:
            found = measurement(case_run, *arguments)
        except Exception as error:
            fields = {"conversion": describe(case_run)}
            if fields["conversion"]["status"] == "not_converted" and CONVERSION in declared:
                _tell(request.node, case_run, name, "unsupported", declared[CONVERSION], fields)
                pytest.xfail(declared[CONVERSION])
            _tell(request.node, case_run, name, "error", str(error), fields)
            if isinstance(error, EXPECTED_ERRORS):
                message = f"{case_run.case_id}: {error}"
                raise pytest.fail.Exception(message, pytrace=False) from None
            raise
        status, message = _judge(found.result, declared.get(CONVERSION) or declared.get(name))
        record = _tell(request.node, case_run, name, status, message, found.fields)
        if history and found.rounds_s:
            history(found.rounds_s, record)
        _end(case_run.case_id, name, status, message)

    return check


def _judge(result, unsupported: str | None) -> tuple[str, str]:
    """A declared exception is strict: the day it works, it fails and asks to be taken out."""
    if not unsupported or result.status in ("invalid", "not_measured"):
        return result.status, result.message
    if result.status in ("failed", "inconclusive"):
        return "unsupported", unsupported
    return "failed", (
        f"declared unsupported ({unsupported}), but it works now: take the entry out of "
        "validation/expectations.toml"
    )


def _tell(item: pytest.Item, run, gate_name: str, status: str, message: str, fields: dict) -> dict:
    case = (run.spec.name, run.recipe.name, run.spec.task, run.spec.source_format)
    told = {"case": case, "gate": gate_name, "status": status, "message": message, "fields": fields}
    item.user_properties.append((RECORD_PROPERTY, told))
    item.config.stash[RECORDS].take(told)
    return item.config.stash[RECORDS].of(case)


def _end(case_id: str, gate_name: str, status: str, message: str) -> None:
    if status in ("failed", "inconclusive", "invalid"):
        pytest.fail(f"{case_id}: {gate_name} {status}\n{message}", pytrace=False)
    if status == "unsupported":
        pytest.xfail(message)
    if status == "not_measured":
        pytest.skip(message)


@pytest.fixture
def history(benchmark, request: pytest.FixtureRequest):
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


class Records:
    """The case records of a run, in every process; the one that reports has them all."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.cases: dict[tuple, dict] = {}
        self.finished = False

    def of(self, case: tuple) -> dict:
        """The record of (model, recipe, task, source format)."""
        if tuple(case) not in self.cases:
            profile = self.config.getoption("--profile")
            self.cases[tuple(case)] = records.new_case(*case, profile=profile)
        return self.cases[tuple(case)]

    def take(self, told: dict) -> None:
        gate_found = (told["gate"], told["status"], told["message"], told["fields"])
        records.add(self.of(told["case"]), *gate_found)

    def results(self) -> dict:
        command = shlex.join(["pytest", *self.config.invocation_params.args])
        profile = self.config.getoption("--profile")
        about = records.environment(profile, self.started, command, self.finished)
        return records.results(list(self.cases.values()), about)

    def begin(self) -> None:
        if self.reports_to:
            begin_report(self.results(), self.reports_to)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes what a worker of xdist found, and writes it down before anything can be lost."""
        told = [value for name, value in report.user_properties if name == RECORD_PROPERTY]
        for one in told:
            self.take(one)
        if told and report.when == "teardown" and self.reports_to:
            write_results(self.results(), self.reports_to)

    def pytest_terminal_summary(self, terminalreporter, exitstatus: int) -> None:
        self.finished = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if not self.cases:
            return
        results = self.results()
        terminalreporter.section("int8gate")
        width = terminalreporter._tw.fullwidth
        for line, style in summary_lines(results, width):
            terminalreporter.write_line(line, **style)
        if self.reports_to:
            write_report(results, self.reports_to)
            terminalreporter.write_line(f"report: {self.reports_to / 'report.html'}")

    @property
    def reports_to(self) -> Path | None:
        """Where to write; None without `--report`, and in the workers of xdist."""
        is_worker = hasattr(self.config, "workerinput")
        return None if is_worker else self.config.getoption("--report")
