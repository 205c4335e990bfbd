"""What rewriting an ONNX graph looks at: constants, types, shapes, who reads what, free names."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from int8gate.model_zoo.importers.onnx.structure import Names, read_by_subgraphs


class GraphView:
    """A graph of known types, seen once; `names` gives names that nothing bears.

    `shapes` and `kinds` (`TensorProto` types) are by tensor. `uses` counts readers: nodes, outputs
    and subgraphs, whose tensors are `inner`.
    """

    def __init__(self, graph) -> None:
        self.graph, self.names = graph, Names(graph)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        infos = (*graph.value_info, *graph.input, *graph.output)
        self.kinds = {info.name: info.type.tensor_type.elem_type for info in infos}
        self.kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        self.shapes = {
            info.name: tuple(side.dim_value for side in info.type.tensor_type.shape.dim)
            for info in infos
            if info.type.tensor_type.HasField("shape")
        }
        self.inner = read_by_subgraphs(graph)
        self.uses = Counter(name for node in graph.node for name in node.input)
        self.uses.update(info.name for info in graph.output)
        self.uses.update(self.inner)

    def is_float(self, name: str) -> bool:
        """Whether a tensor is float32."""
        from onnx import TensorProto

        return self.kinds.get(name) == TensorProto.FLOAT

    def array(self, node, place: int) -> np.ndarray | None:
        """The values of a node's constant input; None where it is none, absent or kept outside."""
        from onnx import numpy_helper

        tensor = self.constants.get(node.input[place]) if place < len(node.input) else None
        if tensor is None or tensor.data_location == tensor.EXTERNAL:
            return None
        return numpy_helper.to_array(tensor)

    def constant(self, wanted: str, values: np.ndarray) -> str:
        """Adds a float32 constant; returns the name that it got."""
        return self._add(wanted, np.asarray(values, np.float32))

    def integers(self, wanted: str, values) -> str:
        """Adds an int64 constant, such as a shape; returns the name that it got."""
        return self._add(wanted, np.asarray(values, np.int64))

    def _add(self, wanted: str, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = self.names.new(wanted)
        tensor = numpy_helper.from_array(values, name)
        self.graph.initializer.append(tensor)
        self.constants[name] = self.graph.initializer[-1]
        self.kinds[name] = tensor.data_type
        return name

    def readers(self) -> dict[str, list]:
        """The nodes that read each tensor."""
        found = defaultdict(list)
        for node in self.graph.node:
            for name in node.input:
                found[name].append(node)
        return found

    @staticmethod
    def settings(node) -> dict:
        """A node's attributes by name, as plain values."""
        from onnx import helper

        return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def drop_unread_constants(graph) -> None:
    """Takes out the initializers that no node, subgraph or output reads, in place."""
    uses = GraphView(graph).uses
    kept = [tensor for tensor in graph.initializer if uses[tensor.name]]
    del graph.initializer[:]
    graph.initializer.extend(kept)
