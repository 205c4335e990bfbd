"""What depends on the host's CPU is right on each kind, whichever runs the test."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx_files import save, with_weights

from int8gate.quantizers.toolchains.onnx import taps
from int8gate.runtimes import ort

# Two products share a DequantizeLinear, and a third has the same integers by its own.
SHARED = """
<ir_version: 8, opset_import: ["" : 17]>
shared (float[1, 4] x) => (float[1, 4] out) {
    w = DequantizeLinear (integers, scale, zero)
    v = DequantizeLinear (integers, scale, zero)
    a = MatMul (x, w)
    b = MatMul (a, w)
    out = MatMul (b, v)
}
"""


@pytest.fixture
def shared(tmp_path):
    integers = np.random.default_rng(0).integers(-127, 128, (4, 4)).astype(np.int8)
    arrays = {"integers": integers, "scale": np.float32(0.01), "zero": np.int8(0)}
    return save(with_weights(SHARED, arrays), tmp_path / "shared.onnx")


@pytest.mark.parametrize("form", [str, lambda path: path.read_bytes()])
def test_shared_weights_get_copies_that_compute_the_same(shared, form):
    content = ort.with_own_constants(form(shared))
    graph = onnx.load_from_string(content).graph
    read = [name for node in graph.node for name in node.input if node.op_type != "MatMul"]
    assert len(read) == len(set(read)) == 9
    outputs = [name for node in graph.node for name in node.input if node.op_type == "MatMul"]
    assert len(outputs) == len(set(outputs))
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    assert sum(np.array_equal(values[name], values["integers"]) for name in read) == 3
    x = np.random.default_rng(1).normal(size=(1, 4)).astype(np.float32)
    given = [
        onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"]).run(None, {"x": x})
        for each in (str(shared), content)
    ]
    np.testing.assert_array_equal(*given)


@pytest.mark.parametrize("entries", [None, {"session.disable_cpu_ep_fallback": "1"}])
@pytest.mark.parametrize(
    ("has_dot_product", "is_slow"), [(True, False), (False, True), (None, True)]
)
def test_only_hosts_with_a_dot_product_do_without_the_slow_exact_sums(
    entries, has_dot_product, is_slow, monkeypatch
):
    monkeypatch.setattr(ort, "has_dot_product", lambda: has_dot_product)
    chosen = ort.options(entries=entries)
    try:
        found = chosen.get_session_config_entry("session.x64quantprecision")
    except RuntimeError:  # there is no such entry
        found = None
    assert found == ("1" if is_slow else None)


@pytest.mark.parametrize("rows", [1, 16])
@pytest.mark.parametrize("inputs", [2, 64, 257])
def test_this_host_adds_products_exactly(rows, inputs, tmp_path):
    """Of the largest values, whose sum of two does not fit into 16 bits."""
    graph = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    products (float[{rows}, {inputs}] x) => (float[{rows}, 16] out) {{
        q = QuantizeLinear (x, one, low)
        a = DequantizeLinear (q, one, low)
        w = DequantizeLinear (integers, one, zero)
        b = MatMul (a, w)
        r = QuantizeLinear (b, step, low)
        out = DequantizeLinear (r, step, low)
    }}
    """
    step = np.float32(inputs * 127)
    arrays = {"integers": np.full((inputs, 16), 127, np.int8), "one": np.float32(1)}
    arrays |= {"zero": np.int8(0), "low": np.uint8(0), "step": step}
    file = save(with_weights(graph, arrays), tmp_path / "products.onnx")
    session = ort.open_model(file, ort.options())
    (found,) = ort.run(session, {"x": np.full((rows, inputs), 255, np.float32)})
    np.testing.assert_array_equal(found, np.full((rows, 16), 255 * step, np.float32))


@pytest.mark.parametrize(
    ("machine", "flags", "channels"),
    [
        ("x86_64", {"avx2", "avx512f"}, 16),
        ("x86_64", {"avx2"}, 8),
        ("AMD64", set(), 8),
        ("aarch64", {"asimd"}, 16),
    ],
)
def test_blocks_are_as_wide_as_the_hosts(machine, flags, channels, monkeypatch):
    monkeypatch.setattr(taps.platform, "machine", lambda: machine)
    monkeypatch.setattr(taps, "flags", lambda: frozenset(flags))
    assert taps.block_size() == channels
