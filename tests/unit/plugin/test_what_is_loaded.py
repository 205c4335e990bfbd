"""A run loads what it needs: collection no room that measures, a warm gate no converter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
PLUGIN = """
import json, os, sys

def pytest_unconfigure():
    with open(os.environ["LOADED"], "w") as file:
        json.dump(sorted(sys.modules), file)
"""
AT_EXECUTION = (
    "int8gate.model_zoo.user_models.resolve",
    "int8gate.plugin.comparing",
    "int8gate.plugin.gating",
    "int8gate.plugin.recording",
    "int8gate.quantizers.pipeline",
    "int8gate.reporting",
    "int8gate.validation.measure",
    "pydantic",
    "scipy",
)
IN_THE_WORKER = (
    "int8gate.quantizers.network_export",
    "int8gate.quantizers.toolchains.onnx.from_torch",
    "int8gate.quantizers.toolchains.tflite.convert",
    "int8gate.quantizers.toolchains.tflite.stages",
    "tensorflow",
    "torch",
)


@pytest.fixture
def loaded(tmp_path):
    """The modules that a run of pytest has loaded when it ends."""
    (tmp_path / "tells_modules.py").write_text(PLUGIN)

    def run(*args: str) -> set[str]:
        command = [sys.executable, "-m", "pytest", "-p", "tells_modules", *args]
        plain = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
        path = os.pathsep.join([str(tmp_path), str(CHECKOUT / "tests/support")])
        environ = plain | {"PYTHONPATH": path, "LOADED": str(tmp_path / "loaded.json")}
        environ["TINY_MODELS"] = "tiny"  # where a run has the plugin of tiny models
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, env=environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return set(json.loads((tmp_path / "loaded.json").read_text()))

    return run


def test_collection_loads_no_room_that_measures(loaded):
    found = loaded("--collect-only", "-k", "unet")
    assert "int8gate.plugin.cases" in found, "the list is that of the run"
    later = {*AT_EXECUTION, *IN_THE_WORKER}
    assert found.isdisjoint(later), sorted(found & later)


def test_the_process_of_a_run_loads_no_converter(loaded, tmp_path):
    found = loaded(
        *("-p", "tiny_zoo_plugin", "--weights=random", "--recipe=tflite_fp32", "-m", "io_dtype"),
        f"--artifact-cache={tmp_path / 'cache'}",
    )
    assert "int8gate.validation.measure" in found
    assert found.isdisjoint(IN_THE_WORKER), sorted(found.intersection(IN_THE_WORKER))
    assert "int8gate.plugin.comparing" not in found, "nothing is compared"
