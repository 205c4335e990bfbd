"""Scales of a file in QDQ form on the tensors beside those that have them, where nothing changes.

A tool puts its pair where its own kernels want it: NVIDIA ModelOpt before the convolution that
reads a MaxPool, behind the Relu of which other tools have theirs. Rounding is monotone and its
integers are of one scale: so a pair may stand on either side of what only moves or chooses values,
and of a Relu. A tensor that would have to be calibrated takes the scale from there, and the network
computes the same.
"""

from __future__ import annotations

from collections import defaultdict

from int8gate.model_zoo.importers.onnx.qdq.qdq_scales import ActivationScale, QdqScales
from int8gate.model_zoo.importers.onnx.structure import read_by_subgraphs

KEEPS = frozenset(  # every value, in another order or shape
    {
        *("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"),
        *("DepthToSpace", "SpaceToDepth"),
    }
)
MOVES = KEEPS | {"Slice", "Split", "Gather", "MaxPool", "Expand", "Tile"}  # integers as well
JOINS = "Concat"


def pass_scales(graph, scales: QdqScales) -> None:
    """Adds the scales of `scales` to the tensors beside theirs, in place.

    A pair before a Relu that alone reads it goes behind it; one behind a Concat or what moves
    values also counts before, where nothing else reads that tensor in another scale. What is moved
    as a whole has the scale of what it is moved from, and is not listed twice.
    """
    activations = scales.activations
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    fixed = {info.name for info in graph.output} | read_by_subgraphs(graph)
    inputs = {info.name for info in graph.input}
    for node in graph.node:
        if node.op_type == "Relu" and len(readers[node.input[0]]) == 1:
            _behind_relu(node.input[0], node.output[0], activations, fixed | inputs)
    constants = {tensor.name for tensor in graph.initializer}
    for node in reversed(graph.node):
        if node.op_type not in (*MOVES, JOINS):
            continue
        for name in node.input if node.op_type == JOINS else node.input[:1]:
            if name in activations or name in fixed or name in constants:
                continue
            if found := _of_readers(name, readers[name], activations):
                activations[name] = found
    for node in graph.node:
        if node.op_type in KEEPS and node.output[0] not in fixed:
            _forget_again(node.input[0], node.output[0], activations)


def _behind_relu(
    before: str, behind: str, activations: dict[str, ActivationScale], fixed: set[str]
) -> None:
    found = activations.get(before)
    if found is None or found.bounds or before in fixed:
        return
    other = activations.setdefault(behind, found)
    if other.is_same(found):
        del activations[before]


def _forget_again(before: str, behind: str, activations: dict[str, ActivationScale]) -> None:
    """What is moved as a whole needs no scale where it has that of what it is moved from."""
    one, other = activations.get(before), activations.get(behind)
    if one is None or other is None or not one.is_same(other):
        return
    if other.bounds in (None, one.bounds):
        del activations[behind]


def _of_readers(
    name: str, readers: list, activations: dict[str, ActivationScale]
) -> ActivationScale | None:
    """The one scale in which all that reads a tensor gives it on, if it is one."""
    given = []
    for node in readers:
        is_joined = node.op_type == JOINS
        if not is_joined and (node.op_type not in MOVES or list(node.input).count(name) != 1):
            return None
        if not is_joined and node.input[0] != name:
            return None
        given += [activations.get(end) for end in node.output if end]
    first = given[0] if given else None
    if first is None or first.bounds:
        return None
    is_one = all(each is not None and not each.bounds and each.is_same(first) for each in given)
    return first if is_one else None
