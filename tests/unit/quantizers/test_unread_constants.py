"""Which constants of an ONNX graph are taken out once nothing reads them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx_files import with_weights

from int8gate.quantizers.toolchains.onnx.graph_view import drop_unread_constants

GRAPH = """
<ir_version: 8, opset_import: ["" : 17]>
constants (bool flag, float[2] x) => (float[2] out, float[2] given) {
    chosen = If (flag) <
        then_branch = yes () => (float[2] a) { a = Add (x, in_branch) },
        else_branch = no () => (float[2] b) { b = Identity (x) }
    >
    out = Add (chosen, in_node)
}
"""


def test_what_a_node_a_branch_or_an_output_reads_stays():
    names = ("in_branch", "in_node", "given", "unread")
    model = with_weights(GRAPH, {name: np.ones(2, np.float32) for name in names})
    drop_unread_constants(model.graph)
    assert [tensor.name for tensor in model.graph.initializer] == ["in_branch", "in_node", "given"]
    onnx.checker.check_model(model)
