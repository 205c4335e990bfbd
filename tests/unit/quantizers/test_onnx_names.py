"""Names mean nothing: no tensor's or node's name changes what is quantized, or collides."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_files import cnn, pictures, ranges_of, reference, save

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx.prepare import prepare
from int8gate.quantizers.toolchains.onnx.quantize import quantize, tensors_to_quantize
from int8gate.quantizers.toolchains.onnx.static import Numbering
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import OnnxSession

STATIC = RECIPES["onnx_int8"]
SUFFIXES = (
    *("", "_quantized", "_scale", "_zero_point", "_QuantizeLinear", "_QuantizeLinear_Output"),
    *("_DequantizeLinear_Output", "_QuantizeLinear_Input", "_copy_1", "_copy_2", "_factor"),
    *("_offset", "_quantized_scale", "_bias", "_weights", "_inside", "_active", "_inverse"),
)
TENSORS = sorted(
    {name for node in cnn().graph.node for name in (*node.input, *node.output)} - {"image", "b1"}
)


def renamed(model: onnx.ModelProto, names: dict[str, str]) -> onnx.ModelProto:
    """The same graph under other names; a node bears that of its output."""
    graph = model.graph
    for entry in (*graph.input, *graph.output, *graph.initializer):
        entry.name = names.get(entry.name, entry.name)
    for node in graph.node:
        for ends in (node.input, node.output):
            for place, name in enumerate(ends):
                ends[place] = names.get(name, name)
        node.name = node.output[0]
    return model


def with_one_bias(model: onnx.ModelProto) -> onnx.ModelProto:
    """Both convolutions share a bias, of which one gets a copy."""
    model.graph.node[2].input[2] = "b1"
    return model


def answers(model: onnx.ModelProto, directory) -> tuple[list, np.ndarray, np.ndarray]:
    path = directory / "float.onnx"
    prepare(save(model, directory / "raw.onnx"), path)
    watched = tensors_to_quantize(path)
    quantize(path, STATIC, ranges_of(path, watched, pictures()), directory)
    sessions = [OnnxSession(file) for file in (path, directory / ONNX)]
    assert sessions[1].outputs == sessions[0].outputs
    onnx.checker.check_model(str(directory / ONNX), full_check=True)
    real, found = (session.predict(pictures(4))[0] for session in sessions)
    return watched, real, found


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return answers(with_one_bias(cnn()), tmp_path_factory.mktemp("plain"))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_name_changes_anything(tmp_path_factory, expected, data):
    """Every tensor may bear a name that a quantizer or a rewrite would make of another's."""
    made = [base + suffix for base in ("b1", "image", "t1", "n0") for suffix in SUFFIXES]
    chosen = st.permutations(sorted(set(made) - {"b1", "image"}))
    names = dict(zip(TENSORS, data.draw(chosen), strict=False))
    folder = tmp_path_factory.mktemp("names")
    model = renamed(with_one_bias(cnn()), names)
    watched, real, found = answers(model, folder)
    assert watched == [names.get(name, name) for name in expected[0]]
    np.testing.assert_array_equal(real, expected[1])
    np.testing.assert_array_equal(found, expected[2])


def test_names_come_back_as_they_were():
    model = cnn()
    before = model.SerializeToString()
    numbering = Numbering(model)
    assert {node.name for node in model.graph.node} == {f"n{i}" for i in range(8)}
    assert numbering.name(numbering.number("sum")) == "sum"
    numbering.restore(model)
    assert model.SerializeToString() == before


def test_what_is_made_of_numbers_is_made_of_names_and_unique():
    model = renamed(cnn(), {"a": "image_scale"})
    numbering = Numbering(model)
    made = f"{numbering.number('image')}_scale"
    model.graph.initializer.add(name=made, data_type=1, dims=[], raw_data=bytes(4))
    model.graph.node[0].input.append(made)
    numbering.restore(model)
    assert model.graph.initializer[-1].name == "image_scale_2" == model.graph.node[0].input[-1]


def test_the_float_graph_computes_the_same(expected):
    real = [reference(with_one_bias(cnn()), picture[None])[0][0] for picture in pictures(4)]
    np.testing.assert_allclose(expected[1], real, atol=1e-5)
