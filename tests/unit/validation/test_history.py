"""Runs of the past: results.json of reports and of saved runs, read, found and compared."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
from accepted_figures import top1
from sample_records import sample_results

from int8gate.reporting import write_results
from int8gate.validation.case_summary import case_key
from int8gate.validation.comparing.history import (
    compare_runs,
    find_run,
    new_folder,
    read_run,
    runs_in,
)
from int8gate.validation.comparing.sample_scores import store

ONE = "mobilenet_v2-tflite_int8"
RESULTS = sample_results()  # of schema 1
NIGHTS = ("2026-03-03T02:00:00+00:00", "2026-03-04T02:00:00+00:00")


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Path:
    """Two saved runs: one of today's schema, one of the schema before."""
    here = tmp_path_factory.mktemp("suite") / "runs"
    for schema, commit, started in ((2, "c0ffee123+", NIGHTS[0]), (1, None, NIGHTS[1])):
        about = RESULTS["environment"] | {"commit": commit, "started": started}
        results = RESULTS | {"schema": schema, "environment": about}
        write_results(results, new_folder(here, commit, started))
    return here


@pytest.fixture
def report(tmp_path):
    """Writes a report folder of changed results, and gives it."""

    def write(name: str, change=lambda results: None) -> Path:
        results = sample_results()
        change(results)
        write_results(results, tmp_path / name)
        return tmp_path / name

    return write


def saved_name(storage: Path, number: int) -> str:
    (path,) = storage.glob(f"{number:04}_*")
    return path.name


def one_of(results: dict) -> dict:
    return next(record for record in results["cases"] if case_key(record) == ONE)


class TestReading:
    def test_a_saved_run_holds_every_case(self, storage):
        run = find_run("0001", storage)
        keys = sorted(case_key(record) for record in RESULTS["cases"])
        assert sorted(case_key(record) for record in run.cases) == keys
        assert run.environment["packages"]["tensorflow"] == "2.21.0"
        assert (run.name, run.time[:10], run.commit) == ("0001", "2026-03-03", "c0ffee123+")
        assert run.case("absent-tflite_int8") is None

    def test_one_of_the_schema_before_is_read(self, storage):
        run = find_run("0002", storage)
        assert run.case(ONE) == find_run("0001", storage).case(ONE) == one_of(RESULTS)
        assert (run.name, run.commit) == ("0002", "")

    def test_a_report_is_a_run(self, report):
        run = read_run(report("monday"))
        assert run.name == "monday"
        assert run.time == "2026-03-02T09:14:05+00:00"
        assert len(run.cases) == len(RESULTS["cases"])

    def test_runs_come_in_order_of_time_and_damaged_ones_are_named(self, storage, report, tmp_path):
        mixed = shutil.copytree(storage, tmp_path / "storage")
        cut = new_folder(mixed, "cut", "2026-03-04") / "results.json"
        cut.write_bytes((mixed / saved_name(storage, 1) / "results.json").read_bytes()[:500])
        (mixed / "notes.json").write_text("{}")
        found = runs_in(mixed, [report("monday")])
        assert [run.name for run in found.runs] == ["monday", "0001", "0002"]
        (sentence,) = found.damaged
        assert "0003_cut_20260304_000000/results.json is no JSON" in sentence

    @pytest.mark.parametrize(
        "content",
        [
            "[]",
            "1",
            "{}",
            '{"schema": 3, "environment": {}, "cases": []}',
            '{"schema": [], "environment": {}, "cases": []}',
            '{"schema": 2}',
            '{"schema": 1, "environment": {}, "cases": [1]}',
            '{"schema": 1, "environment": {}, "cases": [{"accuracy": {"quantized": 0.5}}]}',
            '{"schema": 1, "environment": [], "cases": [{}]}',
            '{"schema": 1, "environment": {}, "cases": [{"npu": [{}]}]}',
            '{"schema": 1, "environment": {}, "cases": [{"size_bytes": 3}]}',
        ],
    )
    def test_a_foreign_file_is_refused_in_a_sentence(self, tmp_path, content):
        path = tmp_path / "results.json"
        path.write_text(content)
        with pytest.raises(ValueError, match=r"results\.json holds no run of int8gate .*expected"):
            read_run(path)

    def test_a_file_of_pytest_benchmark_is_left_to_it(self, tmp_path):
        path = tmp_path / "0001_x.json"
        path.write_text('{"benchmarks": [], "machine_info": {}}')
        with pytest.raises(ValueError, match=r"0001_x\.json is a file of pytest-benchmark, which"):
            read_run(path)


class TestFinding:
    def test_by_file_folder_number_and_latest(self, storage, report):
        monday = report("monday")
        file = storage / saved_name(storage, 1) / "results.json"
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
    def test_kept_predictions_are_compared_in_pairs(self, tmp_path, is_saved):
        runs = []
        for number, losses in enumerate((0, 12)):
            correct = np.arange(2000) % 10 > 0
            correct[np.flatnonzero(correct)[:losses]] = False
            results = copy.deepcopy(RESULTS)
            place = tmp_path / str(number)
            folder = place / "predictions"
            kept = store(folder, top1(correct, ONE))
            score = {"quantized": float(correct.mean()), "samples": 2000, "sources": 2000}
            one_of(results)["accuracy"] |= {**score, "predictions": kept.sha256}
            if is_saved:
                write_results(results, new_folder(place, None, "2026-03-02"))
                runs.append(find_run("0001", place))
            else:
                write_results(results, place)
                runs.append(read_run(place))
        (change,) = [each for each in compare_runs(*runs).changes if each.verdict != "same"]
        assert (change.case, change.figure, change.verdict) == (ONE, "accuracy", "worse")
        assert "in pairs on 2000 samples" in change.summary
