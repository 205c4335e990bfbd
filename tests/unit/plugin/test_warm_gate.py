"""A gate that was run before does what is of this moment, and gives the same record."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tiny_zoo
from edited_code import edit
from tiny_run import ROOT, environment
from tiny_zoo import TINY

from int8gate.engine.cache import ArtifactCache
from int8gate.engine.worker import Worker, task_name
from int8gate.quantizers.data_sets import DataSets, SetFacts
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.settings import Settings
from int8gate.validation import cached_results as kept
from int8gate.validation import measure
from int8gate.validation.cached_results import KeptEvaluation
from int8gate.validation.case_run import CaseRun
from int8gate.validation.metrics.registry import metric
from int8gate.validation.noninferiority import non_inferiority

UINT8 = RECIPES["tflite_uint8"]  # the one whose gates feed raw pixels, too
GATES = (measure.accuracy, measure.io_dtype, measure.integer_only, measure.size)


class Resting(Worker):
    """A worker that nothing is left for."""

    def run(self, function, /, *args, **options):
        raise AssertionError(f"{task_name(function)} was to run again")


class Unopened(DataSets):
    """Pictures that are not to be opened."""

    def samples(self, spec, split):
        raise AssertionError(f"the {split} set was opened again")


class Undrawn(Pipeline):
    """A pipeline that knows its pictures without opening them."""

    def __init__(self, *rooms):
        super().__init__(*rooms)
        self.data = Unopened(self.settings, self.runner)


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    return Settings(weights_dir=tiny_zoo.store_weights(tmp_path_factory.mktemp("w")))


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """The tiny model on the project's own scenes, measured once: its cache and its record."""
    return ArtifactCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def measured(settings, few, worker) -> list[measure.Measurement]:
    run = CaseRun(TINY, UINT8, Pipeline(settings, few, worker))
    return [gate(run) for gate in GATES]


@pytest.fixture
def warm(settings, few, measured) -> CaseRun:
    return CaseRun(TINY, UINT8, Undrawn(settings, ArtifactCache(few.root), Resting()))


def test_nothing_runs_again_and_the_record_is_the_same(warm, measured):
    again = [gate(warm) for gate in GATES]
    assert again == measured
    # The tiny network knows other pictures than scenes: its accuracy proves nothing.
    assert [found.result.status for found in again] == ["invalid", "passed", "passed", "passed"]


def test_scores_and_test_are_those_that_are_computed_anew(warm):
    own, reference, gated = warm.evaluation, warm.float_evaluation, metric("top1")
    rows = reference.statistics[: len(own.statistics)]
    found = measure.accuracy(warm).fields["accuracy"]
    float_score = gated.score(rows)
    test = non_inferiority(
        gated,
        rows,
        own.statistics,
        own.sources,
        warm.expected.tolerance(float_score),
        chance=own.chance,
        baseline_statistics=own.baseline,
        distinct_outputs=reference.distinct_outputs,
        seed=0,
    )
    assert (found["float"], found["quantized"]) == (float_score, gated.score(own.statistics))
    assert (found["drop"], found["drop_upper_95"]) == (test.drop, test.drop_upper_95)
    assert (found["samples"], found["sources"]) == (len(rows), len(np.unique(own.sources)))


def test_another_rule_or_seed_is_tested_anew(warm):
    cache, evaluations = warm.pipeline.cache, (warm.float_evaluation, warm.evaluation)

    def upper(rule: str, tolerance: float, seed: int) -> tuple[float, float]:
        found = kept.compared(
            cache, ("top1",), *evaluations, rule, lambda float_score: tolerance, seed
        )
        return found.test.tolerance, found.test.drop_upper_95

    first = upper("float - 0.5", 0.5, 0)
    assert upper("float - 0.5", 0.5, 0) == first
    assert upper("float - 0.4", 0.4, 0) == (0.4, first[1])
    assert upper("float - 0.5", 0.5, 1)[1] != first[1]


def test_an_edited_test_is_run_anew(warm, monkeypatch):
    asked, find = [], kept.non_inferiority

    def watch(*arguments, **options):
        asked.append(options["seed"])
        return find(*arguments, **options)

    monkeypatch.setattr(kept, "non_inferiority", watch)
    measure.accuracy(warm)
    assert not asked
    edit(monkeypatch, "int8gate.validation.noninferiority")
    measure.accuracy(warm)
    assert asked == [0]


def test_arrays_of_an_evaluation_are_read_when_they_are_asked_for(warm):
    evaluation = warm.evaluation
    assert isinstance(evaluation, KeptEvaluation)
    whole = np.load(evaluation.entry.path / "statistics.npz")
    np.testing.assert_array_equal(evaluation.statistics, whole["statistics"])
    np.testing.assert_array_equal(evaluation.sources, whole["sources"])


@pytest.mark.parametrize("split", ["calibration", "evaluation"])
def test_a_data_set_is_known_as_if_it_were_opened(settings, few, split):
    opened = Pipeline(settings, few, Resting()).data.samples(TINY, split)
    for pipeline in (Pipeline(settings, few, Resting()), Undrawn(settings, few, Resting())):
        assert pipeline.data.known(TINY, split) == SetFacts(opened.digest(), len(opened))


def test_pictures_of_a_user_are_never_taken_for_known(settings, few, tmp_path):
    pictures = tiny_zoo.store_pictures(tmp_path / "pictures", 300)
    mine = replace(settings, data_dir=pictures)
    before = Pipeline(mine, few, Resting()).data.known(TINY, "evaluation")
    changed = next((pictures).rglob("*.png"))
    changed.unlink()
    after = Pipeline(mine, few, Resting()).data.known(TINY, "evaluation")
    assert after != before


def test_weights_that_change_under_a_run_get_another_identity(settings, few, tmp_path):
    folder = tiny_zoo.store_weights(tmp_path / "w")
    pipeline = Pipeline(replace(settings, weights_dir=folder), few, Resting())
    first = pipeline.identity(TINY)
    assert pipeline.identity(TINY) == first == pipeline.weights(TINY).identity
    tiny_zoo.store_weights(folder, seed=1)
    assert pipeline.identity(TINY) == pipeline.weights(TINY).identity != first


def test_gates_are_collected_without_xdist():
    command = [sys.executable, "-m", "pytest", "tests/zoo", "--collect-only", "-q"]
    done = subprocess.run(
        [*command, "-p", "no:xdist"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
