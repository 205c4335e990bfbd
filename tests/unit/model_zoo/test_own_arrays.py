"""Models of arrays through every gate, in both toolchains, as a team runs them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import array_models
import pytest
from data_folders import refused
from tiny_run import cases, environment

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.model_zoo.spec import Network
from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.model_zoo.user_models.resolve import declared_spec
from int8gate.quantizers import stages
from int8gate.quantizers.recipe import recipe
from int8gate.tasks.registry import task

WRITERS = {
    "spotter": ("classification", "0.95 * float", array_models.write_spotter),
    "autoencoder": ("anomaly", "0.9 * float", array_models.write_autoencoder),
    "tokens": ("regression", "0.9 * float", array_models.write_tokens),
    "sign": ("sign", "0.95 * float", array_models.write_pair),  # a task of the team's
    "pair": ("regression", "0.9 * float", array_models.write_pair),
    "reader": ("text", "float + 0.02", array_models.write_reader),
}
MORE = {"reader": f'decode = "ctc"\nclasses = {list(array_models.SYMBOLS)}\nblank = "last"\n'}
GATES = {"accuracy", "io_dtype", "integer_only", "size", "cpu_speedup"}


DEFAULT = [
    ("spotter", ".keras", "tflite_int8"),
    ("autoencoder", ".onnx", "onnx_int8"),
    ("pair", ".onnx", "onnx_int8"),
    ("sign", ".onnx", "onnx_int8"),
    ("reader", ".onnx", "onnx_int8"),
]
OTHERS = [
    ("spotter", ".onnx", "onnx_int8"),
    ("spotter_as_onnx", ".onnx", "tflite_int8"),
    ("spotter_of_16_bits", ".keras", "tflite_int16x8"),
    ("autoencoder", ".onnx", "tflite_int8"),
    ("pair", ".onnx", "tflite_int8"),
    ("reader", ".onnx", "tflite_int8"),
    ("tokens", ".keras", "tflite_uint8"),
]


def run(folder, tables: list[str], *options: str) -> subprocess.CompletedProcess:
    (folder / "models.toml").write_text('plugins = ["team_sign"]\n' + "".join(tables))
    (folder / "team_sign.py").write_text(array_models.TEAM_TASK)
    command = [sys.executable, "-m", "pytest", "--zoo=models.toml", "--report=report", *options]
    command += ["--artifact-cache", str(folder / "cache"), "-p", "no:cacheprovider"]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("models", [DEFAULT, pytest.param(OTHERS, marks=pytest.mark.heavy)])
def test_arrays_pass_every_gate(tmp_path, models):
    tables = []
    for name, suffix, chosen in models:
        kind, accuracy, write = WRITERS[name.partition("_")[0]]
        write(tmp_path, name)
        told = {"suffix": suffix, "task": kind, "recipe": chosen, "accuracy": accuracy}
        tables.append(array_models.TABLE.format(name=name, **told) + MORE.get(name, ""))
    done = run(tmp_path, tables)
    found = cases(tmp_path / "report")
    for name, _, chosen in models:
        case = found[f"{name}-{chosen}"]
        assert case["verdict"] == "passed", done.stdout
        passed = {gate for gate, status in case["gates"].items() if status == "passed"}
        assert passed >= GATES - ({"cpu_speedup"} if "16" in chosen else set())
        metric, *others = ("same_sign",) if name == "sign" else task(case["task"]).metrics
        assert case["accuracy"]["metric"] == metric
        assert set(case["accuracy"]["also"]) == set(others)
        if metric == "cer":
            assert 0 < case["accuracy"]["float"] < 0.1 < case["accuracy"]["baseline"]["score"]
            assert case["accuracy"]["also"]["exact"]["float"] > 0.8
        if metric == "top1":
            assert case["accuracy"]["sources"] < case["accuracy"]["samples"] / 4, "speakers of five"
        if name == "pair" and chosen == "tflite_int8":
            taken = {each["name"]: each["dtype"] for each in case["io"]["inputs"]}
            assert taken == {"z_values": "int8", "a_word": "int32"}


def test_whole_numbers_have_no_int16_range(tmp_path):
    inputs = (Input("words", (5,), "int32"),)
    network = Network("", (None, None, 0), (0, 0), None, inputs=inputs)
    own = OwnModel("gadget", tmp_path / "gadget.keras", "models.toml, [models.gadget]")
    spec = replace(declared_spec(own), compact=network, full=network)
    stages.check_route(spec, recipe("tflite_int8"))
    refused(lambda: stages.check_route(spec, recipe("tflite_int16x8")), "words (n, 5) int32")


@pytest.mark.heavy
@pytest.mark.parametrize("recipe_name", ["onnx_int8", "tflite_int8"])
def test_values_of_unlike_sizes_fail_and_the_operator_is_named(tmp_path, recipe_name):
    array_models.write_pair(tmp_path, stretch=500)
    told = {"suffix": ".onnx", "task": "regression", "recipe": recipe_name}
    table = array_models.TABLE.format(name="pair", accuracy="0.9 * float", **told)
    done = run(tmp_path, [table], "-m", "accuracy")
    assert "rmse rises by" in done.stdout
    (case,) = cases(tmp_path / "report").values()
    assert case["verdict"] == "failed"
    assert case["accuracy"]["drop"] > case["accuracy"]["tolerance"]
    assert case["error_origin"]["operators"][0]["operator"] in ("MatMul", "FULLY_CONNECTED")
