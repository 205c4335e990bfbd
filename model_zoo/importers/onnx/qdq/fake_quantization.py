"""What a file in QDQ form computes, written with float operators into its float network."""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.importers.onnx.qdq.qdq_scales import LIMITS, QdqScales
from int8gate.model_zoo.importers.onnx.structure import Names, read_instead, sort_nodes


def with_fake_quantization(model, scales: QdqScales) -> None:
    """Puts what the pairs computed into their float network, in place, in float operators.

    Each activation goes through Div, Round, Clip and Mul: what QuantizeLinear and DequantizeLinear
    give (rounding to even), which no runtime fuses to integer kernels of its own.
    """
    from onnx import helper, numpy_helper

    graph, names = model.graph, Names(model.graph)
    made = {name: node for node in graph.node for name in node.output}
    outputs = {info.name for info in graph.output}
    added, before = [], {}
    for tensor, of in scales.activations.items():
        low, high = (bound - of.zero_point for bound in of.bounds or LIMITS[of.dtype])
        constants = []
        for part, value in (("scale", of.scale), ("low", low), ("high", high)):
            constants.append(names.new(f"{tensor}_{part}"))
            stored = numpy_helper.from_array(np.float32(value), constants[-1])
            graph.initializer.append(stored)
        scale, *bounds = constants
        source, result = tensor, names.new(f"{tensor}_rounded")
        if tensor in outputs and tensor in made:
            source, result = names.new(f"{tensor}_before"), tensor
            before[tensor] = source
        steps = [names.new(f"{tensor}_{part}") for part in ("steps", "whole", "within")]
        chain = [
            ("Div", [source, scale], steps[0]),
            ("Round", steps[:1], steps[1]),
            ("Clip", [steps[1], *bounds], steps[2]),
            ("Mul", [steps[2], scale], result),
        ]
        for kind, given, end in chain:
            added.append(helper.make_node(kind, given, [end], names.new(f"{tensor}_{kind}")))
        if result != tensor:
            read_instead(graph, tensor, result)
    for tensor, source in before.items():
        ends = made[tensor].output
        ends[list(ends).index(tensor)] = source
    graph.node.extend(added)
    sort_nodes(graph)
