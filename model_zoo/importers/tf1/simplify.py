"""Simplifies a frozen graph for inference on one image, and proves that its answers stay.

The steps are proven together; only where that fails, each by itself. A step that changes an output
by more than rounding is taken back, and said to be.

One step takes out the dropout of a training graph: x / keep * mask, where the mask is drawn at
random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from int8gate.model_zoo.importers.tf1 import functions, leftovers, unroll
from int8gate.model_zoo.importers.tf1.control_flow import loop_name, without_free_control_edges
from int8gate.model_zoo.importers.tf1.graphs import (
    Graph,
    NotRewritten,
    data_edges,
    extract,
    listed,
    node_of,
    refusal,
    tensor_of,
)
from int8gate.model_zoo.importers.tf1.leftovers import fold, without_identities
from int8gate.model_zoo.importers.tf1.proof import Proof, feeds, with_static_inputs

RANDOM = ("Random", "StatelessRandom", "Multinomial", "TruncatedNormal")
SELECT = {"Select", "SelectV2"}

TAKEN_BACK, NOT_POSSIBLE = "was taken back", "was not possible"


def masks(graph: Graph) -> dict[str, str]:
    """By product with a random mask, the tensor that is masked."""
    found = {}
    drawn = graph.below(n for n, node in graph.nodes.items() if node.op.startswith(RANDOM))
    drawn -= graph.variable
    for name, node in graph.nodes.items():
        edges = data_edges(node)
        if node.op == "Mul":
            masked = [e for e in edges if node_of(e) in graph.variable]
            if len(masked) == 1 and any(node_of(e) in drawn for e in edges):
                found[name] = masked[0]
        elif node.op in SELECT and node_of(edges[0]) in drawn and node_of(edges[1]) not in drawn:
            found[name] = edges[1]
    return found


def without(graph: Graph):
    """The GraphDef in which what reads a masked tensor reads what was there before dropout."""
    instead = {f"{name}:0": _unscaled(graph, edge) for name, edge in masks(graph).items()}
    changed = type(graph.graph_def)()
    changed.CopyFrom(graph.graph_def)
    for node in changed.node:
        if f"{node.name}:0" in instead:  # may be an output: the name stays
            edge, dtype = instead[f"{node.name}:0"], node.attr["T"]
            node.CopyFrom(
                type(node)(name=node.name, op="Identity", input=[edge], attr={"T": dtype})
            )
    return changed


def _unscaled(graph: Graph, edge: str) -> str:
    """What was there before 1 / keep."""
    node = graph.nodes[node_of(edge)]
    if node.op not in {"RealDiv", "Mul", "Div"} or node.name not in graph.variable:
        return edge
    variable = [e for e in data_edges(node) if node_of(e) in graph.variable]
    fixed = [e for e in data_edges(node) if node_of(e) not in graph.variable]
    if len(variable) != 1 or graph.imported.get_tensor_by_name(tensor_of(fixed[0])).shape.rank:
        return edge
    return variable[0]


def simplify(graph_def, ends, samples, keep: Iterable[str] = ()) -> tuple[Graph, list[str]]:
    """The simplified graph, with the names of its ends and of the tensors `keep`, and sentences.

    Raises ValueError when the graph does not run on a sample, answers it at random, or normalizes
    by the statistics of its batch.
    """
    graph = Graph(with_static_inputs(Graph(graph_def), ends, samples))
    kept = (*ends.inputs, *ends.outputs, *(tensor for tensor in keep if graph.has(tensor)))
    images = feeds(graph, ends, samples)
    graph, sentences = _without_dropout(graph, kept, ends, images)
    proof = Proof(graph, ends.outputs, images)
    if not proof.repeatable:
        random = [n.name for n in graph.graph_def.node if n.op.startswith("Random")]
        raise ValueError(
            f"the graph answers one image differently each time ({', '.join(random[:3])}): freeze "
            "it for inference, without dropout"
        )
    steps = _rewritten(Steps(graph, kept))
    if steps.graph is not graph and _difference(proof, steps.graph):
        steps = _rewritten(Steps(graph, kept, proof))
    leftovers.check(steps.graph)
    return steps.graph, [*sentences, *steps.sentences]


def _rewritten(steps: Steps) -> Steps:
    kept = steps.kept
    steps.take("Removing control edges and assertions", without_free_control_edges)
    steps.take("Folding constants and constant conditions", lambda g: fold(g, kept))
    for _ in range(functions.MOST_ROUNDS):
        if not (called := functions.decided(steps.graph)):
            break
        steps.take(
            f"Writing into the graph what {listed(called)} does in any case",
            lambda g: fold(Graph(functions.inlined(g)), kept),
        )
        if functions.decided(steps.graph) == called:  # it was taken back
            break
    tried: set[str] = set()
    while frame := unroll.next_frame(steps.graph, tried):
        tried.add(frame)
        steps.take(
            f"Unrolling the loop {loop_name(frame)}",
            lambda g, frame=frame: fold(Graph(unroll.unrolled(g, frame)), kept),
        )
    steps.take("Removing identities", lambda g: without_identities(g, kept))
    return steps


def _without_dropout(graph: Graph, kept: Sequence[str], ends, images) -> tuple[Graph, list[str]]:
    if not masks(graph):
        return graph, []
    proof = Proof(graph, ends.outputs, images)  # of random masks there is none: the answers differ
    steps = Steps(graph, kept, proof if proof.repeatable else None)
    steps.take("Removing dropout, which does nothing at inference", without)
    return steps.graph, steps.sentences


class Steps:
    """A graph that is rewritten step by step, each proven where there is a `proof`."""

    def __init__(self, graph: Graph, kept: Sequence[str], proof: Proof | None = None):
        self.graph, self.kept, self.proof = graph, kept, proof
        self.sentences: list[str] = []

    def take(self, what: str, change: Callable[[Graph], object]) -> None:
        try:
            changed = Graph(extract(change(self.graph), self.kept))
        except NotRewritten as reason:
            self.sentences.append(f"{what} {NOT_POSSIBLE}: {reason}.")
            return
        except Exception as error:  # whatever TensorFlow finds in the graph it was handed
            self.sentences.append(f"{what} {TAKEN_BACK}: {refusal(error)}.")
            return
        if self.proof and (difference := _difference(self.proof, changed)):
            self.sentences.append(f"{what} {TAKEN_BACK}: {difference}.")
            return
        before, after = (_size(graph) for graph in (self.graph, changed))
        if before != after:
            self.sentences.append(f"{what}: {before[0]} nodes became {after[0]}.")
        self.graph = changed


def _difference(proof: Proof, graph: Graph) -> str:
    try:
        return proof.difference(graph)
    except Exception as error:  # what is wrong with a rewritten graph shows when it runs
        return refusal(error)


def _size(graph: Graph) -> tuple[int, int]:
    return len(graph.nodes), sum(len(node.input) for node in graph.graph_def.node)
