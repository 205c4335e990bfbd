"""ONNX files in half and double precision, unsorted ones, and those with local functions."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from data_folders import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_files import PICTURE, cnn, pictures, reference, save, save_outside

from int8gate.model_zoo.importers.onnx.importer import import_onnx
from int8gate.model_zoo.importers.onnx.structure import sort_nodes
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import OnnxSession

KINDS = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16, "float64": 11}


def run(path, directory) -> tuple[dict, np.ndarray, onnx.ModelProto]:
    report = import_onnx(path, PICTURE, directory / "ours")
    written = directory / "ours" / ONNX
    return report, OnnxSession(written).run([pictures(1)])[0], onnx.load(str(written))


def in_kind(kind: int, is_whole: bool) -> onnx.ModelProto:
    """The small network with its weights in another precision, with float32 ends or without."""
    model = cnn()
    graph = model.graph
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(kind))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    if is_whole:
        for info in (*graph.input, *graph.output):
            info.type.tensor_type.elem_type = kind
        return model
    graph.node[0].input[0], graph.node[-1].output[0] = "inside", "inner_scores"
    # As ONNX Runtime's tool writes them: behind the nodes that read them.
    graph.node.append(helper.make_node("Cast", ["image"], ["inside"], "first_cast", to=kind))
    graph.node.append(
        helper.make_node("Cast", ["inner_scores"], ["scores"], "last_cast", to=TensorProto.FLOAT)
    )
    return model


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("is_outside", [True, False])
def test_another_precision_is_float32_after_import(tmp_path, kind, is_whole, is_outside):
    model = in_kind(KINDS[kind], is_whole)
    path = (save_outside if is_outside else save)(model, tmp_path / "theirs.onnx")
    report, found, written = run(path, tmp_path)
    assert f"The graph computes in {kind}: it is float32 now." in report["repairs"]
    assert {tensor.data_type for tensor in written.graph.initializer} == {TensorProto.FLOAT}
    ends = (*written.graph.input, *written.graph.output)
    assert {info.type.tensor_type.elem_type for info in ends} == {TensorProto.FLOAT}
    assert [info.name for info in ends] == ["image", "scores"]
    (expected,) = reference(cnn(), pictures(1))
    rounding = 2e-2 if kind == "bfloat16" else 2e-3
    np.testing.assert_allclose(found, expected, atol=rounding * np.abs(expected).max())
    order = [node.op_type for node in written.graph.node if node.op_type != "Cast"]
    assert order == [node.op_type for node in cnn().graph.node]


def test_a_repair_that_changes_values_is_still_refused(tmp_path, monkeypatch):
    """Halves may be off by what they round, not by more."""
    from int8gate.model_zoo.importers.onnx import repairs as onnx_floats

    def spoiled(tensor, home):
        values = numpy_helper.to_array(tensor, str(home)).astype(np.float32) * np.float32(1.2)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    monkeypatch.setattr(onnx_floats, "_cast_tensor", spoiled)
    path = save(in_kind(TensorProto.FLOAT16, is_whole=True), tmp_path / "theirs.onnx")
    refused(lambda: import_onnx(path, PICTURE, tmp_path / "o"), "differs from the file")


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(8)))
def test_nodes_in_any_order_are_sorted(tmp_path_factory, order):
    model = cnn()
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes[number] for number in order)
    folder = tmp_path_factory.mktemp("order")
    _, found, written = run(save(model, folder / "theirs.onnx"), folder)
    assert [node.name for node in written.graph.node] == [node.name for node in nodes]
    np.testing.assert_allclose(found, reference(cnn(), pictures(1))[0], atol=1e-5)


def test_sorted_nodes_keep_their_order():
    model = cnn()
    before = [node.name for node in model.graph.node]
    assert sort_nodes(model.graph)
    assert [node.name for node in model.graph.node] == before


def test_a_circle_is_named(tmp_path):
    model = cnn()
    model.graph.node[0].input[0] = "sum"
    path = save(model, tmp_path / "theirs.onnx")
    refused(lambda: import_onnx(path, PICTURE, tmp_path / "o"), "conv_0 (Conv)", "its own result")


def test_a_node_that_only_reads_of_a_circle_is_not_blamed():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> net (float[1] x) => (float[1] a) '
        "{ a = Relu (c)  b = Add (c, x)  c = Relu (b) }"
    )
    refused(lambda: sort_nodes(model.graph), "node b (Add) reads", "its own result")


FUNCTIONS = """
<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
net (float[1, 3, 16, 16] image) => (float[1, 3, 16, 16] out) {
    a = mine.Twice (image)
    half = mine.Soft <slope = 0.5> (a)
    out = mine.Twice (half)
}
<domain: "mine", opset_import: ["" : 17]>
Twice (x) => (y) { a = Add (x, x)  y = Identity (a) }
<domain: "mine", opset_import: ["" : %d, "mine" : 1]>
Soft <slope> (x) => (y) { a = LeakyRelu <alpha: float = @slope> (x)  y = mine.Twice (a) }
"""


@pytest.mark.parametrize("opset", [17, 16])
def test_local_functions_are_written_out(tmp_path, opset):
    """Functions may call functions, reuse names, and be written for another operator set."""
    model = onnx.parser.parse_model(FUNCTIONS % opset)
    _, found, written = run(save(model, tmp_path / "theirs.onnx"), tmp_path)
    assert not written.functions
    assert {node.domain for node in written.graph.node} == {""}
    np.testing.assert_allclose(found, 8 * pictures(1), rtol=1e-6)


def test_data_of_a_function_stay_in_the_folder(tmp_path):
    """A function's constants are seen once it is written out."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    model = onnx.parser.parse_model(FUNCTIONS % 17)
    tensor = TensorProto(name="outside", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    constant = helper.make_node("Constant", [], ["one"], value=tensor)
    model.functions[0].node.insert(0, constant)
    model.functions[0].node[1].input[1] = "one"
    path = save(model, home / "theirs.onnx")
    refused(lambda: import_onnx(path, PICTURE, tmp_path / "o"), "outside of the model")
