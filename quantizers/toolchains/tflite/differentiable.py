"""A `.tflite` file, float or quantized, as a differentiable `Graph`; trained weights put back.

A quantized file's constants are taken from the float file that it was made of, where they have the
same name and shape there; others keep the values that the quantized file has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from int8gate.quantizers.toolchains.tflite.graph_edit import GraphEdit, enum_names
from int8gate.quantizers.toolchains.tflite.layer_list import ONE_SCALE_KERNELS
from int8gate.quantizers.toolchains.tflite.ranges import computed
from int8gate.quantizers.toolchains.tflite.weighted_network import PRODUCTS
from int8gate.quantizers.training.differentiable_graph import (
    AWAY,
    BIAS,
    EVEN,
    MOST,
    UP,
    WEIGHTS,
    Call,
    Constant,
    Graph,
    Grid,
    NotDifferentiable,
)
from int8gate.runtimes.artifact import TensorSpec
from int8gate.runtimes.litert import LiteRTSession
from int8gate.runtimes.tflite_graph import opened, written

INTEGERS = {"int8": (-128, 127), "uint8": (0, 255)}
RELU = 1  # ActivationFunctionType
ROUNDED_TWICE = ("CONV_2D",)  # of int4 weights: by LiteRT's own kernels, not by XNNPACK's
LEAST_RANGE = 5e-7  # half of it: TensorFlow's quantizer widens a range of less than 1e-6
# What they write has the scale of what they read.
KEEP_SCALE = ONE_SCALE_KERNELS | {"RELU", "RELU6", "MEAN"}


def read(path: Path, float_model: Path) -> Graph:
    """The graph of a file that was made of `float_model`, which it may be itself.

    Raises NotDifferentiable naming the operator that there is no PyTorch form of.
    """
    session = LiteRTSession(path)
    return _Reading(path.read_bytes(), float_model.read_bytes()).graph(session)


def write(float_model: Path, weights: Mapping[str, np.ndarray], target: Path) -> None:
    """Writes the float file with other values for constants, by their source."""
    whole = opened(float_model.read_bytes())
    for source, values in weights.items():
        data = np.ascontiguousarray(values, np.float32).tobytes()
        whole.buffers[int(source)].data = np.frombuffer(data, np.uint8)
    target.write_bytes(written(whole))


class _Reading:
    def __init__(self, content: bytes, float_content: bytes) -> None:
        self._whole, own = opened(content), opened(float_content)
        self._tensors = self._whole.subgraphs[0].tensors
        self._edit = GraphEdit(self._whole, self._whole.subgraphs[0])
        self._names = {index: name for name, index in computed(content).items()}
        taken = set(self._names.values())
        for index, tensor in enumerate(self._tensors):
            name = bytes(tensor.name or b"").decode(errors="replace")
            if index not in self._names:
                self._names[index] = name if name and name not in taken else f"{name}#{index}"
                taken.add(self._names[index])
        edit = GraphEdit(own, own.subgraphs[0])
        self._float: dict[tuple, list[tuple[int, np.ndarray]]] = {}
        for index, tensor in enumerate(own.subgraphs[0].tensors):
            values = edit.constant(index)
            if values is not None:
                key = (tensor.name, tuple(values.shape))
                self._float.setdefault(key, []).append((tensor.buffer, values))

    def graph(self, session: LiteRTSession) -> Graph:
        graph = self._whole.subgraphs[0]
        found = Graph(
            self._in_order(graph.inputs, session.inputs),
            self._in_order(graph.outputs, session.outputs),
            tuple(spec.shape for spec in session.inputs),
        )
        for index in graph.inputs:
            self._add_grid(found, int(index), is_input=True)
        for raw in graph.operators:
            self._add_call(found, raw)
        self._settle_roles(found)
        return found

    def _in_order(self, indices, specs: Sequence[TensorSpec]) -> tuple[str, ...]:
        """Ends of the graph in a session's order, which has them by their names."""
        by_name = {bytes(self._tensors[int(i)].name or b"").decode(): int(i) for i in indices}
        if len(by_name) < len(indices):
            raise NotDifferentiable("inputs or outputs have one name: give each a name of its own")
        return tuple(self._names[by_name[spec.name]] for spec in specs)

    def _add_call(self, found: Graph, raw) -> None:
        from int8gate.quantizers.toolchains.tflite.torch_operators import Asked, operator

        kind = self._edit.opcode(raw)
        inputs = [] if raw.inputs is None else [int(index) for index in raw.inputs]
        outputs = [int(index) for index in raw.outputs]
        data, weights, bias = PRODUCTS.get(kind, (0, None, None))
        for place, index in enumerate(inputs):
            if index >= 0 and self._edit.values(index) is not None:
                role = {weights: WEIGHTS, bias: BIAS}.get(place, "")
                self._add_constant(found, index, role if weights is not None else "")
        if bias is not None and len(inputs) > bias and inputs[bias] >= 0:
            self._scale_bias(found, *(inputs[place] for place in (bias, data, weights)))
        shapes, results = (
            [() if index < 0 else self._shape(index) for index in ends]
            for ends in (inputs, outputs)
        )
        values = [None if index < 0 else self._edit.values(index) for index in inputs]
        try:
            run = operator(Asked(kind, raw.builtinOptions, shapes, results, values))
        except NotDifferentiable as error:
            name = self._names[outputs[0]]
            raise NotDifferentiable(f"{kind} ({name}) cannot be trained: {error}") from error
        read = tuple("" if index < 0 else self._names[index] for index in inputs)
        written_to = tuple(self._names[index] for index in outputs)
        bounded = getattr(raw.builtinOptions, "fusedActivationFunction", 0) not in (0, RELU)
        told = f"{kind} and activation" if bounded else kind  # its bounds may lie between steps
        found.calls.append(Call(told, run, read, written_to))
        for index in outputs:
            self._add_grid(found, index)
        if kind in ROUNDED_TWICE and self._dtype(inputs[weights]) == "int4":
            grid = found.grids.get(written_to[0])
            if grid is not None and found.constants[read[weights]].high:
                twice = replace(grid, rounded_before=(read[data], read[weights]), halves=AWAY)
                found.grids[written_to[0]] = twice
        if kind in KEEP_SCALE:
            found.tied.append({*read, *written_to})

    def _shape(self, index: int) -> tuple[int, ...]:
        shape = self._tensors[index].shape
        return () if shape is None else tuple(int(side) for side in shape)

    def _dtype(self, index: int) -> str:
        return enum_names("TensorType")[self._tensors[index].type].lower()

    def _add_grid(self, found: Graph, index: int, is_input: bool = False) -> None:
        how, dtype = self._tensors[index].quantization, self._dtype(index)
        if dtype not in INTEGERS or how is None or how.scale is None or len(how.scale) != 1:
            return
        low, high = INTEGERS[dtype]
        scale, zero_point = float(how.scale[0]), int(how.zeroPoint[0])
        name = self._names[index]
        halves = UP if is_input else EVEN
        found.grids[name] = Grid(scale, zero_point, low, high, name, halves)

    def _add_constant(self, found: Graph, index: int, role: str) -> None:
        tensor, name = self._tensors[index], self._names[index]
        known = found.constants.get(name)
        if known is not None:
            if known.role != role:  # of two roles: it is not trained
                found.constants[name] = Constant(self._real(index))
            return
        same = self._float.get((tensor.name, self._shape(index)), [])
        if not role or len(same) != 1:
            found.constants[name] = Constant(self._real(index))
            return
        ((buffer, values),) = same
        axis, high, scales, least = None, 0, None, 0.0
        if role == WEIGHTS and self._dtype(index) in MOST:
            if np.any(tensor.quantization.zeroPoint):
                found.constants[name] = Constant(self._real(index))
                return
            high, least = MOST[self._dtype(index)], LEAST_RANGE
            scales = np.asarray(tensor.quantization.scale, np.float32)
            if len(tensor.quantization.scale) > 1:
                axis = int(tensor.quantization.quantizedDimension)
        found.constants[name] = Constant(values, str(buffer), role, axis, high, least, scales)

    def _scale_bias(self, found: Graph, *places: int) -> None:
        """Of a bias in int32: its steps follow from those of the layer's data and weights."""
        bias, read, weights = (self._names[index] for index in places)
        constant, of_layer = found.constants.get(bias), found.constants.get(weights)
        if not constant or not of_layer or not constant.source or not of_layer.high:
            return
        if read in found.grids and self._dtype(places[0]) == "int32":
            found.constants[bias] = replace(constant, scaled_by=(read, weights))

    def _real(self, index: int) -> np.ndarray:
        """A constant's real values; whole numbers that stand for nothing else, as they are."""
        values, how = self._edit.values(index), self._tensors[index].quantization
        if values is None:
            raise NotDifferentiable(f"constant {index} has a type that numpy does not have")
        if values.dtype == np.float32 or how is None or how.scale is None or not len(how.scale):
            return values
        shape = [1] * values.ndim
        if len(how.scale) > 1:
            shape[int(how.quantizedDimension)] = -1
        scale = np.asarray(how.scale, np.float32).reshape(shape)
        zero = np.asarray(how.zeroPoint, np.float32).reshape(shape)
        return ((values.astype(np.float32) - zero) * scale).reshape(values.shape)

    def _settle_roles(self, found: Graph) -> None:
        """A buffer of the float file that constants of several forms share is not trained."""
        indices = {name: index for index, name in self._names.items()}
        forms: dict[str, set] = {}
        for constant in found.constants.values():
            if constant.source:
                forms.setdefault(constant.source, set()).add((constant.role, constant.values.shape))
        for name, constant in found.constants.items():
            if constant.source and len(forms[constant.source]) > 1:
                found.constants[name] = Constant(self._real(indices[name]))
