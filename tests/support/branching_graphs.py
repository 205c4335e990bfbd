"""Random small ONNX networks with branches, of the operators that CNNs have."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

SHAPE = (1, 4, 6, 6)
KINDS = ("Conv", "ConvRelu", "Add", "AddRelu", "Concat", "LeakyRelu", "MaxPool", "Sigmoid", "Mul")


@st.composite
def networks(draw, most: int = 10) -> onnx.ModelProto:
    """Maps of `SHAPE` through up to `most` operators, each of which reads any tensors before it."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    nodes, constants, maps = [], [], ["image"]

    def add(kind: str, *inputs: str, **attributes) -> str:
        result = f"t{len(nodes)}"
        name = f"{kind.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [result], name, **attributes))
        return result

    def convolution(source: str, channels: int = 4) -> str:
        weights = rng.normal(0, 1 / np.sqrt(9 * channels), (4, channels, 3, 3))
        name = f"w{len(constants)}"
        constants.append(numpy_helper.from_array(weights.astype(np.float32), name))
        return add("Conv", source, name, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    maps.append(convolution("image"))
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=most)):
        one, other = (draw(st.sampled_from(maps)) for _ in range(2))
        if kind.startswith("Conv"):
            result = convolution(one)
        elif kind == "Concat":
            result = convolution(add("Concat", one, other, axis=1), 8)
        elif kind == "MaxPool":
            result = add(kind, one, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        elif kind in ("LeakyRelu", "Sigmoid"):
            result = add(kind, one)
        else:
            result = add(kind.removesuffix("Relu"), one, other)
        maps.append(add("Relu", result) if kind in ("ConvRelu", "AddRelu") else result)
    ends = [maps[-1]]
    if draw(st.booleans()) and maps[-2] not in (*ends, "image"):
        ends.append(maps[-2])
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, SHAPE) for n in ("image", *ends)]
    graph = helper.make_graph(nodes, "branches", infos[:1], infos[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)
