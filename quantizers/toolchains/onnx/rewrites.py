"""Operators that have no integer kernel in ONNX Runtime, written as others that have one.

A mean over a picture is a global pooling. A normalization of channels that stands alone is a
convolution, a transposed convolution a plain one, one that makes tokens of patches a matrix product
(`convolution_forms`). Einstein's sum is a matrix product, an assignment to a slice a Slice and
Concat (`tensor_forms`). A bias of a matrix product is a vector, whatever shape broadcasting allows.
One pixel that is enlarged is repeated. A division by a constant is a product, a square the product
of a tensor with itself. Zeros that are put around a map belong to the convolution behind them. The
values stay the same.
"""

from __future__ import annotations

import math

import numpy as np

from int8gate.quantizers.toolchains.onnx.convolution_forms import (
    Affines,
    as_convolution,
    of_patches,
)
from int8gate.quantizers.toolchains.onnx.graph_view import GraphView
from int8gate.quantizers.toolchains.onnx.tensor_forms import as_moves, as_product

MOVES = ("DepthToSpace", "Slice", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten")


def rewrite(graph) -> None:
    """Rewrites a graph of static shapes in place; only what is float32 is changed."""
    _drop_idle(graph)
    view = GraphView(graph)
    _take_in_pads(view)
    affines, readers, nodes = Affines(view), view.readers(), []
    for node in graph.node:
        if not view.is_float(node.output[0]):
            nodes.append(node)
        elif made := affines.convolution(node, nodes):
            nodes.append(made)
        else:
            nodes += _rewritten(node, view, readers)
    del graph.node[:]
    graph.node.extend(nodes)
    _activate_first(GraphView(graph))


def _rewritten(node, view: GraphView, readers: dict[str, list]) -> list:
    """The nodes in place of one; that one itself, changed or not, where there is no other form."""
    match node.op_type:
        case "ReduceMean":
            return _pooled(node, view)
        case "Einsum":
            return as_product(node, view)
        case "ScatterND":
            return as_moves(node, view)
        case "Conv":
            return of_patches(node, view, readers)
        case "ConvTranspose":
            return as_convolution(node, view)
        case "Gemm":
            _flatten_bias(node, view)
        case "Resize":
            _repeat_single(node, view)
        case "Div" | "Sub":
            _by_its_inverse(node, view)
        case "Pow":
            _square(node, view)
        case "PRelu":
            _one_slope(node, view)
        case "Min" | "Max":
            _bound(node, view)
    return [node]


def _drop_idle(graph) -> None:
    """Takes out casts to the type that a tensor has already, where ONNX Runtime leaves them: before
    an output, which keeps its name.
    """
    view = GraphView(graph)
    inputs = {info.name for info in graph.input}
    made_inside = {name for node in graph.node for name in node.output}
    outputs = {info.name for info in graph.output}
    for node in list(graph.node):
        if node.op_type not in ("Cast", "Identity"):
            continue
        source, result = node.input[0], node.output[0]
        if view.kinds.get(source, 0) != view.kinds.get(result, -1):
            continue
        if source in inputs | outputs or source not in made_inside or source in view.inner:
            continue
        graph.node.remove(node)
        for other in graph.node:
            for ends in (other.input, other.output):
                for place, name in enumerate(ends):
                    if name == source:
                        ends[place] = result


def _take_in_pads(view: GraphView) -> None:
    """A Pad of zeros around a map becomes `pads` of the convolution that alone reads it."""
    from onnx import helper

    readers = view.readers()
    for node in list(view.graph.node):
        if node.op_type != "Pad" or view.settings(node).get("mode", b"constant") != b"constant":
            continue
        value = view.array(node, 2)
        if value is not None and not value.any():
            node.input[2] = ""  # zero is what a Pad puts where it is not told
        pads, is_zero = view.array(node, 1), len(node.input) < 3 or not node.input[2]
        shape = view.shapes.get(node.input[0], ())
        followers = readers.get(node.output[0], [])
        if pads is None or not is_zero or len(node.input) > 3 or len(shape) < 3:
            continue
        if view.uses[node.output[0]] != 1 or len(followers) != 1 or len(pads) != 2 * len(shape):
            continue
        (follower,) = followers
        before, after = pads[: len(shape)], pads[len(shape) :]
        if follower.op_type != "Conv" or follower.input[0] != node.output[0]:
            continue
        settings = view.settings(follower)
        if settings.get("auto_pad", b"NOTSET") != b"NOTSET" or min(pads) < 0:
            continue
        if any(before[:2]) or any(after[:2]):
            continue
        around = np.array(settings.get("pads", [0] * 2 * (len(shape) - 2)))
        around = around + np.concatenate([before[2:], after[2:]])
        kept = [entry for entry in follower.attribute if entry.name != "pads"]
        del follower.attribute[:]
        follower.attribute.extend([*kept, helper.make_attribute("pads", around.tolist())])
        follower.input[0] = node.input[0]
        view.graph.node.remove(node)


def _activate_first(view: GraphView) -> None:
    """A Relu or Clip behind nodes that only move values goes before them, to what makes the values.

    There it costs nothing: it is the range of what the convolution gives.
    """
    nodes = list(view.graph.node)
    producer = {name: node for node in nodes for name in node.output}
    for node in list(nodes):
        if node.op_type not in ("Relu", "Clip"):
            continue
        while (mover := producer.get(node.input[0])) is not None:
            source, moved = mover.input[0], node.input[0]
            is_alone = view.uses[moved] == 1 and view.uses[source] == 1 and source in producer
            if mover.op_type not in MOVES or not is_alone:
                break
            active = view.names.new(f"{source}_active")
            mover.output[0], mover.input[0] = node.output[0], active
            node.input[0], node.output[0] = source, active
            producer |= {mover.output[0]: mover, active: node}
            view.uses[active] = 1
            nodes.remove(node)
            nodes.insert(nodes.index(mover), node)
    del view.graph.node[:]
    view.graph.node.extend(nodes)


def _pooled(node, view: GraphView) -> list:
    """A mean over both sides of a map (n, c, h, w) as GlobalAveragePool, others as they are."""
    from onnx import helper

    settings = view.settings(node)
    given = view.array(node, 1)  # an input since opset 18
    axes = settings.get("axes", []) if given is None else given.tolist()
    rank = len(view.shapes.get(node.input[0], ()))
    if rank != 4 or sorted(axis % 4 for axis in axes) != [2, 3]:
        return [node]
    picture, (mean,) = node.input[0], node.output
    if settings.get("keepdims", 1):
        return [helper.make_node("GlobalAveragePool", [picture], [mean], node.name)]
    pooled, flat = view.names.new(f"{mean}_pooled"), view.names.new(f"{node.name}_flat")
    return [
        helper.make_node("GlobalAveragePool", [picture], [pooled], node.name),
        helper.make_node("Flatten", [pooled], [mean], flat),
    ]


def _repeat_single(node, view: GraphView) -> None:
    """Enlarging one pixel repeats it in any mode; only the nearest one has an integer form."""
    from onnx import helper

    if view.shapes.get(node.input[0], ())[2:] != (1, 1):
        return
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("mode", "nearest"))
    node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))


def _by_its_inverse(node, view: GraphView) -> None:
    """x / c as x * (1 / c), x - c as x + (-c)."""
    value = view.array(node, 1)
    if value is None or (node.op_type == "Div" and not value.all()):
        return
    is_division = node.op_type == "Div"
    inverse = 1 / value.astype(np.float64) if is_division else -value
    node.input[1] = view.constant(f"{node.name or node.output[0]}_inverse", inverse)
    node.op_type = "Mul" if is_division else "Add"


def _square(node, view: GraphView) -> None:
    power = view.array(node, 1)
    if power is not None and power.size == 1 and power.item() == 2 and not power.shape:
        node.op_type, node.input[1] = "Mul", node.input[0]


def _one_slope(node, view: GraphView) -> None:
    """A PRelu of one slope for all channels is a LeakyRelu."""
    from onnx import helper

    slope = view.array(node, 1)
    if slope is None or not slope.size or (slope != slope.flat[0]).any():
        return
    if len(slope.shape) > len(view.shapes.get(node.input[0], ())):
        return
    del node.input[1]
    node.op_type = "LeakyRelu"
    node.attribute.append(helper.make_attribute("alpha", float(slope.flat[0])))


def _bound(node, view: GraphView) -> None:
    """A minimum or maximum with one number is a Clip."""
    if len(node.input) != 2:
        return
    first, second = (view.array(node, place) for place in (0, 1))
    bound = second if first is None else first
    if bound is None or (first is not None and second is not None):
        return
    other = node.input[1 if second is None else 0]
    if bound.size != 1 or len(bound.shape) > len(view.shapes.get(other, ())):
        return
    limit = view.constant(f"{node.name or node.output[0]}_bound", bound.reshape(()))
    inputs = [other, limit] if node.op_type == "Max" else [other, "", limit]
    del node.input[:]
    node.input.extend(inputs)
    node.op_type = "Clip"


def _flatten_bias(node, view: GraphView) -> None:
    """Folds alpha and beta into the constants and makes the bias a vector of the outputs."""
    from onnx import helper

    settings = view.settings(node)
    alpha, beta = settings.get("alpha", 1.0), settings.get("beta", 1.0)
    weights, bias = view.array(node, 1), view.array(node, 2)
    if weights is None:
        return
    outputs = weights.shape[0 if settings.get("transB", 0) else 1]
    has_bias = len(node.input) > 2 and bool(node.input[2])
    if has_bias and (bias is None or math.prod(bias.shape) not in (1, outputs)):
        return
    if bias is not None and len(bias.shape) == 2 and bias.shape[0] > 1:
        return
    changed = {}
    if alpha != 1:
        changed[1] = weights * np.float32(alpha)
    if bias is not None and (beta != 1 or bias.shape != (outputs,)):
        changed[2] = np.broadcast_to(bias.reshape(-1) * np.float32(beta), (outputs,)).copy()
    for place, values in changed.items():
        name = f"{node.name or node.output[0]}_{('weights', 'bias')[place - 1]}"
        node.input[place] = view.constant(name, values)
    kept = [entry for entry in node.attribute if entry.name not in ("alpha", "beta")]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend([helper.make_attribute("alpha", 1.0), helper.make_attribute("beta", 1.0)])
