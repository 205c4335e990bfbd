"""Runs graphs, and proves that a rewritten graph answers on real inputs what it answered before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from int8gate.model_zoo.importers.tf1.graphs import (
    Graph,
    NotRewritten,
    cause,
    data_edges,
    node_of,
    placeholder,
    reach,
    tensor_of,
)
from int8gate.model_zoo.importers.tf1.operators import INPUTS

PROVEN_ON = 3  # samples
RELATIVE, ABSOLUTE = 1e-4, 1e-5  # of each value, of the largest value of its tensor
ROUNDING, MOST_ROUNDING = 4, 5e-4  # an int8 step is 4e-3 of the largest value and more


def run(
    graph: Graph, fetch: Sequence[str], feeds: Iterable[Mapping], optimize: bool = False
) -> Iterator[list]:
    """The values of `fetch` for each of `feeds`, from the graph as it is written.

    `optimize`: after TensorFlow's own rewriting, which rounds elsewhere.
    """
    from int8gate.runtimes.tensorflow_graphs import session

    running = session(graph.imported, optimize)  # not as a context: that would change the caller's
    try:
        for feed in feeds:
            yield running.run(list(fetch), dict(feed))
    finally:
        running.close()


def constant_value(graph: Graph, tensor: str) -> np.ndarray:
    """The value of a tensor that depends on no input. Raises NotRewritten when it does."""
    needed = reach([node_of(tensor)], lambda name: map(node_of, data_edges(graph.nodes[name])))
    if inputs := sorted(name for name in needed if graph.nodes[name].op in INPUTS):
        raise NotRewritten(f"depends on {', '.join(inputs)}")
    part = type(graph.graph_def)(versions=graph.graph_def.versions)
    for name in needed:
        node = part.node.add()
        node.CopyFrom(graph.nodes[name])
        del node.input[:]
        node.input.extend(data_edges(graph.nodes[name]))
    return next(run(Graph(part), [tensor_of(tensor)], [{}]))[0]


class Proof:
    """What a graph answers to `feeds`, for what a rewritten graph must answer.

    Rewriting moves rounding, which a deep network amplifies: where an answer differs by more than
    the tolerances, it may differ by `ROUNDING` times what TensorFlow's own rewriting at run time
    makes of the graph's answer, and by no more than `MOST_ROUNDING` of the largest value.
    """

    def __init__(self, graph: Graph, fetch: Sequence[str], images: list[dict]):
        self._graph, self._fetch, self._images = graph, tuple(fetch), images[:PROVEN_ON]
        try:
            rows = list(run(graph, self._fetch, [*self._images, self._images[0]]))
        except Exception as error:
            raise ValueError(
                f"the graph does not run on a sample of shape "
                f"{[v.shape for v in self._images[0].values()]}: {cause(error)}"
            ) from error
        self.expected = [dict(zip(self._fetch, row, strict=True)) for row in rows[:-1]]
        again = zip(rows[0], rows[-1], strict=True)
        self.repeatable = all(same(one, other) for one, other in again)

    def difference(self, graph: Graph) -> str:
        """What differs in the answers of `graph`, empty when nothing does."""
        for place, row in enumerate(run(graph, self._fetch, self._images)):
            if changed := self.first_difference(place, dict(zip(self._fetch, row, strict=True))):
                return f"{changed} would change"
        return ""

    def first_difference(self, place: int, found: Mapping[str, np.ndarray]) -> str:
        """The first tensor of `found` that image `place` answers otherwise, empty when none."""
        expected = self.expected[place]
        for name, value in found.items():
            if not same(expected[name], value) and not self._rounds(name, expected[name], value):
                return name
        return ""

    def _rounds(self, name: str, expected: np.ndarray, found: np.ndarray) -> bool:
        return same(expected, found, ROUNDING * self._rounding[name])

    @cached_property
    def _rounding(self) -> dict[str, float]:
        """By tensor, how far TensorFlow's own rewriting moves it, of its largest value."""
        farthest = dict.fromkeys(self._fetch, 0.0)
        rows = run(self._graph, self._fetch, self._images, optimize=True)
        for expected, row in zip(self.expected, rows, strict=True):
            for name, value in zip(self._fetch, row, strict=True):
                farthest[name] = max(farthest[name], _distance(expected[name], value))
        return farthest


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, of the largest value; 0 for what has none."""
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape or one.dtype.kind != "f" or not (scale := _largest(one)):
        return 0.0
    difference = np.abs(one - other)
    return float(difference[np.isfinite(difference)].max(initial=0)) / scale


def _largest(values: np.ndarray) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def same(expected: np.ndarray, found: np.ndarray, rounding: float = 0.0) -> bool:
    """Equal but for rounding; values that are not floats equal exactly.

    `rounding`, of the largest value, may exceed the tolerance up to `MOST_ROUNDING`.
    """
    expected, found = np.asarray(expected), np.asarray(found)
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return False
    if not np.issubdtype(expected.dtype, np.floating):
        return bool(np.array_equal(expected, found))
    absolute = max(ABSOLUTE, min(rounding, MOST_ROUNDING)) * _largest(expected)
    return np.allclose(found, expected, RELATIVE, absolute, equal_nan=True)


def with_static_inputs(graph: Graph, ends, samples):
    """The GraphDef with the shape of one sample at each input, without shapes noted elsewhere."""
    changed = type(graph.graph_def)()
    changed.CopyFrom(graph.graph_def)
    shapes = {node_of(name): value.shape for name, value in feeds(graph, ends, samples)[0].items()}
    for node in changed.node:
        node.device = ""
        for noted in ("_class", "_output_shapes"):
            node.attr.pop(noted, None)
        if node.name in shapes:
            node.CopyFrom(placeholder(node.name, graph.dtype(node.name), shapes[node.name]))
    return changed


def feeds(graph: Graph, ends, samples) -> list[dict[str, np.ndarray]]:
    """By input, each sample with batch 1 (or without a batch where the graph has none).

    `samples`: (n, ...), or such an array for each of several inputs. Raises ValueError when its
    shape or dtype is not what the graph takes.
    """
    columns = list(samples) if isinstance(samples, (list, tuple)) else [np.asarray(samples)]
    if len(columns) != len(ends.inputs):
        raise ValueError(
            f"samples for {len(columns)} inputs, expected one array for each of "
            f"{', '.join(ends.inputs)}: give a list of arrays"
        )
    if not len(columns[0]):
        raise ValueError("no samples, expected real inputs of the graph: give one at least")
    rows = zip(
        *(_fitted(graph, t, v) for t, v in zip(ends.inputs, columns, strict=True)), strict=True
    )
    return [dict(zip(ends.inputs, row, strict=True)) for row in rows]


def _fitted(graph: Graph, tensor: str, samples: np.ndarray) -> list[np.ndarray]:
    declared = graph.imported.get_tensor_by_name(tensor)
    dtype = declared.dtype.as_numpy_dtype
    batched = [sample[None] for sample in samples]
    fitting = samples if declared.shape.rank == samples.ndim - 1 else batched
    if not np.can_cast(samples.dtype, dtype, "same_kind"):
        raise ValueError(
            f"samples of {tensor} are {samples.dtype}, the graph takes {dtype.__name__}"
        )
    if not declared.shape.is_compatible_with(fitting[0].shape):
        raise ValueError(
            f"a sample of {tensor} has shape {fitting[0].shape}, the graph takes {declared.shape}: "
            "give samples of that size, or export the graph with a batch of 1"
        )
    return [sample.astype(dtype) for sample in fitting]
