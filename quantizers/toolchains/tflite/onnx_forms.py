"""What onnx2tf converts wrongly, or so that integers lose by it, in other operators."""

from __future__ import annotations

import numpy as np

from int8gate.quantizers.toolchains.onnx.graph_view import GraphView
from int8gate.quantizers.toolchains.onnx.tensor_forms import as_moves, as_product

OF_EACH_VALUE = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Clip", "Elu")


def rewrite_for_tflite(graph) -> None:
    """Rewrites a folded graph of static shapes in place; the values stay the same."""
    _shuffle_channels(GraphView(graph))
    view = GraphView(graph)
    readers, nodes, taken = view.readers(), [], set()
    for node in graph.node:
        if node.name in taken:
            continue
        if node.op_type == "Einsum":
            nodes += as_product(node, view)
        elif node.op_type == "ScatterND":
            nodes += as_moves(node, view)
        elif node.op_type == "Conv":
            activation = _alone_behind(node, readers, view)
            parted = _groups_apart(node, activation, view)
            if parted and activation is not None:
                taken.add(activation.name)
            nodes += parted or [node]
        else:
            if node.op_type == "TopK":
                nodes += _constant_node(node, 1, view)
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _shuffle_channels(view: GraphView) -> None:
    """Channels that are shuffled between groups as a Gather of channels, where there are as many
    rows or columns.

    They come as a Reshape to five sides, a Transpose and a Reshape back, of which onnx2tf takes
    rows for channels then. No NPU of Arm's has a Gather, so that others stay.
    """
    from onnx import helper

    readers = view.readers()
    for node in list(view.graph.node):
        row = [node]
        for _ in range(2):
            following = readers.get(row[-1].output[0], [])
            if len(following) == 1 and view.uses[row[-1].output[0]] == 1:
                row.append(following[0])
        if [each.op_type for each in row] != ["Reshape", "Transpose", "Reshape"]:
            continue
        first, turn, last = row
        before, after = view.shapes.get(first.input[0], ()), view.shapes.get(last.output[0], ())
        parted = view.shapes.get(first.output[0], ())
        is_of_channels = len(before) == 4 and before == after and len(parted) == 5
        if not is_of_channels or parted[3:] != before[2:] or parted[0] != before[0]:
            continue
        is_clear = before[1] not in before[2:]
        if is_clear or view.settings(turn).get("perm") != [0, 2, 1, 3, 4]:
            continue
        order = np.arange(before[1]).reshape(parted[1:3]).T.reshape(-1)
        places = view.integers(f"{first.name}_order", order)
        del last.input[:]
        last.input.extend([first.input[0], places])
        del last.attribute[:]
        last.op_type = "Gather"
        last.attribute.append(helper.make_attribute("axis", 1))
        view.graph.node.remove(first)
        view.graph.node.remove(turn)


def _alone_behind(node, readers: dict, view: GraphView):
    """The activation that alone reads a convolution, None where there is none."""
    following = readers.get(node.output[0], [])
    if len(following) != 1 or view.uses[node.output[0]] != 1:
        return None
    (reader,) = following
    others = [name for name in reader.input[1:] if name]
    if reader.op_type not in OF_EACH_VALUE or any(name not in view.constants for name in others):
        return None
    return reader


def _groups_apart(node, activation, view: GraphView) -> list:
    """A convolution in groups as one for each group; none where it has no groups or is depthwise.

    The activation belongs to each of them: behind their Concat, their ranges would have to hold
    what it takes away.
    """
    from onnx import helper

    groups = view.settings(node).get("group", 1)
    weights = view.array(node, 1)
    bias = view.array(node, 2)
    has_bias = len(node.input) > 2 and bool(node.input[2])
    if groups == 1 or weights is None or weights.shape[1] == 1 or (has_bias and bias is None):
        return []
    name, made = node.name or node.output[0], view.names.new
    pictures = [made(f"{name}_in_{number}") for number in range(groups)]
    sides = view.integers(f"{name}_sides", [weights.shape[1]] * groups)
    split = [node.input[0], sides]
    nodes = [helper.make_node("Split", split, pictures, made(f"{name}_split"), axis=1)]
    kept = [entry for entry in node.attribute if entry.name != "group"]
    results = []
    for number in range(groups):
        rows = slice(*(len(weights) // groups * side for side in (number, number + 1)))
        inputs = [pictures[number], view.constant(f"{name}_weights_{number}", weights[rows])]
        if bias is not None:
            inputs.append(view.constant(f"{name}_bias_{number}", bias[rows]))
        results.append(made(f"{name}_out_{number}"))
        conv = helper.make_node("Conv", inputs, results[-1:], made(f"{name}_{number}"))
        conv.attribute.extend(kept)
        nodes.append(conv)
        if activation is not None:
            active = type(activation)()
            active.CopyFrom(activation)
            active.name = made(f"{activation.name}_{number}")
            active.input[0], active.output[0] = results[-1], made(f"{results[-1]}_active")
            results[-1] = active.output[0]
            nodes.append(active)
    result = node.output[0] if activation is None else activation.output[0]
    return [*nodes, helper.make_node("Concat", results, [result], name, axis=1)]


def _constant_node(node, place: int, view: GraphView) -> list:
    """A constant input as a Constant node: onnx2tf cannot read it otherwise."""
    from onnx import helper, numpy_helper

    values = view.array(node, place)
    if values is None:
        return []
    name = view.names.new(f"{node.input[place]}_constant")
    node.input[place] = name
    tensor = numpy_helper.from_array(np.asarray(values), name)
    return [helper.make_node("Constant", [], [name], view.names.new(f"{name}_node"), value=tensor)]
