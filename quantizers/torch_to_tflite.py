"""A `torch.export` program to a float TFLite file, by litert-torch.

TFLite's layout of pictures is channels last, PyTorch's channels first. The program takes
(1, c, h, w); the file takes (1, h, w, c): litert-torch moves its convolutions to channels last, and
the transposition that is put before the network here cancels against that.
"""

from __future__ import annotations

from pathlib import Path

from quantizers.recursion import recursion
from runtimes.file_names import PROGRAM, TFLITE
from runtimes.tflite_graph import FILE_IDENTIFIER

DEPTH = 100_000  # what litert-torch sets Python's limit of recursion to, once, when it needs it
_KEPT_APART = b"keep_stablehlo_constant"


def to_tflite(exported: Path, directory: Path) -> dict:
    """Writes `directory`/model.tflite of `exported`/program.pt2; returns its description.

    The file has one signature whose input `args_0` is float32 (1, h, w, c), and whose outputs
    `output_0`, ... are the program's, in its order and layout.
    """
    import torch

    from runtimes.litert import describe

    program = torch.export.load(str(exported / PROGRAM))
    (value,) = (
        node.meta["val"]
        for node in program.graph.nodes
        if node.name in program.graph_signature.user_inputs
    )
    sample = torch.zeros(value.shape).permute(0, 2, 3, 1).contiguous()
    with recursion(DEPTH), torch.no_grad():
        import litert_torch

        network = litert_torch.to_channel_last_io(program.module(), args=[0])
        converted = litert_torch.convert(network, (sample,), runtime_constant_folding=True)
        converted.export(str(directory / TFLITE))
    (directory / TFLITE).write_bytes(quantizable((directory / TFLITE).read_bytes()))
    return describe(directory / TFLITE)


def quantizable(model: bytes) -> bytes:
    """The same `.tflite` as TensorFlow's quantizer takes it.

    Without the mark `keep_stablehlo_constant`, with which it takes no constant for a weight and
    leaves all convolutions in float. With float32's lowest number for constants of -inf (the
    padding before a maximum, a mask), which no scale covers: calibration leaves it out
    (`statistics.MASKED`), and quantized it becomes the lowest step.
    """
    import flatbuffers
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(model), 0))
    whole.metadata = [entry for entry in whole.metadata or [] if entry.name != _KEPT_APART]
    tensors = [tensor for graph in whole.subgraphs for tensor in graph.tensors]
    for number in {tensor.buffer for tensor in tensors if tensor.type == schema.TensorType.FLOAT32}:
        data = whole.buffers[number].data
        if data is not None and len(data):
            values = data.view(np.float32)
            values[np.isneginf(values)] = np.finfo(np.float32).min
    builder = flatbuffers.Builder(len(model))
    builder.Finish(whole.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())
