"""Accepted results: the file comes back as it went, and only what passed gets into it."""

import copy
import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from accepted_figures import cases, top1
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_records import sample_results

from int8gate.validation.case_summary import case_key
from int8gate.validation.comparing.baseline import (
    Baseline,
    compare_to_baseline,
    not_in_baseline,
    update,
)
from int8gate.validation.comparing.baseline_file import predictions_folder, read, render, write
from int8gate.validation.comparing.limits import BASELINE_LIMITS, exceeded
from int8gate.validation.comparing.sample_scores import store

RESULTS = sample_results()
KEYS = [case_key(record) for record in RESULTS["cases"]]
PASSED = [case_key(record) for record in RESULTS["cases"] if record["verdict"] == "passed"]
ONE = "mobilenet_v2-tflite_int8"


def record_of(key: str, results: dict) -> dict:
    return next(record for record in results["cases"] if case_key(record) == key)


def failures(results: dict, baseline: Baseline, folders=()) -> list[str]:
    environment = results["environment"]
    changes = [
        change
        for record in results["cases"]
        for change in compare_to_baseline(record, environment, baseline, folders)
    ]
    return exceeded(changes, BASELINE_LIMITS)


@pytest.fixture
def results() -> dict:
    return sample_results()


@pytest.fixture(scope="module")
def accepted() -> Baseline:
    return update(Baseline(), RESULTS, KEYS).baseline


class TestFile:
    @given(cases)
    @settings(max_examples=60, deadline=None)
    def test_what_is_written_is_read(self, tmp_path_factory, made_up):
        path = tmp_path_factory.mktemp("baseline") / "accepted.toml"
        write(path, Baseline(made_up))
        assert read(path).cases == made_up
        assert [each.name for each in path.parent.iterdir()] == [path.name]

    @given(cases, st.randoms())
    @settings(max_examples=60, deadline=None)
    def test_the_order_of_cases_changes_no_byte(self, made_up, random):
        shuffled = list(made_up.items())
        random.shuffle(shuffled)
        assert render(Baseline(dict(shuffled))) == render(Baseline(made_up))

    def test_a_changed_figure_changes_one_line(self, accepted):
        figures = accepted.cases[ONE]
        npu = {"ethos_u85_512": replace(figures.npu["ethos_u85_512"], latency_ms=0.0625)}
        other = Baseline({**accepted.cases, ONE: replace(figures, npu=npu)})
        before, now = (render(each).splitlines() for each in (accepted, other))
        differing = [line for line, was in zip(now, before, strict=True) if line != was]
        assert differing == ["latency_ms = 0.0625"]

    def test_it_reads_as_people_expect(self, accepted):
        text = render(accepted)
        assert text.startswith("# Accepted results of int8gate")
        content = tomllib.loads(text)
        assert list(content["cases"]) == sorted(content["cases"])
        entry = content["cases"][ONE]
        assert entry["accuracy"]["tolerance_rule"] == "0.99 * float"
        assert entry["npu"]["ethos_u85_512"]["latency_ms"] == 0.06014
        versions = content["environments"][entry["environment"]]
        assert versions["host"] == "x86_64"
        assert versions["tensorflow"] == "2.21.0"
        assert "cpu_speedup" not in text, "a time of this host is no accepted result"

    def test_one_case_is_one_environment_and_versions_of_no_use_are_left_out(self, results):
        results["environment"]["packages"] |= {"pytest": "9.2", "onnxruntime": "1.31"}
        (environment,) = {
            tuple(figures.environment)
            for figures in update(Baseline(), results, [ONE]).baseline.cases.values()
        }
        assert not {"pytest", "onnxruntime"} & set(environment)

    @pytest.mark.parametrize(
        ("pattern", "text", "message"),
        [
            ("schema = 1", "schema = 2", "schema = 2, expected 1"),
            ("schema = 1", "schema = ", "is no TOML"),
            ('metric = "top1"\n', "", r"\.accuracy\]: metric is missing"),
            ('metric = "top1"', "metric = 1", r"\.accuracy\]: metric = 1, expected a text"),
            ("samples = 512", "samples = 5.5", r"samples = 5\.5, expected a whole number"),
            ("samples = 512", "samples = true", "samples = True, expected a whole number"),
            ("coverage = ", "coverage = nan #", r"\.npu\.ethos_u85_512\]: coverage = nan, exp"),
            (
                "latency_ms",
                "latency_us",
                r"\.npu\.ethos_u85_512\]: unknown latency_us; did you mean latency_ms\?",
            ),
            ('artifact = "', 'sha = "', r'\[cases\."mobilenet_v2-tflite_int8"\]: unknown sha'),
            ('environment = "x86_64', 'environment = "arm', "is not among \\[environments\\]"),
            ("host = ", "host = 1 #", r"\[environments\..*\]: host = 1, expected a text"),
        ],
    )
    def test_a_wrong_entry_is_named(self, tmp_path, accepted, pattern, text, message):
        path = tmp_path / "accepted.toml"
        whole = render(Baseline({ONE: accepted.cases[ONE]}))
        assert pattern in whole
        path.write_text(whole.replace(pattern, text, 1))
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}.*{message}"):
            read(path)

    @pytest.mark.parametrize("text", ["cases = 1", "[cases]\na = 1", "environments = []"])
    def test_what_is_no_table_is_named(self, tmp_path, text):
        path = tmp_path / "accepted.toml"
        path.write_text(f"schema = 1\n{text}")
        with pytest.raises(ValueError, match="expected a table, found"):
            read(path)

    def test_bytes_are_refused_and_absence_says_what_to_do(self, tmp_path):
        (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ValueError, match="is no TOML"):
            read(tmp_path / "bytes.toml")
        with pytest.raises(FileNotFoundError, match="record one with --update-baseline"):
            read(tmp_path / "absent.toml")

    def test_what_cannot_take_its_place_leaves_nothing_behind(self, tmp_path, accepted):
        (tmp_path / "accepted.toml").mkdir()
        with pytest.raises(OSError, match=r"accepted\.toml"):
            write(tmp_path / "accepted.toml", accepted)
        assert os.listdir(tmp_path) == ["accepted.toml"]


class TestUpdate:
    def test_what_did_not_pass_is_left_with_its_reason(self, accepted):
        updated = update(Baseline(), RESULTS, [*KEYS, "absent-tflite_int8"])
        assert sorted(updated.taken) == sorted(updated.baseline.cases) == sorted(PASSED)
        assert sorted(updated.left) == sorted({*KEYS, "absent-tflite_int8"} - {*PASSED})
        assert updated.left["absent-tflite_int8"] == "it was not run"
        assert updated.left["ssd_mobilenet_v1-tflite_uint8"].startswith("failed: accuracy: dropped")

    def test_the_others_stay_as_they_are(self, accepted, results):
        for record in results["cases"]:
            if record.get("size_bytes"):
                record["size_bytes"]["quantized"] += 1
        updated = update(accepted, results, [ONE])
        assert updated.taken == (ONE,)
        changed = {
            key for key in accepted.cases if updated.baseline.cases[key] != accepted.cases[key]
        }
        assert changed == {ONE}

    def test_a_failed_case_keeps_what_was_accepted(self, accepted, results):
        record_of(ONE, results).update(verdict="failed", reason="accuracy: dropped")
        updated = update(accepted, results, [ONE])
        assert updated.baseline.cases == accepted.cases
        assert updated.left == {ONE: "failed: accuracy: dropped"}

    def test_a_case_that_fidelity_alone_judged_is_accepted_by_it(self, results):
        record_of(ONE, results)["accuracy"] = None
        baseline = update(Baseline(), results, [ONE]).baseline
        record_of(ONE, results)["fidelity"]["sqnr_db"] -= 4
        (sentence,) = failures(results, baseline)
        assert "SQNR fell from 25.50 dB to 21.50 dB" in sentence

    def test_a_case_that_nothing_judged_is_not_accepted(self, results):
        record_of(ONE, results).update(accuracy=None, fidelity=None)
        assert update(Baseline(), results, [ONE]).left == {ONE: "its accuracy was not measured"}

    def test_half_a_run_keeps_the_rest_of_the_same_file(self, accepted, results):
        record_of(ONE, results).update(npu=[], size_bytes=None)
        updated = update(accepted, results, [ONE])
        assert updated.baseline.cases[ONE] == accepted.cases[ONE]

    def test_half_a_run_of_another_file_is_left(self, accepted, results):
        record = record_of(ONE, results)
        record.update(npu=[], size_bytes=None, artifact={"path": "x", "sha256": "f" * 64})
        updated = update(accepted, results, [ONE])
        assert updated.baseline.cases == accepted.cases
        assert "npu.ethos_u85_512, size were not measured" in updated.left[ONE]

    def test_profiles_are_cases_of_their_own(self, results):
        record_of(ONE, results)["profile"] = "full"
        assert update(Baseline(), results, [f"full:{ONE}"]).taken == (f"full:{ONE}",)

    def test_a_case_that_passed_and_is_unknown_is_told(self, accepted):
        known = Baseline({key: accepted.cases[key] for key in PASSED[2:]})
        assert not_in_baseline(RESULTS["cases"], known) == sorted(PASSED[:2])


class TestCompared:
    def test_the_same_run_passes(self, accepted):
        assert failures(RESULTS, accepted) == []

    def test_after_a_file_too(self, accepted, tmp_path):
        write(tmp_path / "accepted.toml", accepted)
        assert failures(RESULTS, read(tmp_path / "accepted.toml")) == []

    def test_a_case_that_is_not_in_it_changed_nothing(self):
        assert failures(RESULTS, Baseline()) == []

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (
                lambda case: case["accuracy"].update(quantized=0.75),
                "top1 fell from 0.8946 to 0.7500",
            ),
            (lambda case: case["size_bytes"].update(quantized=500_000), "size rose from 473800 b"),
            (lambda case: case["npu"][0].update(latency_ms=0.0655), "modelled latency on ethos_u8"),
            (
                lambda case: case["npu"][0].update(npu_ops=60, cpu_ops=2),
                "share of operators on eth",
            ),
            (lambda case: case["npu"][0].update(latency_ms=None), "0.06014 ms and is not measured"),
        ],
        ids=["accuracy", "size", "latency", "coverage", "gone"],
    )
    def test_a_planted_regression_is_the_one_that_fails(self, accepted, results, spoil, said):
        spoil(record_of(ONE, results))
        (sentence,) = failures(results, accepted)
        assert sentence.startswith(f"{ONE}: ")
        assert said in sentence
        assert "--update-baseline" in sentence

    def test_an_improvement_passes_and_asks_to_be_recorded(self, accepted, results):
        case = record_of(ONE, results)
        case["npu"][0]["latency_ms"] *= 0.9
        changes = compare_to_baseline(case, results["environment"], accepted)
        (better,) = [change for change in changes if change.verdict == "better"]
        assert better.cure == "record it with --update-baseline"
        assert exceeded(changes, BASELINE_LIMITS) == []


@pytest.fixture
def run(tmp_path):
    """A run whose one case keeps its predictions: right on 1800 of 2000, and fewer."""

    def with_losses(losses: int) -> SimpleNamespace:
        correct = np.arange(2000) % 10 > 0
        correct[np.flatnonzero(correct)[:losses]] = False
        results, folder = copy.deepcopy(RESULTS), tmp_path / f"run{losses}"
        kept = store(folder, top1(correct, ONE))
        score = {"quantized": float(correct.mean()), "samples": 2000, "sources": 2000}
        record_of(ONE, results)["accuracy"] |= {**score, "tolerance": 0.005}
        record_of(ONE, results)["accuracy"]["predictions"] = kept.sha256
        return SimpleNamespace(results=results, folder=folder, file=kept.path)

    return with_losses


class TestPredictions:
    @pytest.fixture
    def path(self, tmp_path, run) -> Path:
        first, path = run(0), tmp_path / "repository" / "accepted.toml"
        updated = update(Baseline(), first.results, PASSED, [first.folder])
        write(path, updated.baseline, [first.folder])
        return path

    def test_they_stand_beside_the_file_and_bound_the_score(self, path, run):
        (beside,) = predictions_folder(path).iterdir()
        assert beside.read_bytes() == run(0).file.read_bytes()
        accuracy = read(path).cases[ONE].accuracy
        assert 0.885 < accuracy.lower_95 < 0.9 < accuracy.upper_95 < 0.915

    def test_a_loss_beyond_the_tolerance_is_found_in_pairs(self, path, run):
        later = run(12)
        (sentence,) = failures(later.results, read(path), [later.folder])
        assert "worse by 0.0060" in sentence
        assert "in pairs on 2000 samples" in sentence

    @pytest.mark.parametrize("where", ["before", "now"])
    def test_without_them_it_is_compared_by_interval_and_says_so(self, path, run, where):
        later = run(12)
        for file in [later.file] if where == "now" else predictions_folder(path).iterdir():
            file.unlink()
        case, environment = record_of(ONE, later.results), later.results["environment"]
        accuracy, *_ = compare_to_baseline(case, environment, read(path), [later.folder])
        assert accuracy.verdict == "drifted"
        assert "by interval (the predictions" in accuracy.sentence
        assert "are not in" in accuracy.sentence

    def test_an_update_brings_the_new_and_removes_the_old(self, path, run):
        later = run(12)
        updated = update(read(path), later.results, [ONE], [later.folder])
        write(path, updated.baseline, [later.folder])
        (beside,) = predictions_folder(path).iterdir()
        assert beside.name == later.file.name
        assert failures(later.results, read(path), [later.folder]) == []

    def test_an_update_of_others_keeps_them(self, path, run):
        updated = update(read(path), RESULTS, PASSED[:1])
        write(path, updated.baseline)
        assert len(list(predictions_folder(path).iterdir())) == 1
        assert read(path).cases[ONE].accuracy.predictions

    def test_a_baseline_refers_to_nothing_that_is_not_there(self, tmp_path, run):
        first = run(0)
        first.file.unlink()
        write(
            tmp_path / "b.toml", update(Baseline(), first.results, [ONE], [first.folder]).baseline
        )
        assert read(tmp_path / "b.toml").cases[ONE].accuracy.predictions is None
