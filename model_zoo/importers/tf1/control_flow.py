"""Which nodes of a graph run in a loop or under a condition.

A loop (a frame) is what lies between its `Enter` and its `Exit`. A node is conditional when it is
alive under some outcomes of the predicates of `Switch` only (`liveness`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from int8gate.model_zoo.importers.tf1 import liveness
from int8gate.model_zoo.importers.tf1.graphs import Graph, is_control, node_of, tensor_of
from int8gate.model_zoo.importers.tf1.liveness import ALWAYS, Alive

ENTER, EXIT = {"Enter", "RefEnter"}, {"Exit", "RefExit"}
SWITCH, MERGE = {"Switch", "RefSwitch", "_SwitchN"}, {"Merge", "RefMerge"}
NEXT = {"NextIteration", "RefNextIteration"}
FUNCTIONAL = {"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase", "For"}
OPERATORS = ENTER | EXIT | SWITCH | MERGE | NEXT | FUNCTIONAL | {"LoopCond"}
FRAME_NOISE = "/while_context"
OUTSIDE = ""  # the frame of what runs in no loop


@dataclass(frozen=True)
class Regions:
    """Node names. `control` are all that run in a loop or under a condition, or delimit one."""

    loops: frozenset[str]
    conditional: frozenset[str]

    @property
    def control(self) -> frozenset[str]:
        return self.loops | self.conditional


@dataclass(frozen=True)
class Place:
    """Where a node runs: in which frame, and under which conditions."""

    frame: str
    alive: Alive


class Places:
    """Where each node of a graph runs."""

    def __init__(self, graph: Graph):
        self._graph = graph
        self._places: dict[str, Place] = {}
        self._chosen: dict[str, Alive] = {}  # by output of a `Switch`
        self._around: dict[str, str] = {}  # by frame, the one around it
        for name in graph.order:
            self._visit(graph.nodes[name])

    def __getitem__(self, name: str) -> Place:
        return self._places[name]

    def of(self, edges: Iterable[str]) -> Place:
        """Where a node runs that reads `edges`."""
        edges = list(edges)
        frames = (self._places[node_of(e)].frame for e in edges)
        return Place(next(filter(None, frames), OUTSIDE), liveness.all_of(map(self._alive, edges)))

    def _alive(self, edge: str) -> Alive:
        alive = self._places[node_of(edge)].alive
        return alive if is_control(edge) else self._chosen.get(tensor_of(edge), alive)

    def _visit(self, node) -> None:
        nodes = self._graph.nodes
        edges = [edge for edge in node.input if nodes[node_of(edge)].op not in NEXT]
        place = self.of(edges)
        frame, alive = place.frame, place.alive
        if node.op in MERGE:
            alive = liveness.any_of(map(self._alive, edges))
        elif node.op in ENTER:
            frame = frame_of(node)
            self._around[frame] = place.frame
        elif node.op in EXIT:
            frame = self._around.get(place.frame, OUTSIDE)
            alive = liveness.without(
                alive, lambda predicate: self._places[node_of(predicate)].frame == place.frame
            )
        self._places[node.name] = Place(frame, alive)
        if node.op in SWITCH and len(node.input) > 1:
            predicate, outcome = _origin(self._graph, node.input[1])
            for port in (0, 1):
                chosen = liveness.literal(predicate, outcome == bool(port))
                self._chosen[f"{node.name}:{port}"] = liveness.all_of([alive, chosen])


def regions(graph: Graph) -> Regions:
    """The control flow of `graph`."""
    places = Places(graph)
    loops, conditional = set(), set()
    for name, node in graph.nodes.items():
        if places[name].frame != OUTSIDE or node.op in EXIT:
            loops.add(name)
        elif places[name].alive != ALWAYS or node.op in OPERATORS:
            conditional.add(name)
    return Regions(frozenset(loops), frozenset(conditional))


def frame_of(enter) -> str:
    """The frame that an `Enter` opens."""
    return enter.attr["frame_name"].s.decode()


def loop_name(frame: str) -> str:
    """What people call the loop of a frame."""
    return frame.removesuffix(FRAME_NOISE).rstrip("/") or frame


def _origin(graph: Graph, edge: str) -> tuple[str, bool]:
    """The tensor that decides, and its outcome for a true `edge`."""
    outcome = True
    while True:
        node = graph.nodes[node_of(edge)]
        if node.op in {"Identity", *SWITCH}:
            edge = node.input[0]
        elif node.op == "LogicalNot":
            edge, outcome = node.input[0], not outcome
        else:
            return tensor_of(edge), outcome


def functions_with(graph: Graph, operators: set[str]) -> list[str]:
    """Nodes that call a function of the graph's library which uses one of `operators`."""
    library = {f.signature.name: f for f in graph.graph_def.library.function}
    used: set[str] = set()
    while more := {
        name
        for name, function in library.items()
        if name not in used
        and any(node.op in operators or _calls(node) & used for node in function.node_def)
    }:
        used |= more
    return [name for name in graph.order if used and _calls(graph.nodes[name]) & used]


def _calls(node) -> set[str]:
    values = node.attr.values()
    return {node.op} | {f.name for v in values for f in (v.func, *v.list.func) if f.name}
