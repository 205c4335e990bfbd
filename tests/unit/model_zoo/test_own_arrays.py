"""Models of arrays through every gate, in both toolchains, as a team runs them."""

from __future__ import annotations

import subprocess
import sys

import array_models
import pytest
from tiny_run import cases, environment

from int8gate.tasks.registry import task

WRITERS = {
    "spotter": ("classification", "0.95 * float", array_models.write_spotter),
    "autoencoder": ("anomaly", "0.9 * float", array_models.write_autoencoder),
    "sign": ("sign", "0.95 * float", array_models.write_pair),  # a task of the team's
    "pair": ("regression", "0.9 * float", array_models.write_pair),
}
GATES = {"accuracy", "io_dtype", "integer_only", "size", "cpu_speedup"}


DEFAULT = [
    ("spotter", ".keras", "tflite_int8"),
    ("autoencoder", ".onnx", "onnx_int8"),
    ("pair", ".onnx", "onnx_int8"),
    ("sign", ".onnx", "onnx_int8"),
]
OTHERS = [
    ("spotter", ".onnx", "onnx_int8"),
    ("spotter_as_onnx", ".onnx", "tflite_int8"),
    ("spotter_of_16_bits", ".keras", "tflite_int16x8"),
    ("autoencoder", ".onnx", "tflite_int8"),
    ("pair", ".onnx", "tflite_int8"),
]


@pytest.mark.parametrize("models", [DEFAULT, pytest.param(OTHERS, marks=pytest.mark.heavy)])
def test_arrays_pass_every_gate(tmp_path, models):
    tables = []
    for name, suffix, recipe in models:
        kind, accuracy, write = WRITERS[name.partition("_")[0]]
        write(tmp_path, name)
        told = {"suffix": suffix, "task": kind, "recipe": recipe, "accuracy": accuracy}
        tables.append(array_models.TABLE.format(name=name, **told))
    (tmp_path / "models.toml").write_text('plugins = ["team_sign"]\n' + "".join(tables))
    (tmp_path / "team_sign.py").write_text(array_models.TEAM_TASK)
    command = [sys.executable, "-m", "pytest", "--zoo=models.toml", "--report=report"]
    command += ["--artifact-cache", str(tmp_path / "cache"), "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300
    )
    found = cases(tmp_path / "report")
    for name, _, recipe in models:
        case = found[f"{name}-{recipe}"]
        assert case["verdict"] == "passed", done.stdout
        passed = {gate for gate, status in case["gates"].items() if status == "passed"}
        assert passed >= GATES - ({"cpu_speedup"} if "16" in recipe else set())
        metric, *others = ("same_sign",) if name == "sign" else task(case["task"]).metrics
        assert case["accuracy"]["metric"] == metric
        assert set(case["accuracy"]["also"]) == set(others)
        if metric == "top1":
            assert case["accuracy"]["sources"] < case["accuracy"]["samples"] / 4, "speakers of five"
        if name == "pair" and recipe == "tflite_int8":
            taken = {each["name"]: each["dtype"] for each in case["io"]["inputs"]}
            assert taken == {"z_values": "int8", "a_word": "int32"}
