"""Unrolls TF1 loops (`Enter` to `Exit`) whose number of turns is a small constant."""

from __future__ import annotations

from collections.abc import Iterable

from int8gate.model_zoo.importers.tf1.control_flow import ENTER, EXIT, MERGE, NEXT, SWITCH, frame_of
from int8gate.model_zoo.importers.tf1.graphs import Graph, data_edges, is_control, node_of
from int8gate.model_zoo.importers.tf1.running import constant_value
from int8gate.model_zoo.importers.tf1.wording import NotRewritten

MOST_TURNS = 64


class Loop:
    """The nodes of one frame. `merges` are its variables, by name their first and next values."""

    def __init__(self, graph: Graph, frame: str):
        nodes = graph.nodes
        enters = [n for n, node in nodes.items() if node.op in ENTER and frame_of(node) == frame]
        self.members = graph.below(enters, stop=lambda name: nodes[name].op in EXIT)
        self.enters = {name: nodes[name].input[0] for name in enters}
        self.inner = [n for n in self.members - set(enters) if nodes[n].op in ENTER]
        self.merges, self.exits, self.switches = {}, {}, {}
        self.condition = ""
        for name in graph.order:
            node = nodes[name]
            if name not in self.members:
                continue
            edges = data_edges(node)
            if node.op in MERGE and any(nodes[node_of(e)].op in NEXT for e in edges):
                first, following = sorted(edges, key=lambda e: nodes[node_of(e)].op in NEXT)
                self.merges[name] = (first, nodes[node_of(following)].input[0])
            elif node.op in SWITCH and nodes[node_of(node.input[1])].op == "LoopCond":
                self.switches[name] = node.input[0]
            elif node.op == "LoopCond":
                self.condition = node.input[0]
            elif node.op in EXIT:
                self.exits[name] = edges[0]


def next_frame(graph: Graph, tried: Iterable[str]) -> str | None:
    """The next loop to unroll: one that holds or feeds a layer, and that holds no other loop."""
    frames = dict.fromkeys(frame_of(node) for node in graph.nodes.values() if node.op in ENTER)
    needed = graph.above(graph.anchors)
    for frame in frames:
        if frame not in tried and not (loop := Loop(graph, frame)).inner and loop.members & needed:
            return frame
    return None


def unrolled(graph: Graph, frame: str):
    """The GraphDef with a copy of the loop's nodes for each turn.

    Raises NotRewritten when the number of turns depends on the image or is large.
    """
    from int8gate.model_zoo.importers.tf1 import tensor_arrays

    loop = Loop(graph, frame)
    changed = type(graph.graph_def)(versions=graph.graph_def.versions)
    changed.library.CopyFrom(graph.graph_def.library)
    changed.node.extend(n for n in graph.graph_def.node if n.name not in loop.members)
    now = {name: first for name, (first, _) in loop.merges.items()}
    for turn in range(MOST_TURNS + 1):
        names, size = _Names(loop, now, turn), len(changed.node)
        _copy(graph, loop, names, changed)
        if not _goes_on(changed, names.edge(loop.condition)):
            del changed.node[size:]
            break
        now = {name: names.edge(following) for name, (_, following) in loop.merges.items()}
    else:
        raise NotRewritten(f"more than {MOST_TURNS} turns")
    for name, edge in loop.exits.items():
        dtype = graph.nodes[name].attr["T"]
        changed.node.add(name=name, op="Identity", input=[names.edge(edge)], attr={"T": dtype})
    return tensor_arrays.lowered(Graph(changed))


class _Names:
    """What the edges of a loop are called in one turn."""

    def __init__(self, loop: Loop, now: dict[str, str], turn: int):
        self._loop, self._now, self._turn = loop, now, turn

    def edge(self, edge: str) -> str:
        name, loop = node_of(edge), self._loop
        if name in loop.enters:
            return self.edge(loop.enters[name])
        if name in loop.switches:
            return self.edge(loop.switches[name])
        if name in loop.merges:
            value = self._now[name]
            return self.edge(value) if node_of(value) in loop.enters else value
        if name not in loop.members:
            return edge
        mark, _, port = edge.partition(":")
        return f"{self.node(mark)}:{port}" if port else self.node(mark)

    def node(self, name: str) -> str:
        return f"{name}/turn_{self._turn}"


def _copy(graph: Graph, loop: Loop, names: _Names, into) -> None:
    """Adds the nodes of one turn to `into`."""
    skipped = {*loop.enters, *loop.merges, *loop.switches, *loop.exits}
    for name in loop.members - skipped:
        node = graph.nodes[name]
        if node.op == "LoopCond" or node.op in NEXT:
            continue
        copy = into.node.add()
        copy.CopyFrom(node)
        copy.name = names.node(name)
        del copy.input[:]
        copy.input.extend(
            f"^{node_of(names.edge(e[1:]))}" if is_control(e) else names.edge(e)
            for e in node.input
            if not (is_control(e) and _gone(graph, e))
        )


def _gone(graph: Graph, edge: str) -> bool:
    return graph.nodes[node_of(edge)].op in {"LoopCond", *NEXT}


def _goes_on(graph_def, condition: str) -> bool:
    """The value of the loop's condition, which must not depend on an input."""
    try:
        return bool(constant_value(Graph(graph_def), condition))
    except NotRewritten as error:
        raise NotRewritten(f"its number of turns {error}") from error
