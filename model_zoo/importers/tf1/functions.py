"""Functions of TensorFlow 2 that a frozen graph calls: conditions (If, Case) and plain calls.

Freezing keeps them as nodes with a library of functions. A condition whose outcome is constant,
as that of a training flag is at inference, is its chosen branch; that and what is called in any
case are written into the graph, where layers are looked for.
"""

from __future__ import annotations

from collections.abc import Mapping

from int8gate.model_zoo.importers.tf1.graphs import (
    Graph,
    NotRewritten,
    data_edges,
    edge_of,
    free_name,
    is_control,
    node_of,
    tensor_of,
)

CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
CONDITIONS = {"If", "StatelessIf"}
CHOICES = {"Case", "StatelessCase"}
MOST_NODES = 200_000  # functions may call one another without end
MOST_ROUNDS = 50


def decided(graph: Graph) -> list[str]:
    """Nodes that call a function whatever the image is."""
    return [name for name, node in graph.nodes.items() if _called(graph, node)]


def inlined(graph: Graph):
    """The GraphDef with the nodes of each decided function in place of its call.

    Calls within these functions stand in the result, and are inlined in another round.
    """
    library = {f.signature.name: f for f in graph.graph_def.library.function}
    changed = type(graph.graph_def)()
    changed.CopyFrom(graph.graph_def)
    del changed.node[:]
    answers: dict[str, str] = {}  # by tensor of a call, the tensor that its function returns
    for node in graph.graph_def.node:
        function = library.get(_called(graph, node) or "")
        if function is None:
            changed.node.add().CopyFrom(node)
            continue
        arguments = data_edges(node)[0 if node.op in CALLS else 1 :]
        returned = _write_body(graph, node.name, function, arguments, changed)
        answers |= {f"{node.name}:{port}": tensor for port, tensor in enumerate(returned)}
        _write_answer(node, returned, changed)
        if len(changed.node) > MOST_NODES:
            raise NotRewritten("its functions call one another too often")
    for node in changed.node:
        if node.name not in graph.nodes or not _called(graph, graph.nodes[node.name]):
            for place, edge in enumerate(node.input):
                if not is_control(edge) and tensor_of(edge) in answers:
                    node.input[place] = edge_of(_origin(tensor_of(edge), answers))
    return changed


def _origin(tensor: str, answers: Mapping[str, str]) -> str:
    """A function may return what another call gave it."""
    while tensor in answers:
        tensor = answers[tensor]
    return tensor


def _called(graph: Graph, node) -> str | None:
    """The function that a node calls in any case; None of others."""
    import tensorflow as tf

    if node.op in CALLS:
        return node.attr["f"].func.name
    if node.op not in CONDITIONS | CHOICES:
        return None
    operation = graph.imported.get_operation_by_name(node.name)
    value = tf.get_static_value(operation.inputs[0])
    if value is None or value.ndim:
        return None
    if node.op in CONDITIONS:
        return node.attr["then_branch" if value.item() else "else_branch"].func.name
    branches = node.attr["branches"].list.func
    chosen = value.item() if 0 <= value.item() < len(branches) else len(branches) - 1
    return branches[chosen].name


def _write_body(graph: Graph, name: str, function, arguments: list[str], changed) -> list[str]:
    """Adds a function's nodes to the GraphDef `changed`; returns the tensors that it returns."""
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

    with graph.imported.as_default():  # which knows the functions that it calls
        body, flat = function_def_to_graph_def(function)
    takes = [argument.name for argument in function.signature.input_arg]
    given = {f"{taken}:0": tensor_of(edge) for taken, edge in zip(takes, arguments, strict=True)}
    scope = free_name(graph, f"{name}/inlined")

    def outer(edge: str) -> str:
        if is_control(edge):
            inner = node_of(edge)
            return f"^{node_of(given[f'{inner}:0'])}" if inner in takes else f"^{scope}/{inner}"
        tensor = tensor_of(edge)
        return edge_of(given.get(tensor, f"{scope}/{tensor}"))

    for node in body.node:
        if node.name in takes:
            continue
        copied = changed.node.add()
        copied.CopyFrom(node)
        copied.name = f"{scope}/{node.name}"
        copied.input[:] = [outer(edge) for edge in node.input]
    returns = (function.ret[out.name] for out in function.signature.output_arg)
    return [tensor_of(outer(flat[tensor])) for tensor in returns]


def _write_answer(node, returned: list[str], changed) -> None:
    """A node of the call's name, which may be an output of the graph or what another waits for."""
    kind = "Identity" if len(returned) == 1 else "IdentityN" if returned else "NoOp"
    answer = changed.node.add(name=node.name, op=kind, input=list(map(edge_of, returned)))
    if kind == "Identity":
        answer.attr["T"].type = node.attr["Tout"].list.type[0]
    elif returned:
        answer.attr["T"].list.type.extend(node.attr["Tout"].list.type)
