"""What a user sees when something goes wrong: one sentence, and the rest of the run."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import pytest
import tiny_zoo
from tiny_run import Project, cases, counts, verdicts


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def test_worker_that_dies_takes_no_other_case_along(project):
    done = project.run(
        "--report", project / "crash", "--recipe", "tflite_int8", "--recipe", "tflite_uint8",
        "-k", "size or integer_only", models="aborts tiny",
    )  # fmt: skip
    assert counts(done) == {"failed": 4, "passed": 4}
    found = cases(project / "crash")
    healthy = found["tiny-tflite_int8"]["gates"]
    assert healthy["size"] == healthy["integer_only"] == "passed"
    crashed = found["aborts-tflite_int8"]
    assert crashed["verdict"] == "error"
    assert "ended its process (SIGABRT" in crashed["reason"]
    assert "F0000 check failed: tiny network" in done.stdout
    assert crashed["conversion"]["status"] == "not_converted"
    assert "During handling" not in done.stdout
    logs = set(re.findall(r"Full log: (.*)", done.stdout))
    assert len(logs) == 1, "the export crashed more than once"
    assert "F0000 check failed" in Path(logs.pop()).read_text()


def truncated(folder: Path) -> Path:
    file = tiny_zoo.store_weights(folder) / "tiny.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    return folder


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (empty, "holds no weights for tiny: expected tiny.safetensors or .*, found nothing"),
        (truncated, "tiny.safetensors is truncated or not safetensors"),
    ],
    ids=["empty", "truncated"],
)
def test_weights_that_cannot_be_read(project, tmp_path, make, sentence):
    done = project.run("--weights-dir", make(tmp_path / "w"), "--recipe", "tflite_int8")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert counts(done) == {"failed": 6}
    said = re.findall("^error: tiny-tflite_int8: (.*)", done.stdout, re.MULTILINE)
    assert sum(bool(re.search(sentence, each)) for each in said) == 1, "one sentence, once"
    assert said.count("the same as in its accuracy") == 5
    assert "Traceback" not in done.stdout.partition("Its last words:")[0]
    assert "Benchmark fixture was not used" not in done.stdout


def test_a_folder_that_is_not_there_is_told_at_once(project, tmp_path):
    done = project.run("--weights-dir", tmp_path / "gone", "--recipe", "tflite_int8")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stderr.count("gone: no such directory") == 1


def test_three_pictures_are_no_calibration_set(project, tmp_path):
    pictures = tiny_zoo.store_pictures(tmp_path / "three", 3)
    done = project.run("--data-dir", pictures, "--recipe", "tflite_int8")
    assert counts(done) == {"failed": 6}
    said = re.findall(r"^error: tiny-tflite_int8: .*", done.stdout, re.MULTILINE)
    assert len(said) == 5, "accuracy is told to be invalid, by the audit"
    assert set(said[1:]) == {"error: tiny-tflite_int8: the same as in its io_dtype"}
    assert "calibration set for tiny has" in said[0]
    assert "at least 100: add samples" in said[0]


@pytest.mark.heavy  # by default: test_run_verdicts.py
def test_random_weights_prove_nothing(project):
    done = project.run(
        "--weights", "random", "--recipe", "tflite_int8",
        "--report", project / "random", rules="hopeless",
    )  # fmt: skip
    case = cases(project / "random")["tiny-tflite_int8"]
    assert case["gates"]["accuracy"] == "not_measured"
    assert case["accuracy"] is None
    assert case["verdict"] == "not_judged"
    assert "the weights are random" in case["reason"]
    assert counts(done) == {"failed": 1, "passed": 5}
    assert "it works now" not in done.stdout


@pytest.mark.heavy  # by default: test_faults_of_runs.py interrupts one, too
def test_interrupted_run_leaves_what_it_found(project):
    """Ctrl-C after the first case; then the same again, from the cache."""
    report, logged = project / "interrupted", project / "interrupted.log"
    options = ("--report", report, "-v", "-k", "not speedup", "--recipe", "tflite_int8",
               "--recipe", "tflite_int16x8", "--benchmark-disable")  # fmt: skip
    with logged.open("w") as log:
        started = project.start(*options, cache="new", stdout=log, stderr=log)
        deadline = time.monotonic() + 200
        while "test_size[tiny-tflite_int8]" not in logged.read_text():
            assert started.poll() is None, logged.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while not cases(report).get("tiny-tflite_int8", {}).get("size_bytes"):
            time.sleep(0.02)
        started.send_signal(signal.SIGINT)
        assert started.wait(60) == pytest.ExitCode.INTERRUPTED, logged.read_text()
    assert json.loads((report / "results.json").read_text())["environment"]["finished"] is False
    assert "Not known: the run did not finish" in (report / "report.md").read_text()
    left = verdicts(report)
    assert left["tiny-tflite_int8"][0] == "passed"
    assert left.get("tiny-tflite_int16x8", (None, {}))[1].get("size") is None
    keys = set((project / "new").glob("*/*/*"))
    assert {path.parts[-3] for path in keys} >= {
        "saved_model",
        "statistics",
        "artifact",
        "evaluation",
    }
    assert not list((project / "new" / ".building").glob("*"))
    done = project.run(*options, cache="new")
    assert done.returncode == 0, done.stdout
    assert keys <= set((project / "new").glob("*/*/*"))
    assert set(verdicts(report)) == {"tiny-tflite_int8", "tiny-tflite_int16x8"}
    assert json.loads((report / "results.json").read_text())["environment"]["finished"] is True
