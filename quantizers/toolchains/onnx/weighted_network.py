"""A float ONNX file, as `prepare` leaves it, as a `Network`: its layers' weights read and set."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from int8gate.model_zoo.importers.onnx.structure import Names, read_by_node, sort_nodes, with_shapes
from int8gate.quantizers.calibration.sample_file import SampleFile
from int8gate.quantizers.remedies import float_network as kinds
from int8gate.quantizers.remedies.float_network import Network, Operator, WeightedLayer, checked
from int8gate.quantizers.toolchains.onnx.collector import feeder
from int8gate.quantizers.toolchains.onnx.graph_view import GraphView
from int8gate.runtimes import onnx_file, ort

KINDS = {
    "Relu": kinds.RELU,
    "PRelu": kinds.PRELU,
    "LeakyRelu": kinds.LEAKY_RELU,
    "Clip": kinds.CLIP,  # one of 0 to 6 is RELU6
    "MaxPool": kinds.MAX_POOL,
    "AveragePool": kinds.AVERAGE_POOL,
    "GlobalAveragePool": kinds.AVERAGE_POOL,
    "ReduceMean": kinds.MEAN,
    "Pad": kinds.PAD,
    "Resize": kinds.RESIZE,
    "Reshape": kinds.RESHAPE,
    "Flatten": kinds.RESHAPE,
    "Transpose": kinds.TRANSPOSE,
    "Identity": kinds.IDENTITY,
    "Concat": kinds.CONCAT,
    "Add": kinds.ADD,
    "Sub": kinds.SUB,
    "Mul": kinds.MUL,
    "Min": kinds.MINIMUM,
    "LayerNormalization": kinds.LAYER_NORM,
}
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
CAP = 6.0
# Constants that ONNX Runtime makes where it fuses a product with the sum behind it
# (MatMulAddFusion). It stops at a file that has one of that name, from when it was prepared.
_ONNX_RUNTIMES_OWN = ("gemm_input_shape", "gemm_output_shape")


def read(path: Path) -> OnnxNetwork:
    """The network of a float `.onnx`, its weights inside or beside it."""
    import onnx

    return OnnxNetwork(onnx.load(str(path)))


class OnnxNetwork(Network):
    """See `Network`. What a subgraph (If, Loop) reads counts as read by its node."""

    channel_axis = 1

    def __init__(self, model) -> None:
        if _inner(model.graph) - {info.name for info in model.graph.value_info}:
            model = with_shapes(model)
        self._model, self._graph = model, model.graph
        self._arrays: dict[str, np.ndarray] = {}
        self._shapes = GraphView(self._graph).shapes
        constants = {tensor.name for tensor in self._graph.initializer}
        self.inputs = tuple(i.name for i in self._graph.input if i.name not in constants)
        self.outputs = tuple(info.name for info in self._graph.output)

    @cached_property
    def _stored(self) -> dict:
        return {tensor.name: tensor for tensor in self._graph.initializer}

    @cached_property
    def _rows(self) -> list[Operator]:
        return [self._operator(node) for node in self._graph.node]

    @cached_property
    def _nodes(self) -> dict:
        return {node.output[0]: node for node in self._graph.node}

    @cached_property
    def _layers(self) -> list[WeightedLayer]:
        readers = defaultdict(list)
        for operator in self._rows:
            for name in dict.fromkeys(operator.inputs):
                readers[name].append(operator)
        found = (self._layer(operator, readers) for operator in self._rows)
        return [layer for layer in found if layer is not None]

    @property
    def operators(self) -> list[Operator]:
        return self._rows

    @property
    def layers(self) -> list[WeightedLayer]:
        return self._layers

    def shape(self, tensor: str) -> tuple[int, ...]:
        return self._shapes.get(tensor, ())

    def constant(self, tensor: str) -> np.ndarray | None:
        from onnx import numpy_helper

        if tensor not in self._stored:
            return None
        if tensor not in self._arrays:
            self._arrays[tensor] = numpy_helper.to_array(self._stored[tensor])
        return self._arrays[tensor]

    def weights_stored(self, layer: WeightedLayer) -> object:
        return layer.product.inputs[1]

    def set_constant(self, operator: Operator, place: int, values: np.ndarray) -> None:
        node = self._nodes[operator.output]
        self._put(node, place, np.asarray(values, np.float32), node.input[place])

    def set_weights(self, layer: WeightedLayer, values: np.ndarray) -> None:
        values = checked(layer, values, layer.weights.shape)
        node = self._nodes[layer.product.output]
        if node.op_type == "ConvTranspose":
            values = _with_inputs_first(values, layer.groups)
        elif node.op_type == "MatMul" or (
            node.op_type == "Gemm" and not layer.product.settings.get("transB")
        ):
            values = values.T
        self._put(node, 1, values, f"{layer.name}.weights")

    def set_bias(self, layer: WeightedLayer, values: np.ndarray) -> None:
        values = checked(layer, values, (layer.outputs,))
        node = self._nodes[layer.product.output]
        if len(layer.operators) > 1:
            add = layer.operators[1]
            place = 1 - add.inputs.index(layer.product.output)
            values = values.reshape(self.values(add.inputs[place]).shape)
            self._put(self._nodes[add.output], place, values, f"{layer.name}.bias")
        elif node.op_type != "MatMul":
            node.input.extend([""] * (3 - len(node.input)))
            self._put(node, 2, values, f"{layer.name}.bias")
        else:
            self._add_behind(node, "Add", values, "bias")

    def set_cap(self, operator: Operator, caps: np.ndarray) -> None:
        node = self._nodes[operator.output]
        if operator.kind != kinds.RELU6:
            raise ValueError(f"{operator.name} is no Clip of 0 to {CAP:g}, but {operator.kind}")
        node.op_type = "Relu"
        del node.input[1:]
        del node.attribute[:]
        rank = len(self.shape(operator.output))
        across = np.asarray(caps, np.float32).reshape(-1, *[1] * (rank - 1 - self.channel_axis))
        self._add_behind(node, "Min", across if rank == 4 else np.asarray(caps), "cap")

    def run(self, samples: Path, tensors: Sequence[str], count: int | None = None) -> Iterator:
        import onnx

        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "tapped.onnx"
            tapped = onnx.ModelProto.FromString(self._model.SerializeToString())
            sort_nodes(tapped.graph)
            extra = [name for name in dict.fromkeys(tensors) if name not in self.outputs]
            tapped.graph.output.extend(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
                for name in extra
                if name not in self.inputs
            )
            onnx_file.write(tapped, file)
            session = ort.open_model(file, ort.options())
        stored = SampleFile(samples)
        feed = feeder(session, stored, "the float network")
        names = [info.name for info in session.get_outputs()]
        for row in range(len(stored) if count is None else min(count, len(stored))):
            fed = feed(stored.sample(row))
            found = fed | dict(zip(names, ort.run(session, fed), strict=True))
            yield {name: found[name] for name in tensors}

    def save(self, path: Path) -> None:
        sort_nodes(self._graph)
        onnx_file.write(with_shapes(self._model), path)

    def _operator(self, node) -> Operator:
        settings, inputs = GraphView.settings(node), tuple(node.input)
        kind = KINDS.get(node.op_type, node.op_type)
        if kind == kinds.CLIP:
            bounds = [settings.get("min"), settings.get("max")]
            for place, name in enumerate(inputs[1:3]):
                value = self.constant(name) if name else None
                bounds[place] = None if value is None else float(value)
            settings["bounds"] = tuple(bounds)
            kind = kinds.RELU6 if bounds == [0, CAP] else kind
        read = tuple(sorted(read_by_node(node)))
        return Operator(node.name, kind, inputs + read, tuple(node.output), None, settings)

    def _layer(self, operator: Operator, readers: dict) -> WeightedLayer | None:
        if operator.kind not in PRODUCTS or len(operator.inputs) < 2:
            return None
        stored = self.constant(operator.inputs[1])
        if stored is None or stored.dtype != np.float32:
            return None
        canonical = _canonical(operator, stored)
        if canonical is None:
            return None
        weights, groups, kind = canonical
        bias, members = None, (operator,)
        if len(operator.inputs) > 2 and operator.inputs[2]:
            bias = self.constant(operator.inputs[2])
            if bias is None or bias.size not in (1, len(weights)):
                return None
            bias = np.broadcast_to(bias.reshape(-1), len(weights))
        elif operator.kind == "MatMul":
            add = self._bias_behind(operator, len(weights), readers)
            if add is not None:
                members = (operator, add)
                place = 1 - add.inputs.index(operator.output)
                bias = self.values(add.inputs[place]).reshape(-1)
        return WeightedLayer(
            name=operator.name,
            kind=kind,
            weights=weights,
            bias=bias,
            groups=groups,
            input=operator.inputs[0],
            output=members[-1].output,
            activation=None,
            operators=members,
        )

    def _bias_behind(self, product: Operator, outputs: int, readers: dict) -> Operator | None:
        """The sum with a constant vector that alone reads a matrix product's result."""
        following = readers[product.output]
        if len(following) != 1 or product.output in self.outputs:
            return None
        (add,) = following
        others = [name for name in add.inputs if name != product.output]
        values = self.constant(others[0]) if add.kind == kinds.ADD and len(others) == 1 else None
        if values is None or values.size != outputs or values.shape[-1:] != (outputs,):
            return None
        return add

    def _put(self, node, place: int, values: np.ndarray, wanted: str) -> None:
        """Writes a constant of a node: in its own place, or as a new one if others read it."""
        from onnx import numpy_helper

        name = node.input[place]
        times = sum(list(row.inputs).count(name) for row in self._rows)
        values = np.ascontiguousarray(values, np.float32)
        if name and times == 1 and name not in self.outputs:
            tensor = self._stored[name]
            tensor.CopyFrom(numpy_helper.from_array(values, name))
        else:
            name = Names(self._graph).new(wanted)
            self._graph.initializer.append(numpy_helper.from_array(values, name))
            node.input[place] = name
            self._forget()
        self._arrays[name] = values
        vars(self).pop("_layers", None)

    def _add_behind(self, node, op_type: str, values: np.ndarray, part: str) -> None:
        """Puts an operator with a constant behind a node, and its result in the place of its."""
        from onnx import helper, numpy_helper

        names, result = Names(self._graph), node.output[0]
        self._rename(_ONNX_RUNTIMES_OWN, names)
        between, constant = names.new(f"{result}_without_{part}"), names.new(f"{result}_{part}")
        self._graph.initializer.append(
            numpy_helper.from_array(np.asarray(values, np.float32), constant)
        )
        node.output[0] = between
        made = helper.make_node(
            op_type, [between, constant], [result], names.new(f"{node.name};{part}")
        )
        place = next(n for n, each in enumerate(self._graph.node) if each is node or each == node)
        self._graph.node.insert(place + 1, made)
        self._shapes[between] = self.shape(result)
        self._forget()

    def _rename(self, constants: Collection[str], names: Names) -> None:
        """Gives constants other names, those of the list that the file has."""
        renamed = {name: names.new(f"{name}_of_file") for name in constants if name in self._stored}
        for old, new in renamed.items():
            self._stored[old].name = new
        for node in self._graph.node if renamed else ():
            node.input[:] = [renamed.get(name, name) for name in node.input]

    def _forget(self) -> None:
        for name in ("_stored", "_rows", "_nodes", "_layers"):
            vars(self).pop(name, None)


def _inner(graph) -> set[str]:
    """The tensors that nodes give and the caller does not take."""
    made = {name for node in graph.node for name in node.output if name}
    return made - {info.name for info in graph.output}


def _canonical(operator: Operator, stored: np.ndarray) -> tuple[np.ndarray, int, str] | None:
    """Weights (outputs, inputs of a group, *kernel), the number of groups, the kind of layer."""
    settings = operator.settings
    groups = settings.get("group", 1)
    match operator.kind:
        case "Conv":
            is_depthwise = groups > 1 and stored.shape[1] == 1
            return stored, groups, kinds.DEPTHWISE if is_depthwise else kinds.CONVOLUTION
        case "ConvTranspose":
            return _with_outputs_first(stored, groups), groups, kinds.TRANSPOSED
        case "Gemm":
            plain = settings.get("alpha", 1) == settings.get("beta", 1) == 1
            if not plain or settings.get("transA"):
                return None
            return (stored if settings.get("transB") else stored.T), 1, kinds.DENSE
    return (stored.T, 1, kinds.DENSE) if stored.ndim == 2 else None


def _with_outputs_first(stored: np.ndarray, groups: int) -> np.ndarray:
    """A ConvTranspose's (inputs, outputs of a group, *kernel), turned."""
    inputs, outputs, *kernel = stored.shape
    apart = stored.reshape(groups, inputs // groups, outputs, *kernel)
    return apart.swapaxes(1, 2).reshape(groups * outputs, inputs // groups, *kernel)


def _with_inputs_first(values: np.ndarray, groups: int) -> np.ndarray:
    """The reverse of `_with_outputs_first`."""
    outputs, inputs, *kernel = values.shape
    apart = values.reshape(groups, outputs // groups, inputs, *kernel)
    return apart.swapaxes(1, 2).reshape(groups * inputs, outputs // groups, *kernel)
