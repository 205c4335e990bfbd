"""Simplifies a frozen graph for inference on one image, and proves each step on real inputs.

A step that changes an output by more than rounding is taken back, and said to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from model_zoo.importers import control_flow, dropout, unroll
from model_zoo.importers.folding import fold, without_identities
from model_zoo.importers.graphs import Graph, extract
from model_zoo.importers.proof import Proof, with_static_inputs
from model_zoo.importers.running import first_words

TAKEN_BACK = "was taken back"


def simplify(graph_def, ends, samples, keep: Iterable[str] = ()) -> tuple[Graph, list[str]]:
    """The simplified graph, with the names of its ends and of the tensors `keep`, and sentences.

    Raises ValueError when the graph does not run on a sample, or answers it at random.
    """
    graph = Graph(with_static_inputs(Graph(graph_def), ends, samples))
    named = tuple(tensor for tensor in keep if graph.has(tensor))
    steps = Steps(graph, (*ends.inputs, *ends.outputs, *named), Proof(graph, ends, samples))
    if dropout.masks(steps.graph):
        steps.proof.stands = steps.proof.repeatable
        steps.take("Removing dropout, which does nothing at inference", dropout.without)
    steps.proof = Proof(steps.graph, ends, samples)
    if not steps.proof.repeatable:
        random = [n.name for n in graph.graph_def.node if n.op.startswith("Random")]
        raise ValueError(
            f"the graph answers one image differently each time ({', '.join(random[:3])}): freeze "
            "it for inference, without dropout"
        )
    steps.take("Removing control edges and assertions", control_flow.without_free_control_edges)
    steps.take("Folding constants and constant conditions", lambda g: fold(g, steps.kept))
    tried: set[str] = set()
    while frame := unroll.next_frame(steps.graph, tried):
        tried.add(frame)
        steps.take(
            f"Unrolling the loop {frame}",
            lambda g, frame=frame: fold(Graph(unroll.unrolled(g, frame)), steps.kept),
        )
    steps.take("Removing identities", lambda g: without_identities(g, steps.kept))
    return steps.graph, steps.sentences


class Steps:
    """A graph that is rewritten step by step, each proven."""

    def __init__(self, graph: Graph, kept: Sequence[str], proof: Proof):
        self.graph, self.kept, self.proof = graph, kept, proof
        self.sentences: list[str] = []

    def take(self, what: str, change: Callable[[Graph], object]) -> None:
        try:
            changed = Graph(extract(change(self.graph), self.kept))
            difference = self.proof.difference(changed)
        except Exception as error:  # whatever TensorFlow finds in the graph it was handed
            difference = first_words(error)
        if difference:
            self.sentences.append(f"{what} {TAKEN_BACK}: {difference}.")
            return
        before, after = len(self.graph.nodes), len(changed.nodes)
        edges = [sum(len(n.input) for n in g.graph_def.node) for g in (self.graph, changed)]
        if before != after or edges[0] != edges[1]:
            self.sentences.append(f"{what}: {before} nodes became {after}.")
        self.graph = changed
