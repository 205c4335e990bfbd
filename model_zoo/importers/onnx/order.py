"""The nodes of an ONNX graph, each behind those whose results it reads."""

from __future__ import annotations

import heapq

from int8gate.model_zoo.importers.onnx.names import read_by_node
from int8gate.runtimes import onnx_file


def sort_nodes(graph) -> bool:
    """Puts each node behind those whose results it reads, in place; False where one was before.

    ONNX Runtime's float16 tool writes its casts at the end. Raises ValueError naming a node of a
    circle.
    """
    was_sorted = True
    for inner in onnx_file.graphs_of(graph):
        ordered = _in_order(inner)
        if ordered != list(range(len(inner.node))):
            was_sorted = False
            nodes = [type(node).FromString(node.SerializeToString()) for node in inner.node]
            del inner.node[:]
            inner.node.extend(nodes[number] for number in ordered)
    return was_sorted


def _in_order(graph) -> list[int]:
    """Numbers of the nodes so that each stands behind its sources; else as they were."""
    producer = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    waiting, readers = [], [[] for _ in graph.node]
    for number, node in enumerate(graph.node):
        read = {*node.input, *read_by_node(node)}
        sources = {producer[name] for name in read if name in producer}
        waiting.append(len(sources))
        for source in sources:
            readers[source].append(number)
    ready = [number for number, count in enumerate(waiting) if not count]
    heapq.heapify(ready)
    ordered = []
    while ready:
        ordered.append(heapq.heappop(ready))
        for reader in readers[ordered[-1]]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(ordered) < len(waiting):
        first = graph.node[next(number for number, count in enumerate(waiting) if count)]
        raise ValueError(
            f"node {first.name or first.output[0]} ({first.op_type}) reads, by way of "
            "others, its own result: that is no graph that runs; export the model again"
        )
    return ordered
