"""A float `.tflite` as a `Network`: its layers' weights read and set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from int8gate.quantizers.calibration.sample_file import SampleFile
from int8gate.quantizers.remedies import float_network as kinds
from int8gate.quantizers.remedies.float_network import Network, Operator, WeightedLayer, checked
from int8gate.quantizers.toolchains.tflite.collector import fed
from int8gate.quantizers.toolchains.tflite.graph_edit import GraphEdit, enum_names
from int8gate.quantizers.toolchains.tflite.ranges import computed, with_outputs
from int8gate.runtimes.tflite_graph import opened, written

KINDS = {
    "RELU": kinds.RELU,
    "RELU6": kinds.RELU6,
    "PRELU": kinds.PRELU,
    "LEAKY_RELU": kinds.LEAKY_RELU,
    "MAX_POOL_2D": kinds.MAX_POOL,
    "AVERAGE_POOL_2D": kinds.AVERAGE_POOL,
    "MEAN": kinds.MEAN,
    "PAD": kinds.PAD,
    "RESIZE_BILINEAR": kinds.RESIZE,
    "RESIZE_NEAREST_NEIGHBOR": kinds.RESIZE,
    "RESHAPE": kinds.RESHAPE,
    "TRANSPOSE": kinds.TRANSPOSE,
    "CONCATENATION": kinds.CONCAT,
    "ADD": kinds.ADD,
    "SUB": kinds.SUB,
    "MUL": kinds.MUL,
    "MINIMUM": kinds.MINIMUM,
}
PRODUCTS = {  # places of data, weights and bias among the inputs
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
    "BATCH_MATMUL": (0, 1, None),  # its bias is a sum behind it
}
_LAYERS = {
    "CONV_2D": kinds.CONVOLUTION,
    "DEPTHWISE_CONV_2D": kinds.DEPTHWISE,
    "FULLY_CONNECTED": kinds.DENSE,
    "TRANSPOSE_CONV": kinds.TRANSPOSED,
    "BATCH_MATMUL": kinds.DENSE,
}
# Behind a name that the result of an added operator has taken over from the layer's. Rules match
# the parts of a name that ; joins, so that the layer goes by its old one.
UNCAPPED, WITHOUT_BIAS = ";uncapped", ";without_bias"
_ACTIVATIONS = {"NONE": None, "RELU": kinds.RELU, "RELU6": kinds.RELU6}


def read(path: Path) -> TfliteNetwork:
    """The network of a float `.tflite`; its first graph, where it has several.

    Raises ValueError for a file that is no TFLite model.
    """
    return TfliteNetwork(Path(path).read_bytes())


class TfliteNetwork(Network):
    """See `Network`. Tensors have the names of statistics (`ranges.activations`)."""

    channel_axis = 3

    def __init__(self, model: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema, self._whole = schema, opened(model)
        self._graph = self._whole.subgraphs[0]
        self._edit = GraphEdit(self._whole, self._graph)
        self._names = [(tensor.name or b"").decode() for tensor in self._graph.tensors]
        for name, index in computed(model).items():
            self._names[index] = name
        self._number_constants()
        self.inputs = tuple(self._names[int(index)] for index in self._graph.inputs)
        self.outputs = tuple(self._names[int(index)] for index in self._graph.outputs)

    def _number_constants(self) -> None:
        """Gives each tensor a name of its own, those of a name that others have a number."""
        seen: set[str] = set()
        for index, name in enumerate(self._names):
            self._names[index] = name if name and name not in seen else f"{name}#{index}"
            seen.add(self._names[index])

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self._names)}

    @cached_property
    def _rows(self) -> list[tuple[Operator, Any]]:
        """Each operator with its object of the file."""
        return [(self._operator(raw), raw) for raw in self._graph.operators]

    @cached_property
    def _layers(self) -> list[WeightedLayer]:
        self._readers_of = {}
        for operator, _ in self._rows:
            for name in dict.fromkeys(operator.inputs):
                self._readers_of.setdefault(name, []).append(operator)
        found = (self._layer(operator, raw) for operator, raw in self._rows)
        return [layer for layer in found if layer is not None]

    @property
    def operators(self) -> list[Operator]:
        return [operator for operator, _ in self._rows]

    @property
    def layers(self) -> list[WeightedLayer]:
        return self._layers

    def shape(self, tensor: str) -> tuple[int, ...]:
        shape = self._graph.tensors[self._index[tensor]].shape
        return () if shape is None else tuple(int(side) for side in shape)

    def constant(self, tensor: str) -> np.ndarray | None:
        if tensor not in self._index:
            return None
        return self._edit.values(self._index[tensor])

    def weights_stored(self, layer: WeightedLayer) -> object:
        place = PRODUCTS[self._opcode(self._raw(layer.product))][1]
        return self._graph.tensors[self._index[layer.product.inputs[place]]].buffer

    def set_constant(self, operator: Operator, place: int, values: np.ndarray) -> None:
        index = int(self._raw(operator).inputs[place])
        self._put(operator, place, np.asarray(values, np.float32), self._names[index])

    def set_weights(self, layer: WeightedLayer, values: np.ndarray) -> None:
        values = checked(layer, values, layer.weights.shape)
        opcode = self._opcode(self._raw(layer.product))
        place = PRODUCTS[opcode][1]
        stored = self.values(layer.product.inputs[place])
        if opcode == "DEPTHWISE_CONV_2D":
            values = values.transpose(1, 2, 3, 0)
        elif opcode in ("CONV_2D", "TRANSPOSE_CONV"):
            values = values.transpose(0, 2, 3, 1)
        elif opcode == "BATCH_MATMUL" and not layer.product.settings.get("adjY"):
            values = values.T
        self._put(layer.product, place, values.reshape(stored.shape), f"{layer.name}/weights")

    def set_bias(self, layer: WeightedLayer, values: np.ndarray) -> None:
        values = checked(layer, values, (layer.outputs,))
        place = PRODUCTS[self._opcode(self._raw(layer.product))][2]
        if len(layer.operators) > 1:
            add = layer.operators[1]
            place = 1 - add.inputs.index(layer.product.output)
            values = values.reshape(self.values(add.inputs[place]).shape)
            self._put(add, place, values, f"{layer.name}/bias")
        elif place is not None:
            raw = self._raw(layer.product)
            raw.inputs = [*map(int, raw.inputs), *[-1] * (place + 1 - len(raw.inputs))]
            self._put(layer.product, place, values, f"{layer.name}/bias")
        else:
            self._add_behind(layer.product, "ADD", "AddOptions", values, WITHOUT_BIAS)

    def set_cap(self, operator: Operator, caps: np.ndarray) -> None:
        raw = self._raw(operator)
        if operator.activation == kinds.RELU6:
            raw.builtinOptions.fusedActivationFunction = self._schema.ActivationFunctionType.RELU
        elif operator.kind == kinds.RELU6:
            raw.opcodeIndex = self._edit.code("RELU")
        else:
            raise ValueError(f"{operator.name} applies no RELU6, but {operator.kind}")
        self._add_behind(operator, "MINIMUM", "MaximumMinimumOptions", caps, UNCAPPED)

    def run(self, samples: Path, tensors: Sequence[str], count: int | None = None) -> Iterator:
        from ai_edge_litert.interpreter import Interpreter

        indices = {name: self._index[name] for name in tensors}
        content = written(self._whole)
        read = sorted({*indices.values(), *map(int, self._graph.outputs)})
        interpreter = Interpreter(model_content=with_outputs(content, read), num_threads=1)
        interpreter.allocate_tensors()
        stored = SampleFile(samples)
        rows = range(len(stored) if count is None else min(count, len(stored)))
        for _ in fed(stored, rows, interpreter, "the float network"):
            interpreter.invoke()
            yield {name: interpreter.get_tensor(index) for name, index in indices.items()}

    def save(self, path: Path) -> None:
        Path(path).write_bytes(written(self._whole))

    def _operator(self, raw: Any) -> Operator:
        opcode = self._opcode(raw)
        settings = dict(vars(raw.builtinOptions)) if raw.builtinOptions is not None else {}
        activation = settings.pop("fusedActivationFunction", 0)
        named = enum_names("ActivationFunctionType")[activation]
        outputs = tuple(self._names[int(index)] for index in raw.outputs)
        inputs = () if raw.inputs is None else raw.inputs
        return Operator(
            name=(self._graph.tensors[int(raw.outputs[0])].name or b"").decode(),
            kind=KINDS.get(opcode, opcode),
            inputs=tuple("" if index < 0 else self._names[int(index)] for index in inputs),
            outputs=outputs,
            activation=_ACTIVATIONS.get(named, named.lower()),
            settings=settings,
        )

    def _layer(self, operator: Operator, raw: Any) -> WeightedLayer | None:
        if operator.kind not in PRODUCTS:
            return None
        data, place, bias_place = PRODUCTS[operator.kind]
        stored = self.constant(operator.inputs[place])
        if stored is None or stored.dtype != np.float32:
            return None
        canonical = self._canonical(operator, stored)
        if canonical is None:
            return None
        weights, groups = canonical
        bias, members, activation = None, (operator,), operator.activation
        if bias_place is not None and len(operator.inputs) > bias_place:
            bias = self.constant(operator.inputs[bias_place])
            if operator.inputs[bias_place] and bias is None:
                return None  # it is computed
        elif bias_place is None and activation is None:
            add = self._bias_behind(operator, len(weights))
            if add is not None:
                place = 1 - add.inputs.index(operator.output)
                bias = self.values(add.inputs[place]).reshape(-1)
                members, activation = (operator, add), add.activation
        return WeightedLayer(
            name=operator.name.removesuffix(UNCAPPED).removesuffix(WITHOUT_BIAS),
            kind=_LAYERS[operator.kind],
            weights=weights,
            bias=bias,
            groups=groups,
            input=operator.inputs[data],
            output=members[-1].output,
            activation=activation,
            operators=members,
        )

    def _canonical(self, operator: Operator, stored: np.ndarray) -> tuple[np.ndarray, int] | None:
        """Weights (outputs, inputs of a group, *kernel) and the number of groups."""
        match operator.kind:
            case "DEPTHWISE_CONV_2D":
                channels = self.shape(operator.inputs[0])[-1]
                return stored.transpose(3, 0, 1, 2), channels
            case "CONV_2D":
                groups = self.shape(operator.inputs[0])[-1] // stored.shape[-1]
                return stored.transpose(0, 3, 1, 2), groups
            case "TRANSPOSE_CONV":
                return stored.transpose(0, 3, 1, 2), 1
            case "FULLY_CONNECTED":
                return stored, 1
        if operator.settings.get("adjX") or max(stored.shape[:-2], default=1) > 1:
            return None
        matrix = stored.reshape(stored.shape[-2:])
        return (matrix if operator.settings.get("adjY") else matrix.T), 1

    def _bias_behind(self, product: Operator, outputs: int) -> Operator | None:
        """The sum with a constant vector that alone reads a product's result."""
        readers = self._readers_of.get(product.output, [])
        if len(readers) != 1 or readers[0].kind != kinds.ADD or product.output in self.outputs:
            return None
        (add,) = readers
        others = [name for name in add.inputs if name != product.output]
        values = self.constant(others[0]) if len(others) == 1 else None
        if values is None or values.size != outputs or values.shape[-1:] != (outputs,):
            return None
        return add

    def _opcode(self, raw: Any) -> str:
        return self._edit.opcode(raw)

    def _raw(self, operator: Operator) -> Any:
        return next(raw for each, raw in self._rows if each.outputs == operator.outputs)

    def _put(self, operator: Operator, place: int, values: np.ndarray, name: str) -> None:
        """Writes a constant of an operator: into its own buffer, or into a new one if shared."""
        raw = self._raw(operator)
        index = int(raw.inputs[place])
        readers = sum(list(map(int, other.inputs)).count(index) for _, other in self._rows)
        if index >= 0 and readers == 1 and self._is_alone(index):
            tensor = self._graph.tensors[index]
            data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            self._whole.buffers[tensor.buffer].data = data
            vars(self).pop("_layers", None)
        else:
            made = self._edit.add_constant(np.ascontiguousarray(values), max(index, 0), "own")
            raw.inputs = [*map(int, raw.inputs)]
            raw.inputs[place] = made
            self._name(made, name)
            self._forget()

    def _is_alone(self, index: int) -> bool:
        """Whether no other tensor of the file has the buffer of this one."""
        buffer = self._graph.tensors[index].buffer
        graphs = self._whole.subgraphs
        return sum(tensor.buffer == buffer for graph in graphs for tensor in graph.tensors) == 1

    def _add_behind(self, operator: Operator, opcode: str, options: str, values, part: str) -> None:
        """Puts an operator with a constant vector behind another, and its result in its place.

        `part` stands behind the name of the tensor between them.
        """
        raw, values = self._raw(operator), np.asarray(values, np.float32)
        result = int(raw.outputs[0])
        between = self._edit.like(result, opcode)
        self._name(between, f"{self._names[result]}{part}")
        constant = self._edit.add_constant(values, result, opcode)
        self._name(constant, f"{self._names[result]}/{opcode.lower()}")
        raw.outputs = [between]
        made = self._edit.operator(opcode, [between, constant], [result], options)
        place = next(n for n, (_, each) in enumerate(self._rows) if each is raw)
        self._graph.operators.insert(place + 1, made)
        self._forget()

    def _name(self, index: int, wanted: str) -> None:
        """Gives a new tensor a name that no other has."""
        name, number = wanted, 1
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._graph.tensors[index].name = name.encode()
        self._names.append(name)

    def _forget(self) -> None:
        for name in ("_index", "_rows", "_layers"):
            vars(self).pop(name, None)
