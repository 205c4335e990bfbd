"""Sensitivity of layers: on networks whose loss is made in one known layer, in each toolchain."""

from __future__ import annotations

import math

import numpy as np
import outlier_networks
import pytest
from data_folders import refused
from in_process import InProcess

from int8gate.analysis.layer_runs import effect
from int8gate.analysis.sensitivity import measure
from int8gate.engine.cache import ArtifactCache
from int8gate.engine.errors import TaskLog
from int8gate.engine.worker import Worker, WorkerCrashed
from int8gate.model_zoo.user_models.resolve import declared_spec
from int8gate.model_zoo.user_models.toml_file import read_zoo
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.settings import Settings
from int8gate.validation.bootstrap import pair
from int8gate.validation.case_run import CaseRun
from int8gate.validation.metrics.registry import metric

TABLE = """
[models.gadget]
file = "gadget.{suffix}"
task = "classification"
data = "pictures"
range = [0, 1]
"""
TOOLCHAINS = ("onnx", "tflite")
SAMPLES = 40


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    folder = tmp_path_factory.mktemp("team")
    outlier_networks.write_all(folder)
    for suffix in TOOLCHAINS:
        (folder / f"{suffix}.toml").write_text(TABLE.format(suffix=suffix))
    return folder


@pytest.fixture(scope="module")
def asked(team):
    """The pipeline, model and recipe of a toolchain."""

    def asked(toolchain: str, worker=None, cache="cache"):
        (own,) = read_zoo(team / f"{toolchain}.toml")
        pipeline = Pipeline(
            Settings(min_calibration_samples=50),
            ArtifactCache(team / cache),
            worker or InProcess(),
        )
        return pipeline, declared_spec(own), RECIPES[f"{toolchain}_int8"]

    return asked


def rounds(worker: InProcess) -> list[tuple]:
    """What was measured, not found in the cache: names and number of samples of each batch."""
    named = [task for task in worker.tasks if task[0] == "int8gate.analysis.layer_runs:measured"]
    return [arguments[1:3] for _, arguments in named]


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_the_layer_that_makes_the_loss_comes_first_in_both_modes(toolchain, asked):
    found = measure(*asked(toolchain), samples=SAMPLES, with_metric=True)
    assert found.is_whole
    assert not found.unmeasured
    assert not found.failed
    worst, *others = found.rows
    assert outlier_networks.MIDDLE in worst.layer.name
    assert worst is max(found.rows, key=lambda row: row.sqnr_wide_db)
    assert worst.drop_alone_interval[0] > 0.5
    assert worst.gain_wide_interval[0] > 0.5
    assert worst.sqnr_wide_db > found.sqnr_all_db + 20
    assert found.drop_all > 0.5
    for row in others:
        assert row.sqnr_alone_db > worst.sqnr_alone_db + 20
        assert row.drop_alone_interval[0] <= 0 <= row.drop_alone_interval[1]
        assert row.gain_wide_interval[0] <= 0 <= row.gain_wide_interval[1]
        assert row.sqnr_wide_db == pytest.approx(found.sqnr_all_db, abs=1)


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_the_figures_of_all_are_those_of_the_artifact(toolchain, asked):
    """Segment by segment the same SQNR and drop as a run of the case measures on its samples."""
    pipeline, spec, recipe = asked(toolchain)
    run = CaseRun(spec, recipe, pipeline)
    count = run.evaluated_samples
    found = measure(pipeline, spec, recipe, samples=count, with_metric=True)
    assert found.samples == count
    assert found.sqnr_all_db == pytest.approx(run.evaluation.sqnr_db, abs=0.01)
    score = metric(found.metric)
    scores = [score.score(each.statistics) for each in (run.float_evaluation, run.evaluation)]
    assert found.drop_all == pytest.approx(score.drop(*scores))
    assert found.score_float == pytest.approx(scores[0])


def test_a_second_call_goes_on_where_the_first_ended(asked, monkeypatch):
    """Killed after any batch, it loses nothing that was measured."""
    monkeypatch.setattr("int8gate.analysis.sensitivity.BATCH", 2)
    worker, shown = InProcess(), []

    def stop(now):
        shown.append(now)
        if now.done == 3:
            raise KeyboardInterrupt

    question = {"samples": SAMPLES, "with_metric": True}
    with pytest.raises(KeyboardInterrupt):
        measure(*asked("onnx", worker, "killed"), **question, progress=stop)
    before = rounds(worker)
    assert len(before) == 3
    assert {row.samples for row in shown[-1].so_far.rows} == {4, SAMPLES}
    worst = shown[-1].so_far.rows[0]
    assert worst.samples == SAMPLES, "the worst layers come first in the second round"
    again = InProcess()
    whole = measure(*asked("onnx", again, "killed"), **question)
    assert whole.is_whole
    assert len(rounds(again)) == 1
    assert not set(rounds(again)) & set(before)
    third = InProcess()
    repeated = measure(*asked("onnx", third, "killed"), **question)
    assert not rounds(third)
    assert repeated.rows == whole.rows


def test_a_budget_that_ends_leaves_the_best_so_far(asked, monkeypatch):
    monkeypatch.setattr("int8gate.analysis.sensitivity.BATCH", 1)
    none = measure(*asked("onnx"), samples=SAMPLES, with_metric=False, budget_s=0)
    assert not none.rows
    assert len(none.unmeasured) == 4
    now = iter([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0] + [99.0] * 20)
    monkeypatch.setattr("int8gate.analysis.sensitivity.time.monotonic", lambda: next(now))
    some = measure(*asked("onnx"), samples=SAMPLES, with_metric=False, budget_s=2.5)
    assert 0 < len(some.rows) < 4
    assert len(some.rows) + len(some.unmeasured) == 4
    assert not some.is_whole


class Dying(InProcess):
    """Dies with each batch in which the layer `head` is."""

    def run(self, function, /, *arguments, timeout_s, log=None):
        if str(function).endswith(":measured") and any("head" in name for name in arguments[1]):
            raise WorkerCrashed("measured was killed by SIGKILL", TaskLog(log, kept=False), -9)
        return super().run(function, *arguments, timeout_s=timeout_s, log=log)


def test_a_crash_costs_the_layer_alone(asked):
    found = measure(*asked("onnx", Dying(), "crashed"), samples=SAMPLES, with_metric=False)
    assert set(found.failed) == {"head"}
    assert {row.layer.name for row in found.rows} == {"stem", "middle", "pool"}
    assert not found.unmeasured
    assert all(row.drop_alone is None for row in found.rows)


def test_recipes_without_calibrated_ranges_are_refused(asked):
    pipeline, spec, _ = asked("onnx")
    chosen = {"samples": 4, "with_metric": False}
    refused(lambda: measure(pipeline, spec, RECIPES["onnx_fp32"], **chosen), "calibrated", "onnx")
    recipe = RECIPES["onnx_int8"]
    refused(lambda: measure(pipeline, spec, recipe, samples=0, with_metric=False), "at least one")


def test_an_effect_has_an_interval_that_holds_it():
    """Of one flip in ten: the drop, and bounds on either side that narrow with more samples."""
    score, widths = metric("top1"), []
    for times in (1, 10):
        labels = np.tile(np.arange(10), 10 * times)
        right = np.eye(10)[labels]
        wrong = right.copy()
        wrong[::10] = np.roll(wrong[::10], 1, axis=1)
        rows = [score.sample_statistics(each, labels) for each in (right, wrong)]
        drop, (low, high) = effect(score, *rows, np.arange(len(labels)))
        assert drop == pytest.approx(0.1)
        assert drop == pytest.approx(pair(score, *rows, np.arange(len(labels))).drop)
        assert 0 < low < drop < high < 0.25
        back, bounds = effect(score, *reversed(rows), np.arange(len(labels)))
        assert back == pytest.approx(-0.1)
        assert bounds[1] < 0
        widths.append(high - low)
    assert widths[1] < widths[0] / math.sqrt(5)


@pytest.mark.heavy
def test_in_a_real_worker_process(asked):
    with Worker() as worker:
        found = measure(*asked("onnx", worker, "real"), samples=8, with_metric=True)
    assert found.is_whole
    assert outlier_networks.MIDDLE in found.rows[0].layer.name
