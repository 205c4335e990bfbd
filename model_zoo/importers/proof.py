"""What a graph answers on real inputs, which a rewritten graph must answer too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model_zoo.importers.graphs import Graph, node_of, placeholder
from model_zoo.importers.running import run
from model_zoo.importers.wording import cause

PROVEN_ON = 3  # samples
RELATIVE, ABSOLUTE = 1e-4, 1e-5  # of each value, of the largest value of its tensor


class Proof:
    """What a graph answered, for what a rewritten graph must answer."""

    def __init__(self, graph: Graph, ends, samples):
        self._fetch = ends.outputs
        self._feeds = feeds(graph, ends, samples)[:PROVEN_ON]
        try:
            twice = list(run(graph, ends.outputs, [*self._feeds, self._feeds[0]]))
        except Exception as error:
            raise ValueError(
                f"the graph does not run on a sample of shape "
                f"{[v.shape for v in self._feeds[0].values()]}: {cause(error)}"
            ) from error
        self.expected = twice[:-1]
        self.repeatable = not _first_difference(self._fetch, twice[0], twice[-1])

    def difference(self, graph: Graph) -> str:
        """What differs in the answers of `graph`, empty when nothing does."""
        found = run(graph, self._fetch, self._feeds)
        pairs = zip(self.expected, found, strict=True)
        return next(filter(None, (_first_difference(self._fetch, *pair) for pair in pairs)), "")


def _first_difference(names: Sequence[str], expected: list, found: list) -> str:
    for name, a, b in zip(names, expected, found, strict=True):
        if not same(a, b):
            return f"{name} would change"
    return ""


def same(expected: np.ndarray, found: np.ndarray) -> bool:
    """Equal but for rounding; values that are not floats equal exactly."""
    expected, found = np.asarray(expected), np.asarray(found)
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return False
    if not np.issubdtype(expected.dtype, np.floating):
        return bool(np.array_equal(expected, found))
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(finite.max()) if finite.size else 0.0
    return np.allclose(expected, found, RELATIVE, ABSOLUTE * scale, equal_nan=True)


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
