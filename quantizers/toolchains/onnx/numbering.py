"""Numbers in the place of an ONNX model's names, while ONNX Runtime's quantizer works on it.

The quantizer makes names out of others (`w_quantized`, `b_scale`, `x_QuantizeLinear_Output`) and
does not look whether something bears them. Of numbers it can make none that stands in the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from int8gate.model_zoo.importers.onnx.names import tensor_names
from int8gate.runtimes import onnx_file

_MADE = re.compile(r"([tn])(\d+)(.*)", re.DOTALL)  # t: a tensor, n: a node; and what was put behind


class Numbering:
    """Renames every tensor and node of a model, in place; `restore` gives the names back."""

    def __init__(self, model) -> None:
        graphs = list(onnx_file.graphs_of(model.graph))
        self.tensors = tensor_names(model.graph)
        self.nodes = list(dict.fromkeys(node.name for graph in graphs for node in graph.node))
        numbers = {name: f"t{number}" for number, name in enumerate(self.tensors)}
        nodes = {name: f"n{number}" for number, name in enumerate(self.nodes)}
        self._numbers = numbers
        _rename(graphs, numbers.__getitem__, nodes.__getitem__)

    def number(self, tensor: str) -> str | None:
        """What a tensor is called now; None for one that the model does not have."""
        return self._numbers.get(tensor)

    def name(self, number: str) -> str:
        """The name of a tensor or node of the model before; of another, as it is."""
        found = _MADE.fullmatch(number)
        if not found or found[3]:
            return number
        return (self.tensors if found[1] == "t" else self.nodes)[int(found[2])]

    def restore(self, model) -> None:
        """Gives all names back, in place; those made of numbers are made of names and unique."""
        taken, made = {*self.tensors, *self.nodes}, {}

        def name_of(number: str) -> str:
            found = _MADE.fullmatch(number)
            if found and not found[3]:
                return self.name(number)
            if number not in made:
                wanted = name = self.name(f"{found[1]}{found[2]}") + found[3] if found else number
                count = 1
                while name in taken:
                    count += 1
                    name = f"{wanted}_{count}"
                taken.add(name)
                made[number] = name
            return made[number]

        _rename(list(onnx_file.graphs_of(model.graph)), name_of, name_of)


def _rename(graphs: list, of_tensor: Callable, of_node: Callable) -> None:
    for graph in graphs:
        del graph.quantization_annotation[:]
        for entry in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            entry.name = of_tensor(entry.name)
        for sparse in graph.sparse_initializer:
            sparse.values.name = of_tensor(sparse.values.name)
        for node in graph.node:
            node.name = of_node(node.name)
            for ends in (node.input, node.output):
                for place, name in enumerate(ends):
                    if name:
                        ends[place] = of_tensor(name)
