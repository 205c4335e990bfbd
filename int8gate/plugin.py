"""pytest's side of int8gate: parametrization, fixtures, the report. No quantization logic.

A test that takes `case_run` runs once for each model and recipe of the zoo; one that takes `target`
too, once for each NPU. Every gate hands its measurement to `gate`, which puts it into the case
record that travels with the test's report: to the summary, `--report`, and pytest-benchmark's
history.
"""

from __future__ import annotations

import pytest

from int8gate.comparing import Comparing
from int8gate.fixtures import gate_of
from int8gate.models import MODELS, collect_gates, find_models, remember_failed_gates
from int8gate.options import DEFAULT_RECIPE, DEFAULT_TARGETS
from int8gate.recording import RECORDS, Records
from quantizers.recipe import RECIPES, recipe
from reporting import ReportError
from runtimes.targets import FORMATS, HOST, check_target

MARKERS = (  # a gate each
    "accuracy: the drop from float is within tolerance",
    "io_dtype: inputs and outputs have the declared dtype, scale and zero point",
    "integer_only: no operator computes in float",
    "size: smaller than float",
    "cpu_speedup: not slower than float on this host",
    "npu_speedup: covered by the NPU and faster than an ARM CPU",
)
CASE = pytest.StashKey[tuple | None]()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    config.stash[RECORDS] = Records(config)
    config.pluginmanager.register(config.stash[RECORDS], "int8gate-records")
    config.stash[MODELS] = _usage(find_models, config)
    collect_gates(config)
    remember_failed_gates(config)
    for name in config.getoption("--recipe") or ():
        if name != DEFAULT_RECIPE:
            _usage(recipe, name)
    for name in config.getoption("--target") or ():
        _usage(check_target, name)
    if config.option.collectonly:
        return
    _usage(config.stash[RECORDS].begin)
    if not hasattr(config, "workerinput"):
        comparing = Comparing(config)
        config.pluginmanager.register(comparing, "int8gate-comparing")
        _usage(comparing.begin)


def _usage(function, *arguments):
    try:
        return function(*arguments)
    except (ValueError, OSError, ReportError) as error:
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case_run" not in metafunc.fixturenames:
        return
    option, gate_name = metafunc.config.getoption, gate_of(metafunc.function)
    cases = [
        ((spec.name, name), _targets_of(spec, option("--target")))
        for spec in metafunc.config.stash[MODELS].values()
        for name in _recipes_of(spec, option("--recipe"))
        if gate_name in RECIPES[name].gates
    ]
    if "target" in metafunc.fixturenames:
        parameters = [
            _parameter(case, npu)
            for case, targets in cases
            for npu in targets
            if FORMATS.get(npu) == RECIPES[case[1]].toolchain
        ]
        metafunc.parametrize(("case_run", "target"), parameters, indirect=["case_run"])
        return
    if gate_name == "cpu_speedup":
        cases = [(case, targets) for case, targets in cases if HOST in targets]
    metafunc.parametrize("case_run", [_parameter(case) for case, _ in cases], indirect=True)


def _targets_of(spec, chosen: list[str] | None) -> tuple[str, ...]:
    """Those of the command line, of the model's own declaration, or the usual ones."""
    return tuple(chosen or (spec.own and spec.own.targets) or DEFAULT_TARGETS)


def _recipes_of(spec, chosen: list[str] | None) -> list[str]:
    """The model's recipes that the command line asks for, all of them when it names none."""
    if not chosen:
        return list(spec.recipes)
    named = {spec.default_recipe if name == DEFAULT_RECIPE else name for name in chosen}
    return [name for name in spec.recipes if name in named]


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
