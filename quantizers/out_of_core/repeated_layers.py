"""A network of many equal layers, out of the exported graph of a few of them.

PyTorch's exporter notes at every node in which module it stands. The nodes of the last exported
layer are copied with the next layer's weights, between the tensor that the layer before writes and
the one that the copied layer writes.
"""

from __future__ import annotations

import ast

SCOPES = "pkg.torch.onnx.name_scopes"


def repeat_layer(graph, layers: str, exported: int, wanted: int, prefix: str) -> None:
    """Makes `wanted` layers of the `exported` ones in place; `layers` names their list.

    `prefix` stands before the names of modules, not of weights. Raises RuntimeError where the last
    exported layer is not one chain link: one tensor of the layer before, one that is read behind.
    """
    if wanted <= exported:
        return
    last = f"{layers}.{exported - 1}"
    nodes = [node for node in graph.node if prefix + last in _scopes(node)]
    inner = {name for node in nodes for name in node.output}
    entering = _entering(graph, nodes, f"{layers}.{exported - 2}.")
    leaving = {
        name for node in graph.node if node not in nodes for name in node.input if name in inner
    }
    if len(entering) != 1 or len(leaving) != 1:
        raise RuntimeError(
            f"{last} reads {sorted(entering)} of the layer before and writes {sorted(leaving)}: "
            "expected one tensor each; this exporter shares more between layers"
        )
    (entry,), (end,) = entering, leaving
    weights = [each for each in graph.initializer if each.name.startswith(f"{last}.")]
    copies, before = [], end
    for number in range(exported, wanted):
        names = {name: f"{name}.{number}" for name in inner} | {entry: before}
        for weight in weights:
            names[weight.name] = weight.name.replace(last, f"{layers}.{number}", 1)
            copy = graph.initializer.add()
            copy.CopyFrom(weight)
            copy.name = names[weight.name]
        copies += [_renamed(node, names, number) for node in nodes]
        before = names[end]
    _insert(graph, copies, end, before)


def _entering(graph, nodes, layer_before: str) -> set[str]:
    """What the nodes read that depends on weights of the layer before."""
    dependent = {each.name for each in graph.initializer if each.name.startswith(layer_before)}
    for node in graph.node:
        if not dependent.isdisjoint(node.input):
            dependent.update(node.output)
    inner = {name for node in nodes for name in node.output}
    return {name for node in nodes for name in node.input if name in dependent} - inner


def _insert(graph, copies: list, end: str, last: str) -> None:
    """Puts the copies behind the node that writes `end`; what read that, reads `last` then."""
    nodes, is_behind = [], False
    for node in graph.node:
        if is_behind:
            for place, name in enumerate(node.input):
                node.input[place] = last if name == end else name
        nodes.append(node)
        if end in node.output:
            nodes += copies
            is_behind = True
    del graph.node[:]
    graph.node.extend(nodes)


def _renamed(node, names: dict[str, str], number: int):
    copy = type(node)()
    copy.CopyFrom(node)
    copy.name = f"{node.name}.{number}"
    for ends in (copy.input, copy.output):
        for place, name in enumerate(ends):
            ends[place] = names.get(name, name)
    return copy


def _scopes(node) -> list[str]:
    """The modules that a node stands in, the outermost first."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            return ast.literal_eval(entry.value)
    return []
