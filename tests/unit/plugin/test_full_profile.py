"""Native width and resolution, random weights: minutes and gigabytes, `make test-heavy`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tiny_run import ROOT, environment

from int8gate.model_zoo.registry import zoo

RECIPES = ("tflite_int8", "onnx_int8")
CASES = [  # a language model of 3.2 billion weights is 12.8 GB of float32, not for every machine
    (name, recipe)
    for recipe in RECIPES
    for name, spec in zoo().items()
    if recipe in spec.recipes and spec.task != "language"
]
ALLOWED = {"passed", "unsupported"}  # `int8gate/validation/expectations.toml` says where and why


@pytest.mark.heavy
@pytest.mark.parametrize(("model", "recipe"), CASES)
def test_native_network_goes_through_every_gate_but_accuracy(model, recipe, tmp_path):
    others = [name for name in zoo() if model in name and name != model]  # -k takes part of a name
    chosen = " and not ".join([model, *others])
    command = [sys.executable, "-m", "pytest", "-k", chosen, f"--recipe={recipe}"]
    options = ["--profile=full", "--weights=random", f"--report={tmp_path}", "--stage-timeout=1500"]
    options += ["-m", "not accuracy"]  # random weights have none
    done = subprocess.run([*command, *options], env=environment(), cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()
    (case,) = json.loads((tmp_path / "results.json").read_text())["cases"]
    gates = case["gates"]
    assert gates.pop("accuracy") is None
    assert (case["verdict"], case["deselected"]) == (None, ["accuracy"])
    assert case["accuracy"] is None
    if recipe == "tflite_int8":
        assert gates["integer_only"] == gates["npu_speedup"] == "passed"
        assert case["npu"][0]["cpu_ops"] == 0
    else:
        assert gates.pop("npu_speedup") is None
        assert case["integer_ops"]["fraction"] > 0.99  # a regression head is float on purpose
    assert set(gates.values()) <= ALLOWED
