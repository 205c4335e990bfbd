"""If and Loop inside a network: calibrated and quantized around, and what is inside is said."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import PICTURE, pictures, save, sqnr_db

from int8gate.model_zoo.importers.onnx.importer import import_onnx
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx import collector as onnx_collector
from int8gate.quantizers.toolchains.onnx.prepare import prepare
from int8gate.quantizers.toolchains.onnx.quantize import quantize, tensors_to_quantize
from int8gate.runtimes import onnx_graph
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import OnnxSession

STATIC = RECIPES["onnx_int8"]
SIDE = [1, 8, 16, 16]


def value(name: str, kind: int = TensorProto.FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def conv(source: str, result: str, weights: str = "w2"):
    return helper.make_node(
        "Conv", [source, weights, "b"], [result], f"{result}_conv", pads=[1] * 4
    )


def branching():
    """A brightness decides between two branches, which share the weights of the trunk."""
    then = helper.make_graph([conv("r", "then_out")], "then", [], [value("then_out")])
    twice = [conv("r", "else_in"), helper.make_node("Mul", ["else_in", "half"], ["else_out"])]
    other = helper.make_graph(twice, "else", [], [value("else_out")])
    return [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "half"], ["bright"]),
        helper.make_node(
            "If", ["bright"], ["inner"], "branch", then_branch=then, else_branch=other
        ),
    ]


def repeating():
    body = helper.make_graph(
        [conv("state", "c"), helper.make_node("Relu", ["c"], ["next"]), goes_on()],
        "body",
        [value("i", 7, []), value("go", 9, []), value("state", shape=SIDE)],
        [value("on", 9, []), value("next", shape=SIDE)],
    )
    return [helper.make_node("Loop", ["three", "yes", "r"], ["inner"], "loop", body=body)]


def goes_on():
    return helper.make_node("Identity", ["go"], ["on"])


def network(middle: list, yes: bool = True) -> onnx.ModelProto:
    random = np.random.default_rng(0)
    arrays = {
        "w1": random.normal(0, 0.3, (8, 3, 3, 3)),
        "w2": random.normal(0, 0.15, (8, 8, 3, 3)),
        "b": random.normal(0, 0.1, 8),
        "fc": random.normal(0, 0.3, (8, 5)),
        "half": np.array(0.5),
    }
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    arrays |= {"three": np.array(3), "yes": np.array(yes)}
    nodes = [
        conv("image", "c1", "w1"),
        helper.make_node("Relu", ["c1"], ["r"]),
        *middle,
        conv("inner", "last"),
        helper.make_node("GlobalAveragePool", ["last"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "fc"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [value("image", shape=PICTURE)],
        [value("scores", shape=[1, 5])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def quantized(model, tmp_path):
    """Imported, prepared, calibrated by our collector, quantized: float and INT8 file."""
    report = import_onnx(save(model, tmp_path / "theirs.onnx"), PICTURE, tmp_path / "ours")
    assert report["largest_difference"] < 1e-5
    path = tmp_path / "float.onnx"
    prepare(tmp_path / "ours" / ONNX, path)
    samples = np.moveaxis(np.concatenate([pictures(8), pictures(8) * 0.5]), 1, -1)
    np.save(tmp_path / "samples.npy", samples)
    found = onnx_collector.collect(path, tmp_path / "samples.npy")
    onnx_collector.close()
    assert list(found) == tensors_to_quantize(path)
    limits = {name: (s.minimum, s.maximum) for name, s in found.items()}
    quantize(path, STATIC, limits, tmp_path)
    return path, tmp_path / ONNX


@pytest.mark.parametrize(
    ("middle", "inside"), [(branching, {"then_out_conv", "else_in_conv"}), (repeating, {"c_conv"})]
)
def test_what_stands_around_a_subgraph_is_quantized(tmp_path, middle, inside):
    real, made = quantized(network(middle()), tmp_path)
    for dimmed in (1.0, 0.5):
        pair = [
            OnnxSession(path).predict(pictures(8) * np.float32(dimmed))[0] for path in (real, made)
        ]
        assert sqnr_db(*pair) > 25
    told = onnx_graph.what_ran_as_integer(made)
    floats = [said for said in told["float_ops"] if "Conv (" in said]
    assert {said.split("(")[1].split(",")[0] for said in floats} == inside
    assert all(", inside " in said for said in floats)
    operators = onnx_graph.read_operators(made)
    assert [o.op for o in operators if o.is_integer and o.role == "product"].count(
        "QLinearConv"
    ) == 2


@pytest.mark.parametrize("yes", [True, False])
def test_a_condition_that_is_constant_is_folded(tmp_path, yes):
    nodes = branching()[2:]
    nodes[0].input[0] = "yes"
    _, made = quantized(network(nodes, yes), tmp_path)
    told = onnx_graph.what_ran_as_integer(made)
    assert told["fraction"] == 1
    assert told["float_ops"] == []
