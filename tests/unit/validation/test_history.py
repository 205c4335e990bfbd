"""Runs of the past: pytest-benchmark's own files and results.json, read, found and compared."""

import copy
import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from accepted_figures import top1
from sample_records import sample_results
from tiny_run import environment

from int8gate.reporting import write_results
from int8gate.validation.case_summary import case_key
from int8gate.validation.comparing.history import compare_runs, find_run, read_run, runs_in
from int8gate.validation.comparing.sample_scores import keep

ONE = "mobilenet_v2-tflite_int8"
RESULTS = sample_results()
# What a plugin does: the record in a benchmark's extra_info, the whole run under a key of its own.
CONFTEST = """
import json, pathlib
RESULTS = json.loads(pathlib.Path({results!r}).read_text())
def pytest_benchmark_update_json(config, benchmarks, output_json):
    if {whole}:
        output_json["int8gate"] = RESULTS
"""
SPEED_GATES = """
from conftest import RESULTS
def test_speed(benchmark):
    benchmark.extra_info["case"] = RESULTS["cases"][{case}]
    benchmark(lambda: None)
def test_speed_of_nothing_of_ours(benchmark):
    benchmark(lambda: None)
"""
CASE = next(i for i, record in enumerate(RESULTS["cases"]) if case_key(record) == ONE)


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Path:
    """What pytest-benchmark itself saved of two runs: one with whole results, one without."""
    here = tmp_path_factory.mktemp("suite")
    (here / "results.json").write_text(json.dumps(RESULTS))
    (here / "test_speed.py").write_text(SPEED_GATES.format(case=CASE))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_benchmark.plugin"]
    command += ["--benchmark-autosave", "--benchmark-max-time=0.001", "--benchmark-min-rounds=1"]
    alone = environment() | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for whole in (True, False):
        conftest = CONFTEST.format(results=str(here / "results.json"), whole=whole)
        (here / "conftest.py").write_text(conftest)
        subprocess.run(command, cwd=here, env=alone, check=True, capture_output=True)
    return here / ".benchmarks"


@pytest.fixture
def report(tmp_path):
    """Writes a report folder of changed results, and gives it."""

    def write(name: str, change=lambda results: None) -> Path:
        results = sample_results()
        change(results)
        write_results(results, tmp_path / name)
        return tmp_path / name

    return write


def one_of(results: dict) -> dict:
    return next(record for record in results["cases"] if case_key(record) == ONE)


class TestReading:
    def test_a_saved_run_holds_every_case(self, storage):
        run = find_run("0001", storage)
        assert [case_key(record) for record in run.cases] == [
            case_key(record) for record in RESULTS["cases"]
        ]
        assert run.environment["packages"]["tensorflow"] == "2.21.0"
        assert (run.name, run.time[:2], run.commit) == ("0001", "20", "unversion")

    def test_an_older_one_holds_those_of_its_speed_gates(self, storage):
        run = find_run("0002", storage)
        assert [case_key(record) for record in run.cases] == [ONE]
        assert run.case(ONE) == one_of(RESULTS)
        assert run.case("absent-tflite_int8") is None
        assert run.machine.startswith(platform.machine())

    def test_a_report_is_a_run(self, report):
        run = read_run(report("monday"))
        assert run.name == "monday"
        assert run.time == "2026-03-02T09:14:05+00:00"
        assert len(run.cases) == len(RESULTS["cases"])

    def test_runs_come_in_order_of_time_and_damaged_ones_are_named(self, storage, report, tmp_path):
        mixed = tmp_path / "storage" / "machine"
        mixed.mkdir(parents=True)
        saved = sorted(storage.glob("*/*.json"))
        for path in saved:
            (mixed / path.name).write_bytes(path.read_bytes())
        (mixed / "0003_cut.json").write_bytes(saved[0].read_bytes()[:500])
        (mixed / "notes.json").write_text("{}")
        found = runs_in(mixed.parent, [report("monday")])
        assert [run.name for run in found.runs] == ["monday", "0001", "0002"]
        (sentence,) = found.damaged
        assert "0003_cut.json is no JSON" in sentence

    @pytest.mark.parametrize(
        "content",
        [
            "[]",
            "1",
            "{}",
            '{"benchmarks": []}',
            '{"environment": {}, "cases": [1]}',
            '{"environment": {}, "cases": [{"accuracy": {"quantized": 0.5}}]}',
            '{"environment": [], "cases": [{}]}',
            '{"environment": {}, "cases": [{"npu": [{}]}]}',
            '{"environment": {}, "cases": [{"size_bytes": 3}]}',
        ],
    )
    def test_a_foreign_file_is_refused_in_a_sentence(self, tmp_path, content):
        path = tmp_path / "results.json"
        path.write_text(content)
        with pytest.raises(ValueError, match=r"results\.json holds no run of int8gate .*expected"):
            read_run(path)


class TestFinding:
    def test_by_file_folder_number_and_latest(self, storage, report):
        monday = report("monday")
        file = next(storage.glob("*/0001_*.json"))
        names = [find_run(str(which), storage).name for which in (monday, file, "0002", "latest")]
        assert names == ["monday", "0001", "0002", "0002"]

    def test_what_is_not_there_is_said_with_what_is(self, storage, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no run '0007'.* has 0001, 0002; save runs"):
            find_run("0007", storage)
        with pytest.raises(FileNotFoundError, match="has nothing; save runs with pytest"):
            find_run("latest", tmp_path)

    def test_the_start_of_several_is_not_guessed(self, storage):
        with pytest.raises(ValueError, match="'000' is the start of several runs"):
            find_run("000", storage)


class TestComparing:
    def test_a_run_and_itself_are_the_same(self, report):
        comparison = compare_runs(read_run(report("a")), read_run(report("b")))
        assert {change.verdict for change in comparison.changes} == {"same"}
        assert len({change.case for change in comparison.changes}) > 15
        assert (comparison.only_before, comparison.only_now) == ((), ())

    def test_a_planted_regression_is_the_only_one_found(self, report):
        def slower(results):
            one_of(results)["npu"][0]["latency_ms"] *= 1.05

        comparison = compare_runs(read_run(report("a")), read_run(report("b", slower)))
        (change,) = [change for change in comparison.changes if change.verdict != "same"]
        assert (change.case, change.figure, change.verdict) == (ONE, "npu_latency", "worse")
        assert change.loss / change.before == pytest.approx(0.05, rel=1e-3)

    def test_cases_that_one_run_alone_has_are_told(self, report):
        def without(results):
            results["cases"] = results["cases"][1:]

        comparison = compare_runs(read_run(report("a")), read_run(report("b", without)))
        assert comparison.only_before == (case_key(RESULTS["cases"][0]),)
        swapped = compare_runs(comparison.now, comparison.before)
        assert swapped.only_now == comparison.only_before

    @pytest.mark.parametrize("is_saved", [False, True], ids=["report", "storage"])
    def test_kept_predictions_are_compared_in_pairs(self, tmp_path, storage, is_saved):
        runs = []
        for number, losses in enumerate((0, 12)):
            correct = np.arange(2000) % 10 > 0
            correct[np.flatnonzero(correct)[:losses]] = False
            results = copy.deepcopy(RESULTS)
            place = tmp_path / str(number)
            folder = place / "predictions"
            kept = keep(folder, top1(correct, ONE))
            score = {"quantized": float(correct.mean()), "samples": 2000, "sources": 2000}
            one_of(results)["accuracy"] |= {**score, "predictions": kept.sha256}
            if is_saved:
                content = json.loads(next(storage.glob("*/0001_*.json")).read_text())
                file = place / "machine" / "0001_x.json"
                file.parent.mkdir(parents=True)
                file.write_text(json.dumps({**content, "int8gate": results}))
                runs.append(find_run("0001", place))
            else:
                write_results(results, place)
                runs.append(read_run(place))
        (change,) = [each for each in compare_runs(*runs).changes if each.verdict != "same"]
        assert (change.case, change.figure, change.verdict) == (ONE, "accuracy", "worse")
        assert "in pairs on 2000 samples" in change.said
