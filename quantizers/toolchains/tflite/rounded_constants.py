"""Constants of a quantized `.tflite` rounded again, from their float values, by other scales."""

from __future__ import annotations

import numpy as np

from int8gate.quantizers.toolchains.tflite.graph_edit import GraphEdit, drop_unused_tensors
from int8gate.quantizers.toolchains.tflite.weighted_network import PRODUCTS, TfliteNetwork
from int8gate.runtimes.tflite_graph import opened, written

MOST = 127  # steps of a weight, either way (TFLite's quantization specification)
BIASES = {"int32": 2**31 - 1, "int64": 2**62 - 1}  # the largest that is stored
# The axis of outputs in a layer's weights; others have kernels for one scale alone.
AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}


class RoundedConstants:
    """One quantized file in object form, changed in place; `network` is its float file.

    Biases, int32 or beside int16 data int64, have the steps of the data times those of the weights:
    `round_biases` rounds those again whose data or weights have other scales than before.
    """

    def __init__(self, quantized: bytes, network: TfliteNetwork) -> None:
        self._whole, self._network = opened(quantized), network
        self._graph = self._whole.subgraphs[0]
        self._edit = GraphEdit(self._whole, self._graph)
        self._touched: set[int] = set()  # tensors whose scales are others now

    def content(self) -> bytes:
        drop_unused_tensors(self._whole)  # and the buffers of what was rounded before
        return written(self._whole)

    def round_biases(self) -> None:
        """Rounds the biases of layers whose data or weights have other scales now."""
        for operator in self._graph.operators:
            kind = self._edit.opcode(operator)
            data, weights, bias = PRODUCTS.get(kind, (0, None, None))
            if bias is None or len(operator.inputs) <= bias or operator.inputs[bias] < 0:
                continue
            read, of, index = (int(operator.inputs[each]) for each in (data, weights, bias))
            if {read, of} & self._touched and self._edit.dtype(index) in BIASES:
                self._round_bias(read, of, index)

    def _round_bias(self, read: int, weights: int, index: int) -> None:
        tensors = self._graph.tensors
        scales = np.asarray(tensors[weights].quantization.scale, np.float64)
        steps = (scales * float(tensors[read].quantization.scale[0])).astype(np.float32)
        most = BIASES[self._edit.dtype(index)]
        stored = np.clip(np.round(self._real(index) / steps.astype(np.float64)), -most - 1, most)
        self._store(index, stored.astype(self._edit.dtype(index)), steps, 0)

    def _real(self, index: int) -> np.ndarray:
        """A constant's values, float64: the float file's, or those that its integers stand for."""
        tensor = self._graph.tensors[index]
        real = self._network.constant(name_of(tensor))
        if real is not None and real.dtype == np.float32 and real.shape == tuple(tensor.shape):
            return real.astype(np.float64)
        stored, how = self._edit.values(index), tensor.quantization
        assert stored is not None  # callers ask for constants alone
        axis = int(how.quantizedDimension or 0)
        steps = along(np.asarray(how.scale, np.float64), stored.ndim, axis)
        points = along(np.asarray(how.zeroPoint, np.float64), stored.ndim, axis)
        return (stored.astype(np.float64) - points) * steps

    def _weights_of(self, operator) -> str | None:
        """The name of a layer's weights, None of what is no layer."""
        place = PRODUCTS.get(self._edit.opcode(operator), (0, None, None))[1]
        return None if place is None else name_of(self._graph.tensors[int(operator.inputs[place])])

    def _store(self, index: int, values: np.ndarray, scales: np.ndarray, axis: int) -> None:
        """Gives a constant integers of such scales, with zero points of 0."""
        tensor = self._graph.tensors[index]
        tensor.buffer = self._edit.add_buffer(np.ascontiguousarray(values).tobytes())
        how = tensor.quantization
        how.scale, how.zeroPoint = scales, np.zeros(len(scales), np.int64)
        how.quantizedDimension = axis if len(scales) > 1 else 0
        how.min = how.max = None
        self._touched.add(index)


def inputs_of(operator) -> list:
    """The numbers of the tensors that an operator reads, of a file in object form; -1: left out."""
    return [] if operator.inputs is None else list(map(int, operator.inputs))


def name_of(tensor) -> str:
    """A tensor's name, of a file in object form."""
    return bytes(tensor.name or b"").decode(errors="replace")


def along(scales: np.ndarray, rank: int, axis: int | None) -> np.ndarray:
    """float64 scales that broadcast along an axis."""
    shape = [1] * rank
    if axis is not None and len(scales) > 1:
        shape[axis] = -1
    return scales.astype(np.float64).reshape(shape)
