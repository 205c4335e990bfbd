"""Which nodes of a graph run in a loop or under a condition, and which control edges say so.

A loop (a frame) is what lies between its `Enter` and its `Exit`. A node is conditional when it is
alive under some outcomes of the predicates of `Switch` only. Under which outcomes a tensor is alive
is kept as a disjunction of conjunctions of (predicate, outcome), `Alive`, so a `Merge` of two,
three or four inputs, nested or not, ends a condition exactly when one of its inputs is alive
whatever the outcomes are.

Some control edges only order nodes, others say where a node runs: a node without data inputs, a
`Const` above all, runs in a loop or under a condition only because of a control edge from there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import reduce

from int8gate.model_zoo.importers.tf1.graphs import (
    Graph,
    data_edges,
    is_control,
    node_of,
    tensor_of,
)

MOST_TERMS = 64

Literal = tuple[str, bool]
Term = frozenset[Literal]
Alive = frozenset[Term]  # a disjunction of terms
ALWAYS: Alive = frozenset({frozenset()})

ENTER, EXIT = {"Enter", "RefEnter"}, {"Exit", "RefExit"}
SWITCH, MERGE = {"Switch", "RefSwitch", "_SwitchN"}, {"Merge", "RefMerge"}
NEXT = {"NextIteration", "RefNextIteration"}
FUNCTIONAL = {"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase", "For"}
OPERATORS = ENTER | EXIT | SWITCH | MERGE | NEXT | FUNCTIONAL | {"LoopCond"}
FRAME_NOISE = "/while_context"
OUTSIDE = ""  # the frame of what runs in no loop


def literal(predicate: str, outcome: bool) -> Alive:
    return frozenset({frozenset({(predicate, outcome)})})


def all_of(conditions: Iterable[Alive]) -> Alive:
    return reduce(_both, dict.fromkeys(conditions), ALWAYS)


def any_of(conditions: Iterable[Alive]) -> Alive:
    terms = frozenset().union(*conditions)
    return ALWAYS if _tautology(terms) else _bounded(_joined(terms))


def _joined(terms: Alive) -> Alive:
    """With one term for two that differ in the outcome of one predicate alone: an inner condition
    that ends in a branch or in a loop leaves the outer one."""
    for term in terms:
        for name, value in term:
            other = term - {(name, value)} | {(name, not value)}
            if other in terms:
                return _joined(terms - {term, other} | {term - {(name, value)}})
    return terms


def without(condition: Alive, decided: Callable[[str], bool]) -> Alive:
    """`condition` for any outcome of the predicates that are `decided`."""
    return _bounded(frozenset(lit for lit in t if not decided(lit[0])) for t in condition)


def _both(one: Alive, other: Alive) -> Alive:
    if ALWAYS in (one, other) or one == other:
        return other if one == ALWAYS else one
    terms = (a | b for a in one for b in other)
    return _bounded(t for t in terms if not any((name, not value) in t for name, value in t))


def _bounded(terms: Iterable[Term]) -> Alive:
    """Without terms that others imply. Too many terms count as always: extraction checks that no
    control flow came along."""
    distinct = frozenset(terms)
    shortest = frozenset(t for t in distinct if not any(other < t for other in distinct))
    return shortest if len(shortest) <= MOST_TERMS else ALWAYS


def _tautology(terms: Alive) -> bool:
    if frozenset() in terms:
        return True
    if not terms:
        return False
    name = next(iter(next(iter(terms))))[0]
    return all(
        _tautology(frozenset(t - {(name, value)} for t in terms if (name, not value) not in t))
        for value in (True, False)
    )


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
        return Place(next(filter(None, frames), OUTSIDE), all_of(map(self._alive, edges)))

    def _alive(self, edge: str) -> Alive:
        alive = self._places[node_of(edge)].alive
        return alive if is_control(edge) else self._chosen.get(tensor_of(edge), alive)

    def _visit(self, node) -> None:
        nodes = self._graph.nodes
        edges = [edge for edge in node.input if nodes[node_of(edge)].op not in NEXT]
        place = self.of(edges)
        frame, alive = place.frame, place.alive
        if node.op in MERGE:
            alive = any_of(map(self._alive, edges))
        elif node.op in ENTER:
            frame = frame_of(node)
            self._around[frame] = place.frame
        elif node.op in EXIT:
            frame = self._around.get(place.frame, OUTSIDE)
            alive = without(
                alive, lambda predicate: self._places[node_of(predicate)].frame == place.frame
            )
        self._places[node.name] = Place(frame, alive)
        if node.op in SWITCH and len(node.input) > 1:
            predicate, outcome = _origin(self._graph, node.input[1])
            for port in (0, 1):
                chosen = literal(predicate, outcome == bool(port))
                self._chosen[f"{node.name}:{port}"] = all_of([alive, chosen])


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


def without_free_control_edges(graph: Graph):
    """The GraphDef in which a control edge only says where its reader runs.

    Such an edge then comes from where the loop's turn or the branch begins.
    """
    changed = type(graph.graph_def)()
    changed.CopyFrom(graph.graph_def)
    if any(is_control(edge) for node in changed.node for edge in node.input):
        places = Places(graph)
        for node in changed.node:
            if any(map(is_control, node.input)):
                _set(node, placed(graph, places, node, list(filter(is_control, node.input))))
    return changed


def without_nodes(graph: Graph, dropped: Collection[str]):
    """The GraphDef without the nodes `dropped`, whose values no other node reads.

    What ran in a loop or under a condition because of one of them still does.
    """
    changed = type(graph.graph_def)(versions=graph.graph_def.versions)
    changed.library.CopyFrom(graph.graph_def.library)
    places = Places(graph) if dropped else None
    for node in graph.graph_def.node:
        if node.name in dropped:
            continue
        kept = changed.node.add()
        kept.CopyFrom(node)
        kept.attr.pop("_class", None)  # may name a dropped node
        gone = [e for e in node.input if node_of(e) in dropped]
        if gone:
            _set(kept, placed(graph, places, node, gone, dropped))
    return changed


def _set(node, edges: list[str]) -> None:
    del node.input[:]
    node.input.extend(edges)


def placed(
    graph: Graph, places: Places, node, free: list[str], dropped: Collection[str] = ()
) -> list[str]:
    """The edges of `node` without the control edges `free`, but where it would run elsewhere."""
    edges = [e for e in node.input if e not in free]
    if node.op in MERGE:  # alive when one input is: control edges do not tell its place
        return [*edges, *(e for e in free if node_of(e) not in dropped)]
    place = places.of(edges)
    for edge in free:
        both = places.of([*edges, edge])
        if both != place and (begin := _beginning(graph, places, node_of(edge), dropped)):
            edges.append(f"^{begin}")
            place = both
    return edges


def _beginning(graph: Graph, places: Places, name: str, dropped: Collection[str]) -> str | None:
    """The node above `name` that begins the turn or branch in which it runs."""
    pending, seen, others = [name], {name}, []
    for above in pending:
        if above not in dropped and places[above] == places[name]:
            if _begins(graph, graph.nodes[above]):
                return above
            others.append(above)
        for other in map(node_of, graph.nodes[above].input):
            if other not in seen and places[other].frame == places[name].frame:
                seen.add(other)
                pending.append(other)
    return next(iter(others), None)


def _begins(graph: Graph, node) -> bool:
    """Whether it is the first of a branch or of a turn, or a loop's variable."""
    reads = [graph.nodes[node_of(edge)].op for edge in data_edges(node)]
    if node.op == "Identity":
        return reads[0] in SWITCH
    return node.op in MERGE and any(op in ENTER | NEXT for op in reads)
