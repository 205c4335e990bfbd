"""The fixtures of the gates: the pipeline, a case on its way through it, and `int8_gate`.

Their names begin with `int8_`: other plugins have `settings`, a conftest.py may have `pipeline`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from int8gate.plugin.models import MODELS
from int8gate.quantizers.recipe import recipe

if TYPE_CHECKING:
    from int8gate.quantizers.settings import Settings


@pytest.fixture(scope="session")
def int8_settings(pytestconfig: pytest.Config) -> Settings:
    from int8gate.quantizers.settings import Settings

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
        train_budget_s=option("int8_train_budget"),
        train_labels=option("int8_train_labels"),
    )


@pytest.fixture(scope="session")
def int8_cpu_baseline(pytestconfig: pytest.Config) -> str:
    return pytestconfig.option.int8_cpu_baseline


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
        int8_runs[key] = CaseRun(models[model_name], recipe(recipe_name), int8_pipeline)
    return int8_runs[key]


@pytest.fixture(scope="session")
def int8_errors() -> dict[tuple[str, str], str]:
    """The gate that met an error first, by case and message: the others do not repeat it."""
    return {}


@pytest.fixture
def int8_gate(request: pytest.FixtureRequest, int8_case, int8_errors: dict):
    """Called with the name of a measurement (`validation.measure`), or a function like those, and
    its arguments: see `gating.gate_case`.
    """
    from int8gate.plugin.gating import gate_case

    return partial(gate_case, request, int8_case, int8_errors)


class RecordedClock:
    """A timer that moves only by the seconds it is told, for benchmark histories.

    It lets pytest-benchmark keep rounds that were measured in turn with float ones, or modelled.
    """

    __name__ = "recorded_clock"

    def __init__(self):
        self._now = 0.0

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


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
