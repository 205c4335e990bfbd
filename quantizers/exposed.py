"""The activations of a file, float or quantized, as real values by the float file's names.

TensorFlow's and ONNX Runtime's quantizers keep the names of tensors, so that those of a float and a
quantized file can be compared. Call it in a worker process: it loads the file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from int8gate.runtimes import onnx_file
from int8gate.runtimes.session import Session
from int8gate.runtimes.sessions import open_session

QUANTIZERS = ("QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear")


def exposed(
    model: Path, copy: Path, tensors: Collection[str] | None = None, is_exact: bool = False
) -> Callable[[list[np.ndarray]], dict[str, np.ndarray]]:
    """A function of inputs (n, ...) to the real values of activations by name.

    Writes `copy`, which has them as outputs. They are all, or those of `tensors` that the file has.
    `is_exact`: as the file says, and not as this host's kernels round and saturate (`OnnxSession`).
    Raises ValueError for an ONNX file whose weights stand outside it.
    """
    expose = _expose_onnx if model.suffix == ".onnx" else _expose_tflite
    names = expose(model, copy, tensors)
    session = exact_session(copy) if is_exact else open_session(copy)
    by_output = {spec.name: names.get(spec.name, spec.name) for spec in session.outputs}

    def run(inputs: list[np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(by_output.values(), session.predict(*inputs), strict=True))

    return run


def exact_session(model: Path) -> Session:
    """A session of a file that gives the same on every host, but for the order of sums.

    ONNX Runtime's kernels of uint8 by int8 saturate sums of two products on processors without
    VNNI; of TFLite's kernels none does.
    """
    if model.suffix == ".onnx":
        from int8gate.runtimes.onnx_session import OnnxSession

        return OnnxSession(model, level="DISABLE_ALL")
    return open_session(model)


def _expose_tflite(model: Path, copy: Path, tensors: Collection[str] | None) -> dict[str, str]:
    from int8gate.quantizers.toolchains.tflite.ranges import computed, with_outputs

    content = model.read_bytes()
    found = computed(content)
    chosen = [index for name, index in found.items() if tensors is None or name in tensors]
    copy.write_bytes(with_outputs(content, chosen))
    return {}


def _expose_onnx(model: Path, copy: Path, tensors: Collection[str] | None) -> dict[str, str]:
    """Of a tensor with a quantizer behind it, what the quantizer leaves stands for it."""
    import onnx

    loaded = onnx.load(str(model), load_external_data=False)
    if onnx_file.external_locations(loaded):
        raise ValueError(f"{model}: its weights stand outside the file")
    graph = loaded.graph
    behind = behind_quantizers(graph)
    constants = {each.name for each in graph.initializer}
    given = [each.name for each in graph.input if each.name not in constants]
    names = {behind.get(name, name): name for name in given}
    for node in graph.node:
        if node.op_type not in QUANTIZERS:
            names |= {behind.get(name, name): plain(name) for name in node.output if name}
    if tensors is not None:
        names = {name: of for name, of in names.items() if of in tensors}
    del graph.output[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    onnx.save(loaded, str(copy))
    return names


def behind_quantizers(graph) -> dict[str, str]:
    """Tensors that a QuantizeLinear reads, with what its DequantizeLinear makes of them."""
    rounded = {
        node.output[0]: node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"
    }
    return {
        rounded[node.input[0]]: node.output[0]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in rounded
    }


def plain(name: str) -> str:
    """What ONNX Runtime's quantizer calls a graph's output before it is rounded."""
    return name.removesuffix("_QuantizeLinear_Input")
