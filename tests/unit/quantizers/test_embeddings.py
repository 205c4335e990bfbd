"""An embedding of a TFLite file as one GATHER: the same numbers, and TensorFlow quantizes it."""

from __future__ import annotations

import numpy as np
import pytest

from int8gate.quantizers.toolchains.tflite.embeddings import with_gathers
from int8gate.runtimes.tflite_graph import opened, written

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
TOKENS, ROWS, CHANNELS = 6, 11, 4


def tensor(name: str, shape: list[int], kind: int, buffer: int = 0):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, shape, kind, buffer
    return made


def operator(code: int, inputs: list[int], outputs: list[int], options=None, kind: int = 0):
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
    made.builtinOptions, made.builtinOptionsType = options, kind
    return made


def buffer(values: np.ndarray | None = None):
    made = schema.BufferT()
    made.data = None if values is None else np.frombuffer(values.tobytes(), np.uint8)
    return made


def reshape(shape: list[int]):
    made = schema.ReshapeOptionsT()
    made.newShape = shape
    return made


def looked_up(table: np.ndarray, is_read_twice: bool = False) -> bytes:
    """Tokens (1, t) to rows (1, t, c) as litert-torch writes it: between two RESHAPEs."""
    flat, whole = np.array([TOKENS], np.int32), np.array([1, TOKENS, CHANNELS], np.int32)
    ints, floats = schema.TensorType.INT32, schema.TensorType.FLOAT32
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors = [
        tensor("tokens", [1, TOKENS], ints),
        tensor("flat", [1], ints, 1),
        tensor("numbers", [TOKENS], ints),
        tensor("table", [ROWS, CHANNELS], floats, 2),
        tensor("rows", [TOKENS, CHANNELS], floats),
        tensor("whole", [3], ints, 3),
        tensor("embedded", [1, TOKENS, CHANNELS], floats),
    ]
    kind = schema.BuiltinOptions.ReshapeOptions
    graph.operators = [
        operator(0, [0, 1], [2], reshape([TOKENS]), kind),
        operator(1, [2, 3], [4]),
        operator(0, [4, 5], [6], reshape([1, TOKENS, CHANNELS]), kind),
    ]
    graph.inputs, graph.outputs = [0], [6, 4] if is_read_twice else [6]
    codes = []
    for builtin in (schema.BuiltinOperator.RESHAPE, schema.BuiltinOperator.EMBEDDING_LOOKUP):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 1
        codes.append(code)
    model.version, model.operatorCodes, model.subgraphs = 3, codes, [graph]
    model.buffers = [buffer(), buffer(flat), buffer(table), buffer(whole)]
    return written(model)


def run(model: bytes, tokens: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tokens)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def kinds(model: bytes) -> list[int]:
    whole = opened(model)
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in whole.operatorCodes]
    return [codes[op.opcodeIndex] for op in whole.subgraphs[0].operators]


def gathered(model: bytes) -> bytes:
    whole = opened(model)
    with_gathers(whole)
    return written(whole)


def test_a_gather_gives_the_rows_of_the_table():
    rng = np.random.default_rng(0)
    table = rng.standard_normal((ROWS, CHANNELS)).astype(np.float32)
    before = looked_up(table)
    after = gathered(before)
    assert kinds(after) == [schema.BuiltinOperator.GATHER]
    tokens = rng.integers(0, ROWS, (1, TOKENS)).astype(np.int32)
    np.testing.assert_array_equal(run(before, tokens), table[tokens])
    np.testing.assert_array_equal(run(after, tokens), table[tokens])


def test_rows_that_others_read_stay_as_they_are():
    before = looked_up(np.ones((ROWS, CHANNELS), np.float32), is_read_twice=True)
    assert kinds(gathered(before)) == kinds(before)
