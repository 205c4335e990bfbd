"""pytest's side of int8gate: parametrization, fixtures, the report. No quantization logic.

`options.py` loads it where a run asks for gates. A test that takes `int8_case` runs once for each
model and recipe of its file; one that takes `target` too, once for each NPU. Every gate hands its
measurement to `int8_gate`, which puts it into the case record that travels with the test's report:
to the summary, `--report`, and pytest-benchmark's history.
"""

from __future__ import annotations

import pytest

from int8gate.engine.errors import plain_text
from int8gate.engine.plugins import PYPROJECT, load_plugins
from int8gate.plugin.cases import check_choice, gate_of, parameters
from int8gate.plugin.collecting import Collecting
from int8gate.plugin.models import FULL_ALONE, MODELS, find_models
from int8gate.plugin.options import check_options
from int8gate.plugin.requested import REQUESTED, requested_by
from int8gate.plugin.selecting import Selection
from int8gate.plugin.workarounds import leave_out_warning

MARKERS = (  # a gate each
    "accuracy: the drop from float is within tolerance",
    "io_dtype: inputs and outputs have the declared dtype, scale and zero point",
    "integer_only: no operator computes in float",
    "size: smaller than float",
    "cpu_speedup: not slower than float on this host",
    "npu_speedup: covered by the NPU and faster than an ARM CPU",
)
# Of anyio's plugin, which comes with others' dependencies and is loaded in every run.
NOT_OURS = "_pytest.python.CallSpec2 has been renamed"


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if not config.stash.get(REQUESTED, None):  # -p int8gate.plugin.hooks
        return
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    for file in dict.fromkeys((config.rootpath / PYPROJECT, *requested_by(config).files)):
        _usage(load_plugins, file)
    _usage(check_options, config)
    config.stash[MODELS] = _usage(find_models, config)
    _usage(check_choice, config)
    collecting = Collecting(config)
    config.pluginmanager.register(collecting, "int8gate-collecting")
    collecting.add_files()
    leave_out_warning(NOT_OURS, config)
    records = None if config.option.collectonly else _records(config)
    config.pluginmanager.register(Selection(config, records), "int8gate-selection")


def _records(config: pytest.Config):
    """What a run that executes its gates keeps of them; loaded for such a run alone."""
    from int8gate.plugin.recording import RECORDS, Records

    records = config.stash[RECORDS] = Records(config)
    config.pluginmanager.register(records, "int8gate-records")
    _usage(records.begin)
    if not hasattr(config, "workerinput"):
        from int8gate.plugin.predictions import is_compared
        from int8gate.plugin.progress import StageLine
        from int8gate.plugin.publishing import Publishing

        if is_compared(config):
            from int8gate.plugin.comparing import Comparing

            comparing = Comparing(config)
            config.pluginmanager.register(comparing, "int8gate-comparing")
            _usage(comparing.begin)
        config.pluginmanager.register(Publishing(config), "int8gate-publishing")
        if StageLine.is_wanted(config):
            config.pluginmanager.register(StageLine(config), "int8gate-progress")
    return records


def _usage(function, *arguments):
    try:
        return function(*arguments)
    except (ValueError, OSError) as error:
        raise pytest.UsageError(plain_text(str(error))) from error


def pytest_report_header(config: pytest.Config) -> str | None:
    """Models that the run leaves out, which would else be missed by nobody."""
    alone = config.stash.get(FULL_ALONE, [])
    return f"int8gate leaves out {', '.join(alone)}: of the full profile alone" if alone else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "int8_case" not in metafunc.fixturenames:
        return
    found = parameters(metafunc.config, metafunc.definition.path, gate_of(metafunc.function))
    names = [name for name in ("int8_case", "target") if name in metafunc.fixturenames]
    metafunc.parametrize(names, found, indirect=["int8_case"])
