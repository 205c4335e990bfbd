"""A table that is gathered from and multiplied by is stored once, where its rows stay the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_files import save

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx.quantize import quantize
from int8gate.quantizers.toolchains.onnx.weight_only import quantize_rows
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import OnnxSession

LENGTH = 6
INT8, INT4 = RECIPES["onnx_weight_int8"], RECIPES["onnx_weight_int4"]


def language_model(table: np.ndarray, head: np.ndarray, axis: int = 0) -> onnx.ModelProto:
    """tokens (1, length) to rows of `table`, and to logits, rows @ head."""
    rows, width = table.shape
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["state"], axis=axis, name="embedding"),
        helper.make_node("MatMul", ["state", "head"], ["logits"], name="head_product"),
    ]
    ends = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, (1, LENGTH)),
        helper.make_tensor_value_info("state", TensorProto.FLOAT, (1, LENGTH, width)),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, LENGTH, rows)),
    ]
    weights = {"table": table, "head": head}
    constants = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def made(folder, table, head, recipe=INT8) -> list[str]:
    """The operators of the quantized file, `folder`/model.onnx."""
    quantize(save(language_model(table, head), folder / "float.onnx"), recipe, None, folder)
    onnx.checker.check_model(str(folder / ONNX))
    return [node.op_type for node in onnx.load(str(folder / ONNX)).graph.node]


def rounded(table: np.ndarray, block: int) -> np.ndarray:
    packed, scales, zeros = quantize_rows(table, 8, block)
    values = packed.reshape(len(table), -1, block).astype(np.float32) - zeros[..., None]
    return (values * scales[..., None]).reshape(table.shape)


@given(
    rows=st.integers(LENGTH, 70),
    blocks=st.integers(1, 4),
    spread=st.floats(0.01, 100),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_rows_and_logits_are_those_of_one_rounded_table(
    tmp_path_factory, rows, blocks, spread, seed
):
    folder = tmp_path_factory.mktemp("tied")
    rng = np.random.default_rng(seed)
    table = (spread * rng.standard_normal((rows, blocks * INT8.block))).astype(np.float32)
    operators = made(folder, table, np.ascontiguousarray(table.T))
    assert sorted(operators) == ["GatherBlockQuantized", "MatMulNBits", "Reshape"]
    tokens = rng.integers(0, rows, (1, LENGTH))
    state, logits = OnnxSession(folder / ONNX).predict(tokens)
    known = rounded(table, INT8.block)
    np.testing.assert_array_equal(state[0], known[tokens[0]])
    expected = known[tokens[0]] @ known.T
    np.testing.assert_allclose(logits[0], expected, atol=1e-5 * np.abs(expected).max())


def test_the_file_loses_the_floats_of_the_table(tmp_path):
    table = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
    sizes = []
    for name, head in (("tied", table.T), ("untied", table.T[:, ::-1])):
        (tmp_path / name).mkdir()
        made(tmp_path / name, table, np.ascontiguousarray(head))
        sizes.append((tmp_path / name / ONNX).stat().st_size)
    assert sizes[1] - sizes[0] > 0.98 * table.nbytes


@pytest.mark.parametrize(
    ("width", "recipe", "why"),
    [
        (64, INT4, "4 bits lose more of an embedding than of a product"),
        (64, RECIPES["onnx_weight_int4_hqq"], "float zero points"),
        (40, INT8, "a padded block is no part of a row"),
    ],
)
def test_other_tables_stay_as_they_are(tmp_path, width, recipe, why):
    table = np.random.default_rng(0).standard_normal((50, width)).astype(np.float32)
    operators = made(tmp_path, table, np.ascontiguousarray(table.T), recipe)
    assert sorted(operators) == ["Gather", "MatMulNBits"], why
    tokens = np.arange(LENGTH)[None]
    np.testing.assert_array_equal(
        OnnxSession(tmp_path / ONNX).predict(tokens)[0][0], table[:LENGTH]
    )
