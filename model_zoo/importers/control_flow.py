"""Which nodes of a graph run in a loop or under a condition.

A loop is what lies between its `Enter` and its `Exit`. A node is conditional when it is alive under
some outcomes of the predicates of `Switch` only. That is kept as a disjunction of conjunctions of
(predicate, outcome), so a `Merge` of two, three or four inputs, nested or not, ends a condition
exactly when one of its inputs is alive whatever the outcomes are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from model_zoo.importers.graphs import Graph, data_edges, is_control, node_of, tensor_of

ENTER, EXIT = {"Enter", "RefEnter"}, {"Exit", "RefExit"}
SWITCH, MERGE = {"Switch", "RefSwitch", "_SwitchN"}, {"Merge", "RefMerge"}
NEXT = {"NextIteration", "RefNextIteration"}
FUNCTIONAL = {"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase", "For"}
OPERATORS = ENTER | EXIT | SWITCH | MERGE | NEXT | FUNCTIONAL | {"LoopCond"}
MOST_TERMS = 64

Literal = tuple[str, bool]
Term = frozenset[Literal]
Alive = frozenset[Term]  # a disjunction of terms
ALWAYS: Alive = frozenset({frozenset()})


@dataclass(frozen=True)
class Regions:
    """Node names. `control` are all that run in a loop or under a condition, or delimit one."""

    loops: frozenset[str]
    conditional: frozenset[str]

    @property
    def control(self) -> frozenset[str]:
        return self.loops | self.conditional


def regions(graph: Graph) -> Regions:
    """The control flow of `graph`."""
    loops = loop_nodes(graph)
    alive: dict[str, Alive] = {}
    conditional = set()
    for name in graph.order:
        node = graph.nodes[name]
        edges = [e for e in node.input if graph.nodes[node_of(e)].op not in NEXT]
        inputs = [alive[node_of(e) if is_control(e) else tensor_of(e)] for e in edges]
        own = _either(inputs) if node.op in MERGE and name not in loops else _all(inputs)
        alive[name] = own
        for port in _ports(graph, name):
            alive[f"{name}:{port}"] = own
        if node.op in SWITCH and name not in loops and len(node.input) > 1:
            predicate, outcome = _origin(graph, node.input[1])
            for port in (0, 1):
                literal = (predicate, outcome == bool(port))
                alive[f"{name}:{port}"] = _all([own, frozenset({frozenset({literal})})])
        if own != ALWAYS or node.op in OPERATORS:
            conditional.add(name)
    return Regions(frozenset(loops), frozenset(conditional - loops))


def loop_nodes(graph: Graph) -> set[str]:
    enters = [name for name, node in graph.nodes.items() if node.op in ENTER]
    return graph.below(enters, stop=lambda name: graph.nodes[name].op in EXIT)


def _ports(graph: Graph, name: str) -> range:
    return range(len(graph.imported.get_operation_by_name(name).outputs))


def _origin(graph: Graph, edge: str) -> Literal:
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


def _all(conditions: list[Alive]) -> Alive:
    return reduce(_both, dict.fromkeys(conditions), ALWAYS)


def _both(one: Alive, other: Alive) -> Alive:
    terms = (a | b for a in one for b in other)
    return _bounded(t for t in terms if not any((name, not value) in t for name, value in t))


def _either(conditions: list[Alive]) -> Alive:
    terms = frozenset().union(*conditions)
    return ALWAYS if _tautology(terms) else _bounded(terms)


def _bounded(terms) -> Alive:
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


def without_free_control_edges(graph: Graph):
    """The GraphDef without the control edges that only order nodes.

    An edge from a node in a loop or under a condition says where its reader runs, and is kept.
    """
    control = regions(graph).control
    changed = type(graph.graph_def)()
    changed.CopyFrom(graph.graph_def)
    for node in changed.node:
        kept = [e for e in node.input if not is_control(e) or _places(graph, e, control)]
        del node.input[:]
        node.input.extend(kept)
    return changed


def _places(graph: Graph, edge: str, control: frozenset[str]) -> bool:
    node = graph.nodes[node_of(edge)]
    ends = node.op in MERGE | EXIT | FUNCTIONAL and not any(
        graph.nodes[node_of(e)].op in ENTER | NEXT for e in data_edges(node)
    )
    return node.name in control and not ends


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
    return [name for name in graph.order if _calls(graph.nodes[name]) & used]


def _calls(node) -> set[str]:
    values = node.attr.values()
    return {node.op} | {f.name for v in values for f in (v.func, *v.list.func) if f.name}
