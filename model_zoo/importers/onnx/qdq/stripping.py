"""A file in QDQ form, as quantization-aware training leaves it, to its float network and scales.

QuantizeLinear and DequantizeLinear around float operators are the form in which PyTorch (eager and
PT2E), NVIDIA ModelOpt, Brevitas, tf2onnx and ONNX Runtime's own quantizer hand on a quantized
network (ONNX operators, versions 10 to 25). The pairs of activations are taken out, weights become
the real values that their integers stand for, and what the pairs said goes to `QdqScales`.

A file that computes on integers (QLinearConv, MatMulInteger) has no float network within it, and is
refused by `checked_file`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from int8gate.engine.errors import some_of
from int8gate.model_zoo.importers.onnx.folded_constants import Constants
from int8gate.model_zoo.importers.onnx.qdq.folded_quotients import fold_quotients
from int8gate.model_zoo.importers.onnx.qdq.openvino_pairs import is_fake_quantization
from int8gate.model_zoo.importers.onnx.qdq.pair_parameters import BIAS, Parameters, named
from int8gate.model_zoo.importers.onnx.qdq.qdq_scales import (
    LIMITS,
    ActivationScale,
    QdqScales,
    WeightScales,
)
from int8gate.model_zoo.importers.onnx.qdq.scale_passing import MOVES, pass_scales
from int8gate.model_zoo.importers.onnx.qdq.weight_grids import find_rounded
from int8gate.model_zoo.importers.onnx.structure import Names, inferred, read_by_subgraphs
from int8gate.runtimes import onnx_file

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def is_qdq(model) -> bool:
    """Whether a model has QuantizeLinear or DequantizeLinear, also within subgraphs, or OpenVINO's
    FakeQuantize, which becomes such as it is read.
    """
    return any(
        node.op_type in (QUANTIZE, DEQUANTIZE) or is_fake_quantization(node)
        for graph in onnx_file.graphs_of(model.graph)
        for node in graph.node
    )


def strip(model) -> QdqScales:
    """Takes the pairs out of a loaded model in QDQ form, in place; returns what they said.

    Its nodes stand in their order, its weights are loaded. Tensors keep their names; what read a
    dequantized tensor reads the one that was quantized. Of an output the name stays.

    Raises ValueError naming the node for what is no fake quantization to 8 bits: a scale that is
    computed, of blocks, or no positive number, another width, an activation with a scale for each
    channel, an operator on integers, an integer input or output.
    """
    for inner in list(onnx_file.graphs_of(model.graph))[1:]:
        for node in inner.node:
            if node.op_type in (QUANTIZE, DEQUANTIZE):
                raise ValueError(
                    f"{named(node)} stands in a subgraph (If, Loop, Scan), expected pairs in the "
                    "main graph alone: export the network with its control flow written out"
                )
    stripping = _Stripping(model)
    stripping.run()
    return stripping.scales


class _Stripping:
    """One pass over the nodes in their order, then the edges of those that stay."""

    def __init__(self, model) -> None:
        from onnx import TensorProto

        self._model, self._graph = model, model.graph
        self._constants = Constants(model)
        self._parameters = Parameters(self._constants)
        self._same: dict[str, str] = {}  # a tensor that is gone: what is read in its place
        self._integers: dict[str, ActivationScale] = {}  # by tensor that holds integers
        self._narrow: list[str] = []
        self._wider: dict[str, None] = {}
        self._floats = {
            info.name
            for info in inferred(model)
            if info.type.tensor_type.elem_type == TensorProto.FLOAT
        }
        self._inputs = {info.name for info in self._graph.input}
        self.scales = QdqScales()

    def run(self) -> None:
        kept = [node for node in self._graph.node if self._stays(node)]
        del self._graph.node[:]
        self._graph.node.extend(kept)
        del self._graph.value_info[:]  # moved integers are floats now
        self._connect()
        fold_quotients(self._graph)
        _drop_unread(self._graph)
        pass_scales(self._graph, self.scales)
        if folded := find_rounded(self._graph, self.scales):
            self.scales.notes.append(
                f"the weights {some_of(folded)} came without a pair and lie on a grid of at most "
                "127 steps, as tools leave them that compute the pair: its step ships"
            )
        if self._narrow:
            self.scales.notes.append(
                f"{_listed(self._narrow)} had fewer than 256 steps in training (a Clip between Q "
                "and DQ): the trained scale ships, and values beyond are no longer clipped"
            )
        if self._wider:
            self.scales.notes.append(
                f"{_listed(list(self._wider))} had pairs of different scales, one behind "
                "another or for different readers: a tensor ships one, that of the widest range"
            )

    def _stays(self, node) -> bool:
        """Whether a node is no part of a pair, which is taken in here."""
        if node.op_type == QUANTIZE:
            return self._quantize(node)
        if node.op_type == DEQUANTIZE:
            return self._dequantize(node)
        read = [name for name in node.input if name in self._integers]
        if not read:
            return not self._is_no_cast(node)
        if node.op_type == "Clip" and node.input[0] in self._integers:
            self._narrowed(node)
            return False
        if node.op_type == "Cast" and _target(node) == self._integers[read[0]].dtype:
            self._replace(node, self._integers[read[0]])  # PyTorch's eager mode writes such
            return False
        if node.op_type not in MOVES or read != [node.input[0]]:
            raise ValueError(
                f"{named(node)} computes on integers ({read[0]}), expected a DequantizeLinear "
                "before it: export the network in QDQ form, with float operators between the pairs"
            )
        for name in node.output:
            self._integers[name] = self._integers[read[0]]
        return True

    def _is_no_cast(self, node) -> bool:
        """Whether a node casts float32 to float32, as PyTorch's exporter puts it around pairs."""
        if node.op_type != "Cast" or node.input[0] not in self._floats:
            return False
        if _target(node) != "float32":
            return False
        self._same[node.output[0]] = self._source(node.input[0])
        return True

    def _narrowed(self, node) -> None:
        """A Clip of integers: training had fewer than 8 bits."""
        scale = self._integers[node.input[0]]
        bounds = list(LIMITS[scale.dtype])
        for place, name in enumerate(node.input[1:3]):
            value = self._constants.values(name) if name else None
            if name and value is None:
                raise ValueError(f"{named(node)} has a bound that is computed, expected constants")
            bounds[place] = bounds[place] if value is None else int(value.item())
        if tuple(bounds) == LIMITS[scale.dtype]:
            self._replace(node, scale)
            return
        tensor = self._source(node.input[0])
        self._narrow.append(tensor)
        activations = self.scales.activations
        activations[tensor] = replace(activations[tensor], bounds=(bounds[0], bounds[1]))
        self._replace(node, scale)

    def _quantize(self, node) -> bool:
        if self._constants.values(node.input[0]) is not None:
            return True  # of weights; it goes with its DequantizeLinear, or is read as a constant
        found = self._parameters.of_activation(node)
        tensor = self._source(node.input[0])
        before = self.scales.activations.setdefault(tensor, found)
        if not before.is_same(found):
            self._wider[tensor] = None
            wider = max(before, found, key=lambda each: each.limits[1] - each.limits[0])
            self.scales.activations[tensor] = wider
        self._replace(node, found)
        return False

    def _dequantize(self, node) -> bool:
        stored = self._constants.values(node.input[0])
        if stored is not None:
            self._fold(node, stored)
            return False
        name = node.input[0]
        if name not in self._integers:
            what = "an input of the file" if name in self._inputs else "no QuantizeLinear gives it"
            raise ValueError(
                f"{named(node)} reads the integers {name} ({what}), expected those of a "
                "QuantizeLinear: export the network with float inputs and outputs"
            )
        if not self._integers[name].is_same(self._parameters.of_activation(node)):
            raise ValueError(
                f"{named(node)} has another scale or zero point than the QuantizeLinear of what "
                "it reads, expected a pair of one scale: the file is damaged, export it again"
            )
        self._same[node.output[0]] = self._source(name)
        return False

    def _replace(self, node, scale: ActivationScale) -> None:
        self._same[node.output[0]] = self._source(node.input[0])
        self._integers[node.output[0]] = scale

    def _source(self, name: str) -> str:
        while name in self._same:
            name = self._same[name]
        return name

    def _fold(self, node, stored: np.ndarray) -> None:
        """Weights or a bias as the real values that their integers stand for."""
        from onnx import numpy_helper

        scales, zero_points, axis = self._parameters.of_channels(node)
        axis = None if axis is None else axis % stored.ndim
        shape = [1] * stored.ndim
        if axis is not None:
            shape[axis] = -1
        points = zero_points.astype(np.int64).reshape(shape)
        real = (stored.astype(np.int64) - points) * scales.reshape(shape)
        name = node.output[0]
        tensor = numpy_helper.from_array(real.astype(np.float32).reshape(stored.shape), name)
        self._graph.initializer.append(tensor)
        if str(stored.dtype) != BIAS:
            points = tuple(zero_points.tolist())
            found = WeightScales(tuple(scales.tolist()), points, axis, str(stored.dtype))
            self.scales.weights[name] = found

    def _connect(self) -> None:
        """Turns every edge that led to a tensor that is gone."""
        from onnx import helper

        outputs = {info.name for info in self._graph.output}
        integer = [name for name in outputs if name in self._integers]
        if integer:
            raise ValueError(
                f"output {integer[0]} holds integers, expected a DequantizeLinear before it: "
                "export the network with float inputs and outputs"
            )
        made = {name: node for node in self._graph.node for name in node.output}
        renamed: dict[str, str] = {}
        for info in self._graph.output:
            source = self._source(info.name)
            if source == info.name:
                continue
            if source in made and source not in outputs and source not in renamed:
                renamed[source] = info.name
                continue
            name = Names(self._graph).new(f"{info.name}_is")
            source = renamed.get(source, source)
            self._graph.node.append(helper.make_node("Identity", [source], [info.name], name))
        for graph in onnx_file.graphs_of(self._graph):
            for node in graph.node:
                for ends in (node.input, node.output):
                    for place, name in enumerate(ends):
                        if name not in outputs or ends is node.input:
                            source = self._source(name)
                            ends[place] = renamed.get(source, source)
            if graph is not self._graph:
                for info in graph.output:
                    source = self._source(info.name)
                    info.name = renamed.get(source, source)
        activations = self.scales.activations
        self.scales.activations = {renamed.get(name, name): of for name, of in activations.items()}
        self._narrow = [renamed.get(name, name) for name in dict.fromkeys(self._narrow)]
        self._wider = {renamed.get(name, name): None for name in self._wider}


def _drop_unread(graph) -> None:
    """Takes out nodes and constants that nothing reads any more, in place; of a constant that is
    also listed among the inputs (as Brevitas lists them) that entry, too.
    """
    constants = {tensor.name for tensor in graph.initializer}
    ends = {info.name for info in graph.output}
    while True:
        read = {name for node in graph.node for name in node.input} | ends
        read |= read_by_subgraphs(graph)
        kept = [node for node in graph.node if read.intersection(node.output)]
        if len(kept) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(kept)
    stored = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(stored)
    for info in [info for info in graph.input if info.name in constants]:
        graph.input.remove(info)


def _target(node) -> str:
    """The dtype that a Cast gives."""
    from onnx import helper

    (target,) = (entry.i for entry in node.attribute if entry.name == "to")
    return str(helper.tensor_dtype_to_np_dtype(target))


def _listed(names: list[str]) -> str:
    """So many names, and how many there are."""
    what = "tensor" if len(names) == 1 else f"{len(names)} tensors"
    return f"{what} {some_of(names)}"
