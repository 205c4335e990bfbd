"""Hostile TFLite files, written with the schema's own classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

KIND, SUFFIX = "tflite", ".tflite"


def sound(path: Path) -> None:
    path.write_bytes(_packed(_model()))


def load(file: Path, found) -> None:
    from int8gate.runtimes.litert import LiteRTSession

    session = LiteRTSession(file)
    session.run([np.zeros(spec.shape, spec.dtype) for spec in session.inputs])


def _model(shape=(1, 16, 16, 3)):
    """Picture + constant, then a softmax over channels."""
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str, shape, buffer: int):
        made = schema.TensorT()
        made.name, made.shape, made.buffer, made.type = name, list(shape), buffer, 0
        return made

    def operator(code: int, inputs, outputs, options, kind: int):
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
        made.builtinOptions, made.builtinOptionsType = options, kind
        return made

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description = 3, "tiny"
    model.buffers = [schema.BufferT() for _ in range(4)]
    model.buffers[2].data = np.frombuffer(np.ones(3, np.float32).tobytes(), np.uint8)
    graph.tensors = [
        tensor("image", shape, 1),
        tensor("offset", (3,), 2),
        tensor("sum", shape, 3),
        tensor("scores", shape, 0),
    ]
    graph.inputs, graph.outputs, graph.name = [0], [3], "main"
    add, softmax = schema.AddOptionsT(), schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    graph.operators = [
        operator(0, [0, 1], [2], add, schema.BuiltinOptions.AddOptions),
        operator(1, [2], [3], softmax, schema.BuiltinOptions.SoftmaxOptions),
    ]
    for builtin in (schema.BuiltinOperator.ADD, schema.BuiltinOperator.SOFTMAX):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 1
        model.operatorCodes = [*(model.operatorCodes or []), code]
    model.subgraphs = [graph]
    return model


def _packed(model) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _changed(change):
    def write(path: Path) -> None:
        model = _model()
        change(model, model.subgraphs[0])
        path.write_bytes(_packed(model))

    return write


def _set(place: str, value):
    """Sets an attribute of the graph, ``tensors.0.shape`` for instance."""

    def change(model, graph) -> None:
        owner = graph
        *steps, last = place.split(".")
        for step in steps:
            owner = owner[int(step)] if step.isdecimal() else getattr(owner, step)
        setattr(owner, last, value)

    return _changed(change)


def _everywhere(shape):
    def change(model, graph) -> None:
        for tensor in (graph.tensors[0], graph.tensors[2], graph.tensors[3]):
            tensor.shape = list(shape)

    return _changed(change)


def _without_data(model, graph) -> None:
    """It loads, and fails when it runs: the constant is none."""
    graph.tensors[1].buffer = 3


def _custom(model, graph) -> None:
    code = model.operatorCodes[0]
    code.builtinCode, code.deprecatedBuiltinCode, code.customCode = 32, 32, "FlexWriteFile"


SPECIAL = {
    "input-huge": _everywhere((1, 2**20, 2**20, 3)),
    "input-wraps": _everywhere((2**30, 2**30, 2**30, 3)),
    "input-two-gigabytes": _everywhere((1, 2**14, 2**14, 3)),
    "input-negative": _everywhere((1, -7, 16, 3)),
    "input-empty": _everywhere((1, 0, 16, 3)),
    "inner-huge": _set("tensors.2.shape", [2**20, 2**20]),
    "constant-larger-than-its-buffer": _set("tensors.1.shape", [2**20]),
    "constant-huge": _set("tensors.1.shape", [2**30, 2**10]),
    "no-inputs": _set("inputs", []),
    "no-outputs": _set("outputs", []),
    "output-of-nowhere": _set("outputs", [99]),
    "output-negative": _set("outputs", [-2]),
    "operator-of-nowhere": _set("operators.0.inputs", [99, 98]),
    "operator-code-of-nowhere": _set("operators.0.opcodeIndex", 77),
    "reads-itself": _set("operators.0.inputs", [2, 1]),
    "buffer-of-nowhere": _set("tensors.1.buffer", 4_000_000),
    "wrong-dtype": _set("tensors.0.type", 5),
    "unknown-dtype": _set("tensors.0.type", 120),
    "constant-without-data": _changed(_without_data),
    "custom-operator": _changed(_custom),
    "named-lines": _set("tensors.0.name", 'a"\n[models.evil]\x1b[31m\0$(id)'),
    "named-path": _set("tensors.0.name", "../../outside/ran"),
    "no-graph": _changed(lambda model, graph: setattr(model, "subgraphs", [])),
}
