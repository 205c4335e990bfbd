"""A `torch.export` program to a float TFLite file, by litert-torch.

TFLite's layout of pictures is channels last, PyTorch's channels first. The program takes
(1, c, h, w); the file takes (1, h, w, c): litert-torch moves its convolutions to channels last, and
the transposition that is put before the network here cancels against that. Arrays stay as they are.
"""

from __future__ import annotations

from pathlib import Path

from int8gate.engine.memory import recursion
from int8gate.quantizers.toolchains.tflite.broadcasts import with_concatenations
from int8gate.quantizers.toolchains.tflite.embeddings import with_gathers
from int8gate.runtimes.artifact import PROGRAM, TFLITE
from int8gate.runtimes.tflite_graph import opened, written

DEPTH = 100_000  # what litert-torch sets Python's limit of recursion to, once, when it needs it
PICTURE_AXES = 4
_KEPT_APART = b"keep_stablehlo_constant"


def to_tflite(exported: Path, directory: Path) -> dict:
    """Writes `directory`/model.tflite of `exported`/program.pt2; returns its description.

    The file has one signature whose input `args_0` is float32 (1, h, w, c), or whose inputs are the
    program's arrays, and whose outputs `output_0`, ... are the program's, in its order and layout.
    """
    import torch

    from int8gate.runtimes.litert import describe

    program = torch.export.load(str(exported / PROGRAM))
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    taken = [values[name] for name in program.graph_signature.user_inputs]
    samples = [torch.zeros(value.shape, dtype=value.dtype) for value in taken]
    is_picture = len(taken) == 1 and taken[0].ndim == PICTURE_AXES
    if is_picture:
        samples = [samples[0].permute(0, 2, 3, 1).contiguous()]
    with recursion(DEPTH), torch.no_grad():
        import litert_torch

        network = with_plain_padding(program.module())
        if is_picture:
            network = litert_torch.to_channel_last_io(network, args=[0])
        converted = litert_torch.convert(network, tuple(samples), runtime_constant_folding=True)
        converted.export(str(directory / TFLITE))
    (directory / TFLITE).write_bytes(quantizable((directory / TFLITE).read_bytes()))
    return describe(directory / TFLITE)


def with_plain_padding(module):
    """The network with every transposed convolution as litert-torch has it.

    That is without padding, or with as much on either side as makes the output `stride` times as
    large. Others ("failed to legalize operation 'mhlo.convolution'") are computed without padding
    and cut; an output padding beyond what is cut gets weights of zero.
    """
    import torch

    transposed = torch.ops.aten.conv_transpose2d.input

    class Cut(torch.fx.Interpreter):
        def call_function(self, target, args, kwargs):
            if target is transposed and not kwargs and not _is_plain(*_transposed(*args)):
                return _cut(*_transposed(*args))
            return super().call_function(target, args, kwargs)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.training = False  # eval() would ask the program, which cannot

        def forward(self, *pictures):
            return Cut(self.module).run(*pictures)

    has_one = any(node.target is transposed for node in module.graph.nodes)
    return Network() if has_one else module


def _transposed(
    x, weight, bias=None, stride=(1,), padding=(0,), output_padding=(0,), groups=1, dilation=(1,)
):
    """The arguments of a transposed convolution over maps, two numbers each."""
    two = [list(v) * (2 // len(v)) for v in (stride, padding, output_padding, dilation)]
    return x, weight, bias, *two, groups


def _is_plain(x, weight, bias, stride, padding, output_padding, dilation, groups) -> bool:
    reach = [d * (side - 1) + 1 for d, side in zip(dilation, weight.shape[2:], strict=True)]
    return not any(output_padding) and all(
        pad == 0 or side - step == 2 * pad
        for pad, side, step in zip(padding, reach, stride, strict=True)
    )


def _cut(x, weight, bias, stride, padding, output_padding, dilation, groups):
    from torch.nn import functional

    more = [
        -(-max(extra - pad, 0) // step)
        for extra, pad, step in zip(output_padding, padding, dilation, strict=True)
    ]
    weight = functional.pad(weight, (0, more[1], 0, more[0]))
    whole = functional.conv_transpose2d(
        x, weight, bias, stride, 0, groups=groups, dilation=dilation
    )
    for axis, (pad, extra, grown, step) in enumerate(
        zip(padding, output_padding, more, dilation, strict=True), start=2
    ):
        size = whole.shape[axis] - grown * step - 2 * pad + extra
        whole = whole.narrow(axis, pad, size)
    return whole


def quantizable(model: bytes) -> bytes:
    """The same `.tflite` as TensorFlow's quantizer takes it.

    Without the mark `keep_stablehlo_constant`, with which it takes no constant for a weight and
    leaves all convolutions in float. With float32's lowest number for constants of -inf (the
    padding before a maximum, a mask), which no scale covers: calibration leaves it out
    (`statistics.MASKED`), and quantized it becomes the lowest step. With embeddings as GATHER, and
    repetitions as CONCATENATION, which NPUs have.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    whole = opened(model)
    whole.metadata = [entry for entry in whole.metadata or [] if entry.name != _KEPT_APART]
    tensors = [tensor for graph in whole.subgraphs for tensor in graph.tensors]
    for number in {tensor.buffer for tensor in tensors if tensor.type == schema.TensorType.FLOAT32}:
        data = whole.buffers[number].data
        if data is not None and len(data):
            values = data.view(np.float32)
            values[np.isneginf(values)] = np.finfo(np.float32).min
    with_gathers(whole)
    with_concatenations(whole)
    return written(whole)
