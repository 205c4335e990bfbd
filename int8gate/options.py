"""The options of int8gate, as a pytest plugin that an installation registers by itself.

They stand here and not in `conftest.py` because pytest reads that file too late to know that
``--report DIR`` takes a value.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from model_zoo.spec import PROFILES
from quantizers.recipe import RECIPES

DEFAULT_RECIPE = "default"
DEFAULT_TARGETS = ("host_cpu", "ethos_u85_512")
TAKE_DIRECTORIES = ("--report", "--artifact-cache", "--weights-dir", "--data-dir")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("int8gate", "int8gate: validation of quantized models")
    option = group.addoption
    option(
        "--profile",
        choices=PROFILES,
        default="compact",
        help="compact: reduced networks, weights come with the project. full: native networks",
    )
    option(
        "--zoo",
        action="append",
        metavar="FILE",
        help="models of your own, declared in a TOML (repeatable; `int8gate init` begins one); "
        "builtin: those of int8gate too",
    )
    option(
        "--recipe",
        action="append",
        metavar="NAME",
        help=f"only this recipe (repeatable): {DEFAULT_RECIPE} (the model's own first one), "
        f"{', '.join(RECIPES)}",
    )
    option(
        "--target",
        action="append",
        metavar="NAME",
        help="time on this target only (repeatable): host_cpu, ethos_u55_128, ethos_u65_256, "
        "ethos_u85_512, ethos_u85_2048 (TFLite artifacts), qnn_htp (ONNX artifacts, an extra). "
        f"Default: {' '.join(DEFAULT_TARGETS)}",
    )
    option(
        "--cpu-baseline",
        choices=("Cortex-A55", "Cortex-A76"),
        default="Cortex-A55",
        help="the modelled ARM core that an NPU is compared with",
    )
    option(
        "--weights-dir", type=Path, metavar="DIR", help="weights as DIR/MODEL.safetensors or .h5"
    )
    option(
        "--weights",
        choices=("trained", "random"),
        default="trained",
        help="random: a structure-only run, accuracy is not measured",
    )
    option("--data-dir", type=Path, metavar="DIR", help="your own pictures; layout in the README")
    option(
        "--min-calibration-samples",
        type=int,
        default=100,
        metavar="N",
        help="refuse calibration sets below this size",
    )
    option(
        "--calibration-jobs",
        type=int,
        default=1,
        metavar="N",
        help="processes that calibrate at a time, each on shards of the samples",
    )
    option(
        "--baseline",
        type=Path,
        metavar="FILE",
        help="accepted results, a TOML: the run fails where a figure got worse beyond tolerance",
    )
    option(
        "--update-baseline",
        action="store_true",
        help="write what passed in this run to --baseline (int8gate-baseline.toml)",
    )
    option(
        "--gate-compare-fail",
        metavar="LIMITS",
        help="fail where the run of --benchmark-compare (the last one saved) was better by more: "
        "accuracy:0.5%%,npu_latency:5%%",
    )
    option("--report", type=Path, metavar="DIR", help="write results.json, report.md, report.html")
    option("--artifact-cache", metavar="DIR", help="where artifacts are kept; none: nowhere")
    option(
        "--stage-timeout",
        type=float,
        default=900,
        metavar="SECONDS",
        help="time limit of one export, calibration, conversion or evaluation",
    )
    option(
        "--trust",
        action="store_true",
        help="let code in your own model files run: Keras's Lambda layers, pickles in a .pt2",
    )
    option(
        "--memory-limit",
        type=float,
        metavar="GB",
        help="what a stage's process may hold in memory before it is killed (default: no limit)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuses a command line that hides the project's settings from pytest.

    pytest takes an existing directory after a space for a test path, before it knows the options,
    and looks for the settings there.
    """
    given = config.invocation_params
    hiding = [name for name in TAKE_DIRECTORIES if name in given.args]
    settings = given.dir / "pyproject.toml"
    if hiding and config.inipath != settings and (given.dir / "tests" / "zoo").is_dir():
        raise pytest.UsageError(
            f"write {' '.join(f'{name}=DIR' for name in hiding)}, with an equals sign: pytest took "
            f"the directory for a test path and did not read {settings}"
        )
