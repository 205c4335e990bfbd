"""The options of int8gate: all that its pytest plugin brings where nobody asks for a gate.

An installation loads this module into every run of pytest, also in repositories that gate nothing.
So it imports nothing but pytest and modules of `int8gate` that do the same; the rest of the plugin
is loaded once a run asks for gates (`requested.py`), before pytest reads the options for good.
What is wrong with the values of options is told once, before anything is collected
(`check_options`).
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from int8gate.plugin import arguments
from int8gate.plugin.requested import REQUESTED, refuse_without_models, requested_gates

GROUP = "int8gate"
DEFAULT_RECIPE = "default"
PROFILES = ("compact", "full")  # as in `model_zoo/spec.py`, which would load too much
GATING = ("int8gate.plugin.fixtures", "int8gate.plugin.grouping", "int8gate.plugin.hooks")
# What a table of speed gates shows where the user does not say: 10 columns are 200 characters wide.
BENCHMARK_TABLE = ("--benchmark-columns=median,iqr,rounds", "--benchmark-sort=name")
WHOLE_CASES = "--dist=worksteal"  # under `-n`: see `grouping.py`

POSITIVE = ("stage_timeout", "memory_limit", "rescue_budget", "train_budget")
COUNTS = {"calibration_jobs": 1, "min_calibration_samples": 1}  # the least that has a meaning
FOLDERS = ("data_dir", "weights_dir")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup(
        GROUP,
        "int8gate: validation of quantized models (each option also without int8-, as --report, "
        "where no other plugin and no conftest.py has an option of that name)",
    )
    option = group.addoption
    option(
        "--int8-profile",
        choices=PROFILES,
        default="compact",
        help="compact: reduced networks, weights come with the project. full: native networks",
    )
    option(
        "--int8-zoo",
        action="append",
        metavar="FILE",
        help="models of your own, declared in a TOML (repeatable; `int8gate init` begins one); "
        "builtin: those of int8gate too",
    )
    option(
        "--int8-case",
        action="append",
        metavar="CASE",
        help="this case alone (repeatable) and no other test: unet-tflite_int8, or unet-* for all "
        "of a model",
    )
    option(
        "--int8-recipe",
        action="append",
        metavar="NAME",
        help=f"only this recipe (repeatable), such as tflite_int8; {DEFAULT_RECIPE}: the first one "
        "that each model declares",
    )
    option(
        "--int8-target",
        action="append",
        metavar="NAME",
        help="time on this target only (repeatable): the host CPU, or an NPU; the README lists "
        "them, and so does the message of an unknown name. Default: the host, and one NPU",
    )
    option(
        "--int8-cpu-baseline",
        choices=("Cortex-A55", "Cortex-A76"),
        default="Cortex-A55",
        help="the modelled ARM core that an NPU is compared with",
    )
    option(
        "--int8-weights-dir",
        type=Path,
        metavar="DIR",
        help="weights as DIR/MODEL.safetensors or .h5",
    )
    option(
        "--int8-weights",
        choices=("trained", "random"),
        default="trained",
        help="random: a structure-only run, accuracy is not measured",
    )
    option(
        "--int8-data-dir", type=Path, metavar="DIR", help="your own pictures; layout in the README"
    )
    option(
        "--int8-min-calibration-samples",
        type=int,
        default=100,
        metavar="N",
        help="refuse calibration sets below this size",
    )
    option(
        "--int8-calibration-jobs",
        type=int,
        default=1,
        metavar="N",
        help="processes that calibrate at a time, each on shards of the samples",
    )
    option(
        "--int8-baseline",
        type=Path,
        metavar="FILE",
        help="accepted results, a TOML: the run fails where a figure got worse beyond tolerance",
    )
    option(
        "--int8-update-baseline",
        action="store_true",
        help="write what passed in this run to --int8-baseline (int8gate-baseline.toml)",
    )
    option(
        "--int8-gate-compare-fail",
        metavar="LIMITS",
        help="fail where the run of --benchmark-compare (the last one saved) was better by more: "
        "accuracy:0.5%%,npu_latency:5%%",
    )
    option(
        "--int8-runs",
        type=Path,
        default=Path(".int8gate", "runs"),
        metavar="DIR",
        help="where --benchmark-autosave and --benchmark-save also keep the results.json of a run, "
        "for `int8gate history` and --gate-compare-fail",
    )
    option(
        "--int8-report",
        type=Path,
        metavar="DIR",
        help="write results.json, report.md, report.html",
    )
    option(
        "--int8-artifacts",
        type=Path,
        metavar="DIR",
        help="copy what may ship there: unet-tflite_int8.tflite, and a .json with sha256, dtypes, "
        "scales and zero points",
    )
    option(
        "--int8-rescue",
        action="store_true",
        help="where a case's accuracy fails or is inconclusive, try remedies from the cheapest to "
        "the dearest until one passes",
    )
    option(
        "--int8-rescue-budget",
        type=_time,
        default=600,
        metavar="TIME",
        help="for the remedies of each case",
    )
    option(
        "--int8-train",
        action="store_true",
        help="also the recipes that train (quantization-aware training): `int8gate list` names "
        "none of them, --recipe tflite_qat_int8 one",
    )
    option(
        "--int8-train-budget",
        type=_time,
        default=180,
        metavar="TIME",
        help="of computing for each training: 90s, 3m",
    )
    option(
        "--int8-train-labels",
        action="store_true",
        help="training learns from labels too, half and half with the float network's answers",
    )
    option("--int8-artifact-cache", metavar="DIR", help="where artifacts are kept; none: nowhere")
    option(
        "--int8-stage-timeout",
        type=float,
        default=900,
        metavar="SECONDS",
        help="time limit of one export, calibration, conversion or evaluation",
    )
    option(
        "--int8-trust",
        action="store_true",
        help="let code in your own model files run: Keras's Lambda layers, pickles in a .pt2",
    )
    option(
        "--int8-memory-limit",
        type=float,
        metavar="GB",
        help="what a stage's process may hold in memory before it is killed (default: no limit)",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Iterator[None]:
    """Puts `--int8-report` for `--report` where nobody else has that option, and loads the gates.

    Afterwards, for a conftest.py may add options too.
    """
    names = arguments.short_names(parser, GROUP)
    arguments.look_for_conftests_too(early_config, parser, args, names)
    result = yield
    args[:] = arguments.translated(args, parser, names)
    chosen = parser.parse_known_args(args, copy.copy(early_config.option))
    requested = early_config.stash[REQUESTED] = requested_gates(early_config, chosen)
    if requested:
        for name in GATING:
            early_config.pluginmanager.import_plugin(name)
        if arguments.is_known(parser, BENCHMARK_TABLE[0].partition("=")[0]):
            args[:0] = BENCHMARK_TABLE  # what comes later on a command line wins
        if getattr(chosen, "numprocesses", None):
            args[:0] = [WHOLE_CASES]
    else:
        refuse_without_models(early_config, chosen)
    return result


def pytest_configure(config: pytest.Config) -> None:
    arguments.refuse_hidden_settings(config)


def _time(text: str) -> float:
    from int8gate.engine.duration import seconds_of

    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def check_options(config: pytest.Config) -> None:
    """Raises ValueError in one sentence that names the option, its value and what is expected."""
    for name in POSITIVE:
        value = _given(config, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{_shown(name)}={value:g}: expected a number above 0")
    for name, least in COUNTS.items():
        value = _given(config, name)
        if value is not None and value < least:
            raise ValueError(f"{_shown(name)}={value}: expected a whole number of {least} or more")
    for name in FOLDERS:
        value = _given(config, name)
        if value is not None and not Path(config.invocation_params.dir, value).is_dir():
            raise ValueError(f"{_shown(name)}={value}: no such directory: mend the path")


def _given(config: pytest.Config, name: str):
    return config.getoption(f"int8_{name}")


def _shown(name: str) -> str:
    return f"--int8-{name.replace('_', '-')}"
