"""What PyTorch's quantization-aware convolutions divide by, taken into the normalization behind.

`torch.ao.nn.intrinsic.qat.ConvBn2d` rounds its weights times the factor of the normalization,
divides the maps by that factor, adds its bias, and normalizes. An exported network that was not
converted has all of it: Conv, Div, Add, BatchNormalization. With the mean times the divisor and the
gain by the divisor the normalization reads the convolution, which the toolchains fold.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from int8gate.model_zoo.importers.onnx.structure import Names


def fold_quotients(graph) -> None:
    """Takes out each Div of a convolution's maps by a number for each channel, with an Add behind
    it, that a BatchNormalization alone reads, in place.
    """
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    readers, names = defaultdict(list), Names(graph)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    ends, gone = {info.name for info in graph.output}, []

    def before(name: str, kind: str):
        """The node of that kind that gives a tensor which nothing else reads, else None."""
        node = made.get(name)
        if node is None or node.op_type != kind or len(readers[name]) != 1 or name in ends:
            return None
        return node

    def of_channels(node, count: int) -> np.ndarray | None:
        """The second operand of a node, (count,) float64, where it is a constant of channels."""
        if node.input[1] not in stored:
            return None
        values = numpy_helper.to_array(stored[node.input[1]]).astype(np.float64)
        sides = (1,) * max(0, 4 - values.ndim) + values.shape
        if len(sides) != 4 or sides[0] != 1 or sides[2:] != (1, 1) or sides[1] not in (1, count):
            return None
        return np.broadcast_to(values.reshape(-1), (count,))

    for node in graph.node:
        if node.op_type != "BatchNormalization" or len(node.output) > 1:
            continue
        added = before(node.input[0], "Add")
        divided = before(added.input[0] if added is not None else node.input[0], "Div")
        if divided is None or before(divided.input[0], "Conv") is None:
            continue
        if any(node.input[place] not in stored for place in (1, 3)):
            continue
        gain, mean = (numpy_helper.to_array(stored[node.input[place]]) for place in (1, 3))
        divisor = of_channels(divided, len(gain))
        offset = np.zeros(len(gain)) if added is None else of_channels(added, len(gain))
        if divisor is None or offset is None or not divisor.all():
            continue
        for place, values in ((1, gain / divisor), (3, (mean - offset) * divisor)):
            name = names.new(f"{node.input[place]}_undivided")
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
            node.input[place] = name
        node.input[0] = divided.input[0]
        gone += [divided] if added is None else [divided, added]
    for node in gone:
        graph.node.remove(node)
