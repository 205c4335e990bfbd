"""What a user sees of a run: its exit code, its words, its report, its history."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import ROOT, Project, cases, counts, environment, verdicts

from int8gate.validation.results_model import check


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--target", "ethos_u99"], "--target ethos_u99 is unknown.*did you mean ethos_u"),
        (["--recipe", "tflite_int9"], "no recipe 'tflite_int9': did you mean tflite_int8"),
        (["--report", "pyproject.toml"], "cannot write pyproject.toml/results.json"),
    ],
)
def test_typing_error_is_told_at_once(project, options, sentence):
    done = project.run(*options)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert re.search(f"^ERROR: .*{sentence}", done.stderr, re.MULTILINE), done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_an_existing_directory_after_a_space_is_told_at_once(tmp_path):
    """pytest takes it for a test path and looks for the project's settings there."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "--report", tmp_path],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "write --report=DIR, with an equals sign" in done.stderr


def test_collection_loads_no_framework():
    script = (
        "import sys, pytest; code = pytest.main(sys.argv[1:]);"
        "print('loaded', sorted({name.split('.')[0] for name in sys.modules}"
        "& {'tensorflow', 'keras', 'torch', 'ai_edge_litert', 'sklearn', 'skimage', 'ethosu',"
        "'pydantic'}));"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "tests/zoo", "--collect-only", "-q"],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "test_npu_speedup[" in done.stdout
    assert done.stdout.endswith("loaded []\n")


@pytest.fixture(scope="module")
def whole(project) -> subprocess.CompletedProcess:
    """Four recipes of one model, and a model that int8 ruins; fills the cache for the others."""
    return project.run(
        "--report", project / "report", "--benchmark-json", project / "bench.json",
        "-k", "(tiny and not dynamic and not fp16) or (stretched and tflite_int8)",
        models="stretched tiny", rules="strict",
    )  # fmt: skip


def test_accuracy_that_falls_fails_the_run(whole, project):
    """STRETCHED computes the same in float; one of its channels leaves int8 no levels."""
    assert whole.returncode == pytest.ExitCode.TESTS_FAILED
    case = cases(project / "report")["stretched-tflite_int8"]
    assert case["verdict"] == "failed"
    assert case["gates"]["accuracy"] == "failed"
    assert case["accuracy"]["drop"] > 0.5
    assert "8 bits cost most of it, calibration does not" in " ".join(case["notes"])
    text = re.search(r"failed: stretched-tflite_int8 accuracy\n(.*\n){4}", whole.stdout)[0]
    assert "measured: top1 drops by 0.8" in text
    assert "(0.9 * float)" in text


def test_exception_that_works_fails_and_asks_to_be_taken_out(whole, project):
    case = cases(project / "report")["tiny-tflite_int8"]
    expected = dict.fromkeys(case["gates"], "passed") | {"size": "failed"}
    assert case["gates"] == expected
    assert "declared unsupported (metadata weighs most), but it works now: take" in whole.stdout


def test_declared_exception_is_no_failure(whole, project):
    case = cases(project / "report")["tiny-tflite_fp32"]
    assert case["gates"]["npu_speedup"] == "unsupported"
    assert case["verdict"] == "passed"
    assert case["messages"]["npu_speedup"] == "Ethos-U runs integer operators only"
    assert "test_npu_speedup[tiny-tflite_fp32" not in whole.stdout.partition("short test")[2]


def test_every_case_has_its_record(whole, project):
    check(json.loads((project / "report" / "results.json").read_text()), "results.json")
    found = cases(project / "report")
    assert len(found) == 5
    for name in ("tiny-tflite_uint8", "tiny-tflite_int16x8"):
        case = found[name]
        assert (case["verdict"], case["reason"]) == ("passed", ""), name
        assert case["integer_ops"] == {"fraction": 1.0, "float_ops": []}
        on_all = case["accuracy"]["samples"] == 647
        assert on_all == (name == "tiny-tflite_uint8"), "16 bits are slow here: as many as tell"
        assert case["fidelity"]["cosine"] > 0.9
        assert case["seconds"]["quantize"] > 0
        assert case["npu"][0]["target"] == "ethos_u85_512"
        assert Path(case["artifact"]["path"]).stat().st_size == case["size_bytes"]["quantized"]
    assert found["tiny-tflite_int16x8"]["gates"]["cpu_speedup"] == "recorded"
    for name in ("report.md", "report.html"):
        assert "tiny-tflite_int8" in (project / "report" / name).read_text()
    assert "May these ship?" in whole.stdout


def test_benchmark_history_holds_the_record_and_its_times(whole, project):
    kept = json.loads((project / "bench.json").read_text())["benchmarks"]
    records = cases(project / "report")
    timed = {bench["name"]: bench for bench in kept}
    bench = timed["test_cpu_speedup[tiny-tflite_int8]"]
    assert bench["extra_info"]["case"] == records["tiny-tflite_int8"]
    milliseconds = bench["stats"]["median"] * 1e3
    assert milliseconds == pytest.approx(records["tiny-tflite_int8"]["cpu"]["quantized_ms"])
    bench = timed["test_npu_speedup[tiny-tflite_int8-ethos_u85_512]"]
    milliseconds = bench["stats"]["median"] * 1e3
    assert milliseconds == pytest.approx(records["tiny-tflite_int8"]["npu"][0]["latency_ms"])
    assert "test_npu_speedup[tiny-tflite_fp32-ethos_u85_512]" not in timed
    assert "PytestBenchmarkWarning" not in whole.stdout


@pytest.mark.heavy  # by default: a regression under -n2 in test_run_verdicts.py
def test_processes_in_parallel_give_the_same_verdicts(whole, project):
    done = project.run(
        "-n", "2", "--report", project / "parallel",
        "-k", "(tiny and (fp32 or tflite_int8)) or (stretched and tflite_int8)",
        models="stretched tiny", rules="strict",
    )  # fmt: skip
    expected = verdicts(project / "report")
    for name in ("tiny-tflite_uint8", "tiny-tflite_int16x8"):
        del expected[name]
    assert verdicts(project / "parallel") == expected
    assert counts(done) == {"failed": 2, "passed": 12, "xfailed": 1}
