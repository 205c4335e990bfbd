"""A float `.tflite` with the weights that a quantized file has, as real values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from int8gate.quantizers.toolchains.tflite.weighted_network import PRODUCTS, TfliteNetwork
from int8gate.runtimes.tflite_graph import opened, written


def rounded(float_model: Path, quantized: Path) -> TfliteNetwork:
    """The float network with its layers' weights as the quantized file rounds them.

    A layer that stays float there, or is not found by the names of its weights, keeps its own.
    """
    from int8gate.quantizers.toolchains.tflite.graph_edit import GraphEdit

    found = opened(quantized.read_bytes())
    integers = {}
    for tensor in found.subgraphs[0].tensors:
        data, how = found.buffers[tensor.buffer].data, tensor.quantization
        if data is not None and len(data) and how is not None and how.scale is not None:
            integers.setdefault((tensor.name, tuple(tensor.shape)), []).append(tensor)
    whole = opened(float_model.read_bytes())
    graph = whole.subgraphs[0]
    edit = GraphEdit(whole, graph)
    for operator in graph.operators:
        if (places := PRODUCTS.get(edit.opcode(operator))) is None:
            continue
        tensor = graph.tensors[int(operator.inputs[places[1]])]
        same = integers.get((tensor.name, tuple(tensor.shape)), [])
        if edit.values(int(operator.inputs[places[1]])) is None or len(same) != 1:
            continue
        values = _real(found, same[0])
        if values is not None:
            whole.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
    return TfliteNetwork(written(whole))


def _real(whole, tensor) -> np.ndarray | None:
    """An int8 tensor's values, float32; None of another dtype."""
    from ai_edge_litert import schema_py_generated as schema

    if tensor.type != schema.TensorType.INT8:
        return None
    values = np.asarray(whole.buffers[tensor.buffer].data, np.uint8).view(np.int8)
    values = values.reshape(tensor.shape).astype(np.float32)
    scale = np.asarray(tensor.quantization.scale, np.float32)
    zero_point = np.asarray(tensor.quantization.zeroPoint, np.float32)  # of a BATCH_MATMUL no 0
    if len(scale) > 1:
        shape = [1] * values.ndim
        shape[tensor.quantization.quantizedDimension] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    return (values - zero_point) * scale
