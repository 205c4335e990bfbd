"""Recipes of int4 weights and 8-bit activations: what has 4 bits, and what stays as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trained_networks
from data_folders import refused
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx_files import sqnr_db

from int8gate.model_zoo.registry import model
from int8gate.quantizers.calibration import thresholds
from int8gate.quantizers.exposed import exact_session
from int8gate.quantizers.int4 import packed, unpacked, whole_steps
from int8gate.quantizers.ranged import table_of
from int8gate.quantizers.recipe import RECIPES, may_be_named
from int8gate.quantizers.recipe_type import Rule
from int8gate.quantizers.toolchains import registry as toolchains

PLAIN = {"tflite": "tflite_int8", "onnx": "onnx_int8"}
NARROW = {"tflite": "tflite_int8x4", "onnx": "onnx_int8x4"}
DEPTHWISE = {"tflite": 3, "onnx": 0}  # of the network, that keep int8


@given(arrays(np.int8, st.integers(0, 33), elements=st.integers(-8, 7)))
def test_what_is_packed_is_unpacked(integers):
    content = np.frombuffer(packed(integers), np.uint8)
    assert len(content) == -(-len(integers) // 2)
    np.testing.assert_array_equal(unpacked(content, len(integers)), integers)


@given(st.floats(-1e12, 1e12), st.floats(1e-6, 1))
def test_a_bias_is_within_half_a_step_or_saturates(real, step):
    (integer,) = whole_steps(np.array([real]), np.array([step]))
    limits = np.iinfo(np.int32)
    if abs(real) < step * limits.max:
        assert abs(integer * step - real) <= step / 2 * (1 + 1e-9)
    else:
        assert integer in (limits.min, limits.max)


class Files:
    """A network, and what recipes make of it."""

    def __init__(self, form: str, folder):
        self.form, self.folder, self.tools = form, folder, trained_networks.TOOLS[form]
        self.real = trained_networks.write_float(form, 4.0, folder / f"float_{self.tools.file}")
        statistics = folder / "statistics.npz"
        trained_networks.write_statistics(form, self.real, statistics)
        self.ranges = thresholds.ranges_of(table_of(statistics), RECIPES[PLAIN[form]])

    def made(self, recipe):
        directory = self.folder / recipe.name
        directory.mkdir(exist_ok=True)
        self.tools.quantize(self.real, recipe, self.ranges, directory)
        return directory / self.tools.file

    def read(self, recipe):
        return self.tools.read(self.made(recipe), self.real)


@pytest.fixture(scope="module", params=["onnx", "tflite"])
def files(request, tmp_path_factory):
    return Files(request.param, tmp_path_factory.mktemp(request.param))


def test_weights_have_4_bits_and_nothing_else_changes(files):
    plain, narrow = (files.read(RECIPES[names[files.form]]) for names in (PLAIN, NARROW))
    kinds = [[call.kind for call in graph.calls] for graph in (plain, narrow)]
    assert kinds[0] == kinds[1]
    scales = [
        [(grid.scale, grid.zero_point) for grid in graph.grids.values()]
        for graph in (plain, narrow)
    ]
    assert scales[0] == scales[1]
    highs = [c.high for c in narrow.constants.values() if c.high]
    assert sorted(highs) == [7] * (8 - DEPTHWISE[files.form]) + [127] * DEPTHWISE[files.form]
    assert {c.high for c in plain.constants.values()} == {0, 127}


def test_the_scale_of_a_channel_is_that_of_its_largest_weight(files):
    for constant in files.read(RECIPES[NARROW[files.form]]).constants.values():
        if constant.high != 7:
            continue
        others = tuple(axis for axis in range(constant.values.ndim) if axis != constant.axis)
        widest = abs(constant.values).max(axis=others)
        np.testing.assert_allclose(constant.scales, widest / 7, rtol=1e-6)


def test_the_runtime_computes_what_the_file_says(files):
    """Against fake quantization, which rounds the float file's constants by the file's scales."""
    import torch

    from int8gate.quantizers.training.fake_quantized import FakeQuantized

    file = files.made(RECIPES[NARROW[files.form]])
    samples, rows = trained_networks.Samples(count=64, validation=0, seed=7), np.arange(64)
    network = FakeQuantized(files.tools.read(file, files.real))
    with torch.no_grad():
        (computed,) = network(*samples.inputs(rows, network.graph.shapes))
    (of_runtime,) = exact_session(file).predict(*samples.real(rows))
    assert sqnr_db(of_runtime, computed.numpy()) > 40


def test_operators_that_a_rule_names_keep_their_width(files):
    narrow = RECIPES[NARROW[files.form]]
    last = next(layer for layer in reversed(_layers(files)) if layer.weights)
    rule = Rule(last.name, "int8", narrow.activations)
    chosen = replace(narrow, name="mixed", rules=(narrow.rule, rule))
    highs = [c.high for c in files.read(chosen).constants.values() if c.high]
    assert highs.count(7) == 7 - DEPTHWISE[files.form]


def _layers(files):
    return toolchains.find(files.form).layers(files.real)


def test_a_model_of_no_such_weights_is_refused(tmp_path):
    """In TFLite depthwise convolutions have no int4 form, and a rule may leave none other."""
    files = Files("tflite", tmp_path)
    narrow = RECIPES["tflite_int8x4"]
    chosen = replace(narrow, rules=(narrow.rule, Rule("?*", "int8", "int8")))
    refused(lambda: files.made(chosen), "expected at least one to give int4", "int8 weights")


@pytest.mark.parametrize("name", ["tflite_int8x4", "onnx_int8x4", "tflite_qat_int8x4"])
def test_it_is_gated_where_a_command_names_it(name):
    declared = model("resnet50_torch").recipes
    assert name not in declared
    assert may_be_named(name, declared)
    assert not may_be_named(name, ["prequantized"])
