"""A baseline, a saved run, a file of predictions may come from anybody: none chooses what runs."""

import json
from dataclasses import replace

import numpy as np
import pytest
from accepted_figures import figures_of, top1
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sample_records import sample_results
from typer.testing import CliRunner

from int8gate.cli.history import app
from int8gate.reporting import write_results
from int8gate.validation.case_summary import case_key
from int8gate.validation.comparing import baseline_file
from int8gate.validation.comparing.baseline import Baseline, compare_to_baseline, update
from int8gate.validation.comparing.changes import compare
from int8gate.validation.comparing.history import compare_runs, read_run
from int8gate.validation.comparing.paired import paired_change, score_interval, unpaired_change
from int8gate.validation.comparing.sample_scores import read, store
from int8gate.validation.metrics import registry as metrics
from int8gate.validation.metrics.registry import ELSEWHERE, METRICS, metric_of_file

ONE = "mobilenet_v2-tflite_int8"
HOSTILE = "trap:METRIC"
REFUSED = r"the metric 'trap:METRIC' is neither registered nor declared in the TOML"


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that leaves a file when it is imported, and has a metric."""
    mark = tmp_path / "imported"
    (tmp_path / "trap.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
        "from int8gate.validation.metrics.registry import METRICS\nMETRIC = METRICS['top1']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return mark


@pytest.fixture
def hostile_runs(tmp_path, trap):
    """Two report folders whose case is scored by `HOSTILE`, with its predictions."""
    folders = []
    for number, losses in enumerate((0, 12)):
        correct = np.arange(400) % 10 > 0
        correct[np.flatnonzero(correct)[:losses]] = False
        results, place = sample_results(), tmp_path / f"run{number}"
        kept = store(place / "predictions", replace(top1(correct, ONE), metric=HOSTILE))
        case = next(each for each in results["cases"] if case_key(each) == ONE)
        case["accuracy"] |= {"metric": HOSTILE, "predictions": kept.sha256, "samples": 400}
        case["accuracy"]["quantized"] = float(correct.mean())
        write_results(results, place)
        folders.append(place)
    return folders


def accuracy_of(changes) -> object:
    (found,) = [each for each in changes if (each.case, each.figure) == (ONE, "accuracy")]
    return found


@given(st.text(max_size=12), st.text(max_size=12), st.sets(st.text(max_size=8), max_size=2))
@settings(deadline=None)
def test_nothing_that_was_not_declared_is_imported(module, name, declared):
    place = f"{module}:{name}"
    assume(place not in declared)
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "resolve", asked.append)
        with pytest.raises(ValueError, match="is neither registered nor declared"):
            metric_of_file(place, declared)
    assert asked == []


@pytest.mark.parametrize("name", ["os:system", *ELSEWHERE.values(), "", "no_such", None, 3, ["a"]])
def test_other_names_are_refused_in_a_sentence(name):
    with pytest.raises(ValueError, match="is neither registered nor declared"):
        metric_of_file(name)


def test_registered_and_declared_ones_are_found(trap):
    assert [metric_of_file(name).name for name in (*METRICS, *ELSEWHERE)] == [*METRICS, *ELSEWHERE]
    assert metric_of_file(HOSTILE, {HOSTILE}) is METRICS["top1"]
    with pytest.raises(ValueError, match="metric trap:ABSENT cannot be loaded"):
        metric_of_file("trap:ABSENT", {"trap:ABSENT"})


def test_a_saved_run_imports_nothing(hostile_runs, trap):
    runs = [read_run(folder) for folder in hostile_runs]
    change = accuracy_of(compare_runs(*runs).changes)
    assert change.verdict == "worse"
    assert "is neither registered nor declared" in change.summary
    assert not trap.exists()
    declared = accuracy_of(compare_runs(*runs, declared={HOSTILE}).changes)
    assert "in pairs on 400 samples" in declared.summary


def test_a_baseline_imports_nothing(hostile_runs, tmp_path, trap):
    results = json.loads((hostile_runs[0] / "results.json").read_text())
    folders = [hostile_runs[0] / "predictions"]
    updated = update(Baseline(), results, [ONE], folders).baseline
    assert not trap.exists()
    assert updated.cases[ONE].accuracy.lower_95 is None
    baseline_file.write(tmp_path / "b.toml", updated, folders)
    case = next(each for each in results["cases"] if case_key(each) == ONE)
    accepted = baseline_file.read(tmp_path / "b.toml")
    change = accuracy_of(compare_to_baseline(case, results["environment"], accepted, folders))
    assert "is neither registered nor declared" in change.summary
    assert not trap.exists()
    known = update(Baseline(), results, [ONE], folders, {HOSTILE}).baseline
    assert known.cases[ONE].accuracy.lower_95 < 0.9


def test_predictions_import_nothing(hostile_runs, trap):
    (path,) = (hostile_runs[0] / "predictions").glob("*.npz")
    found = read(path)
    for use in (lambda: score_interval(found), lambda: paired_change(found, found)):
        with pytest.raises(ValueError, match=REFUSED):
            use()
    scored = replace(figures_of(top1(np.arange(400) > 4)).accuracy, metric=HOSTILE)
    with pytest.raises(ValueError, match=REFUSED):
        unpaired_change(scored, scored, "")
    assert not trap.exists()


def test_a_name_of_another_type_is_no_crash():
    before = figures_of(top1(np.arange(400) > 4))
    odd = replace(before, accuracy=replace(before.accuracy, metric=["top1"]))
    (change,) = [each for each in compare("x-y", odd, odd) if each.figure == "accuracy"]
    assert "is neither registered nor declared" in change.summary


def test_the_command_line_takes_the_metrics_of_a_toml(hostile_runs, tmp_path, trap, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [str(folder) for folder in hostile_runs]
    refused = CliRunner().invoke(app, ["compare", *folders, "--markdown"])
    assert refused.exit_code == 0, refused.output
    assert "neither registered nor declared" in refused.output
    assert not trap.exists()
    (tmp_path / "gadget.onnx").write_bytes(b"")
    (tmp_path / "zoo.toml").write_text(
        f'[models.gadget]\nfile = "gadget.onnx"\ntask = "other"\nmetric = "{HOSTILE}"\n'
    )
    told = CliRunner().invoke(app, ["compare", *folders, "--markdown", "--zoo", "zoo.toml"])
    assert "in pairs on 400 samples" in told.output
