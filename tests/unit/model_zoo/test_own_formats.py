"""A team's own model in every kind of file goes through the pipeline to an integer artifact."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import own_files
import pytest
import tiny_zoo
from darknet_reference import weights_file
from tiny_run import environment

from int8gate.model_zoo.user_models.inspection import inspect
from int8gate.model_zoo.user_models.template import template

SIZE = {"pb": "size = [32, 32]\n"}  # the file leaves it free
FILTERS = 18 * 3 + 18  # weights and biases of the cfg's one convolution


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> dict[str, dict]:
    """The case records of one run, by the kind of file."""
    folder = tmp_path_factory.mktemp("formats")
    files = own_files.write_all(folder)
    floats = np.random.default_rng(0).normal(0, 0.1, FILTERS).astype(np.float32)
    (folder / "gadget.weights").write_bytes(weights_file(floats))
    pictures = tiny_zoo.store_pictures(folder / "classes", 260)
    for number, file in enumerate(pictures.rglob("*.png")):
        (folder / "pictures").mkdir(exist_ok=True)
        file.rename(folder / "pictures" / f"{number}.png")
    tables = [
        f'[models.of_{kind}]\nfile = "{file.name}"\ntask = "other"\ndata = "pictures"\n'
        + (_range_of(file) if kind == "int8" else SIZE.get(kind, ""))
        for kind, file in files.items()
    ]
    (folder / "models.toml").write_text("\n".join(tables))
    command = [sys.executable, "-m", "pytest", "--zoo=models.toml", "--report=report"]
    command += ["-m", "io_dtype or integer_only", "--artifact-cache=none"]
    subprocess.run(command, cwd=folder, env=environment(), capture_output=True, timeout=500)
    results = json.loads((folder / "report" / "results.json").read_text())
    return {case["model"].removeprefix("of_"): case for case in results["cases"]}


def _range_of(file) -> str:
    """What `init` says that the stored integers stand for."""
    (line,) = (
        line
        for line in template(file, inspect(file, "tflite")).splitlines()
        if line.startswith("range")
    )
    return f"{line}\n"


@pytest.mark.parametrize(
    "kind", ["keras", "h5", "onnx", "pb", "pt2", "cfg", "saved_model", "fp32", "int8"]
)
def test_every_kind_of_file_becomes_integer(cases, kind):
    case = cases[kind]
    assert case["gates"]["integer_only"] == "passed", case["messages"]
    assert case["gates"]["io_dtype"] == "passed", case["messages"]
    assert (case["recipe"] == "prequantized") == (kind == "int8")
    assert case["integer_ops"]["fraction"] == 1
    assert case["conversion"]["how"]


@pytest.mark.parametrize(
    ("kind", "name"), [("keras", "out"), ("h5", "out"), ("saved_model", "scores")]
)
def test_outputs_keep_the_names_of_the_source(cases, kind, name):
    """The record has them from the artifact."""
    assert [end["name"] for end in cases[kind]["io"]["outputs"]] == [name]
