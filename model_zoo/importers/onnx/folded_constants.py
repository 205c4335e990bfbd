"""The values of a model's tensors that follow from its constants alone."""

from __future__ import annotations

import numpy as np

from int8gate.runtimes import onnx_file


class Constants:
    """Asked for by name, each computed once.

    Exporters write the weights of a pair as they are, transposed, or scaled by a normalization's
    statistics; scales as constants, or as casts and roots of some.
    """

    def __init__(self, model) -> None:
        self._model = model
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._made = {name: node for node in model.graph.node for name in node.output if name}
        self._known: dict[str, np.ndarray | None] = {}

    def values(self, name: str) -> np.ndarray | None:
        """The values of a tensor; None of one that depends on an input, or is too much to ask."""
        waiting = [name]
        while waiting:
            asked = waiting[-1]
            if asked in self._known:
                waiting.pop()
                continue
            node = self._made.get(asked)
            before = [each for each in node.input if each] if node is not None else []
            unknown = [each for each in before if each not in self._known]
            if asked in self._stored or node is None or not unknown:
                self._known[asked] = self._found(asked, node, before)
                waiting.pop()
            elif any(self._known.get(each, 0) is None for each in before):
                self._known[asked] = None
                waiting.pop()
            else:
                waiting += unknown
        return self._known[name]

    def _found(self, name: str, node, before: list[str]) -> np.ndarray | None:
        from onnx import numpy_helper

        if name in self._stored:
            return numpy_helper.to_array(self._stored[name])
        if node is None or any(self._known[each] is None for each in before):
            return None
        if node.op_type != "Constant" and not before:
            return None  # random numbers, and what else comes from nothing
        return self._computed(name, node, before)

    def _computed(self, name: str, node, before: list[str]) -> np.ndarray | None:
        """What ONNX's own definition of the operator gives."""
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        if any(True for _ in onnx_file.graphs_within(node)):
            return None
        own = type(node)()
        own.CopyFrom(node)
        given = {each: np.asarray(self._known[each]) for each in before}
        infos = [
            helper.make_tensor_value_info(each, helper.np_dtype_to_tensor_dtype(values.dtype), None)
            for each, values in given.items()
        ]
        result = helper.make_tensor_value_info(name, 0, None)
        graph = helper.make_graph([own], "constant", infos, [result])
        model = helper.make_model(graph, opset_imports=list(self._model.opset_import))
        try:
            (found,) = ReferenceEvaluator(model).run([name], given)
        # It is the operators' definition in Python: what it has none for raises anything.
        except Exception:
            return None
        return np.asarray(found)
