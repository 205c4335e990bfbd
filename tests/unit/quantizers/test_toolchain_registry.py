"""Toolchains by name: the folders, each loaded alone, and what a plugin registers."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tiny_run import ROOT, environment

from int8gate.quantizers.sources import source_of
from int8gate.quantizers.stages import check_route
from int8gate.quantizers.toolchains import registry
from int8gate.runtimes.artifact import ONNX, PROGRAM, SAVED_MODEL, TFLITE

ALONE = """
import sys
from int8gate.quantizers.toolchains.registry import find
find("onnx")
print(*(name for name in sys.modules if "toolchains.tflite" in name))
"""


def test_each_stands_in_its_folder_and_has_a_reference():
    assert set(registry.toolchains()) == {"onnx", "tflite"}
    for name, toolchain in registry.toolchains().items():
        assert registry.find(name) is toolchain
        assert toolchain.reference.toolchain == name
    assert set(registry.find("tflite").floats) == {SAVED_MODEL, PROGRAM, ONNX, TFLITE}
    with pytest.raises(ValueError, match="no toolchain 'onxx': did you mean onnx"):
        registry.find("onxx")


def test_one_loads_no_other():
    done = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout.split()


def test_a_name_is_taken_once(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry.toolchains()))

    class Other(type(registry.find("onnx"))):
        pass

    namesake = type("Onnx", (type(registry.find("onnx")),), {"__module__": "team_toolchain"})
    for other in (Other, namesake):
        with pytest.raises(ValueError, match="a toolchain onnx already"):
            registry.register(other())


def test_a_route_that_no_toolchain_has_is_refused_by_it():
    from int8gate.model_zoo.registry import zoo
    from int8gate.quantizers.recipe import RECIPES

    keras = zoo()["unet"]
    assert source_of(keras).form == SAVED_MODEL
    with pytest.raises(ValueError, match="unet comes as keras, and onnx_int8 starts from PyTorch"):
        check_route(keras, RECIPES["onnx_int8"])
    with pytest.raises(ValueError, match="vit comes as pytorch, and tflite_fp16 starts from Tens"):
        check_route(zoo()["vit"], RECIPES["tflite_fp16"])
