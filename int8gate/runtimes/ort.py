"""How ONNX Runtime is set up, in one place: options, providers, the description of a tensor.

One provider is QNN: Qualcomm's Hexagon NPU, on x86-64 a simulator of its HTP backend. The optional
package `onnxruntime-qnn` comes under Qualcomm's own licence, which its user agrees to by installing
it (``pip install int8gate[qnn]``).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from int8gate.engine.host import has_dot_product
from int8gate.runtimes.artifact import TensorSpec
from int8gate.runtimes.session import UNKNOWN

if TYPE_CHECKING:
    import onnxruntime


CPU = "CPUExecutionProvider"
ERRORS_ONLY, FATAL_ONLY = 3, 4  # severities of the log
_DTYPES = {"float": "float32", "double": "float64", "string": "str"}

# x86 CPUs without VNNI add the products of uint8 and int8 in 16 bits, which overflow: 24 dB where
# the file has 48. With this entry ONNX Runtime multiplies uint8 by uint8, as slowly as right
# (https://github.com/microsoft/onnxruntime/pull/12088): 1.6 to 1.8 times as slowly also where VNNI
# adds in 32 bits, with the same outputs, so that such a host does without it.
EXACT_SUMS = {"session.x64quantprecision": "1"}
TWICE = "AddInitializerWithOrtValue"

QNN = "QNNExecutionProvider"
QNN_PACKAGE = "onnxruntime_qnn"


def options(
    level: str = "ALL",
    threads: int = 1,
    entries: Mapping[str, str] | None = None,
    severity: int = ERRORS_ONLY,
    **attributes,
) -> onnxruntime.SessionOptions:
    """`SessionOptions` with optimization `level` (DISABLE_ALL, BASIC, EXTENDED, ALL).

    `threads` compute an operator (0: one for each core), one operator runs at a time. `entries` are
    configuration entries by key beside what exact sums ask for, `attributes` others of
    `SessionOptions`.
    """
    import onnxruntime

    chosen = onnxruntime.SessionOptions()
    name = level if level == "DISABLE_ALL" else f"ENABLE_{level}"
    levels = onnxruntime.GraphOptimizationLevel
    chosen.graph_optimization_level = getattr(levels, f"ORT_{name}")
    chosen.intra_op_num_threads, chosen.inter_op_num_threads = threads, 1
    chosen.log_severity_level = severity
    for key, value in (sums() | dict(entries or {})).items():
        chosen.add_session_config_entry(key, value)
    for attribute, value in attributes.items():
        setattr(chosen, attribute, value)
    return chosen


def sums() -> dict[str, str]:
    """The configuration entries with which this host adds products exactly."""
    return {} if has_dot_product() else dict(EXACT_SUMS)


def open_model(
    model: Path | bytes,
    chosen: onnxruntime.SessionOptions,
    providers: Sequence[str] = (CPU,),
    **arguments,
) -> onnxruntime.InferenceSession:
    """ONNX Runtime's session of a file, or of a serialized model.

    Raises what ONNX Runtime raises: classes without a common base but Exception.
    """
    import onnxruntime

    content = model if isinstance(model, bytes) else str(model)
    arguments["providers"] = list(providers)
    try:
        return onnxruntime.InferenceSession(content, chosen, **arguments)
    except Exception as error:  # its classes have no common base
        if TWICE not in str(error):
            raise
        return onnxruntime.InferenceSession(with_own_constants(content), chosen, **arguments)


def with_own_constants(model: bytes | str) -> bytes:
    """The model with a DequantizeLinear, and constants for it, for each operator that reads one.

    For `EXACT_SUMS` ONNX Runtime replaces a product's weights and zero point, and fails at the
    second product that shares them (`TWICE`).
    """
    import onnx

    loaded = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
    graph, nodes = loaded.graph, []
    used: set[str] = set()
    constants = {tensor.name: tensor for tensor in graph.initializer}
    sources = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    for name in sources.keys() & {output.name for output in graph.output}:
        del sources[name]  # the caller reads it, and no product does
    for number, node in enumerate(graph.node):
        for place, name in enumerate(node.input):
            if name not in sources:
                continue
            own = onnx.NodeProto()
            own.CopyFrom(sources[name])
            nodes.append(own)
            if used.isdisjoint(own.input):
                used.update(own.input)
                continue
            for of, constant in enumerate(own.input):
                if constant not in constants:
                    continue
                copy = graph.initializer.add()
                copy.CopyFrom(constants[constant])
                copy.name = own.input[of] = f"{constant}_of_{number}_{place}"
            own.name = f"{own.name}_of_{number}_{place}"
            node.input[place] = own.output[0] = f"{name}_of_{number}_{place}"
        if not sources.keys() & set(node.output):
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return loaded.SerializeToString()


def run(session: onnxruntime.InferenceSession, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs of a session whose outputs are tensors; raises what ONNX Runtime raises."""
    return cast(list[np.ndarray], session.run(None, feeds))


def spec_of(node: onnxruntime.NodeArg) -> TensorSpec:
    """Name, shape (`UNKNOWN` where a side is open) and NumPy's dtype of an input or output."""
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(side if isinstance(side, int) else UNKNOWN for side in node.shape)
    return TensorSpec(node.name, shape, _DTYPES.get(kind, kind))


def zeros_of(spec: TensorSpec) -> np.ndarray:
    """Zeros that an input takes; a side that is open is 1."""
    return np.zeros([1 if side == UNKNOWN else side for side in spec.shape], spec.dtype)


def qnn_unavailable() -> str | None:
    """Why the target cannot be used here; None when it can."""
    if importlib.util.find_spec(QNN_PACKAGE):
        return None
    return (
        "qnn_htp is not available: the package onnxruntime-qnn is not installed (it comes under "
        "Qualcomm's licence: read it, then pip install int8gate[qnn])"
    )


def session_on_htp(model: Path, options):
    """An `onnxruntime.InferenceSession` on the simulated HTP, with the given `SessionOptions`.

    Raises ImportError where the package is missing, and what ONNX Runtime raises.
    """
    import onnxruntime
    import onnxruntime_qnn  # pyright: ignore[reportMissingImports]

    devices = _qnn_devices(onnxruntime)
    if not devices:
        onnxruntime.register_execution_provider_library(QNN, onnxruntime_qnn.get_library_path())
        devices = _qnn_devices(onnxruntime)
    if not devices:
        raise ValueError(
            f"{QNN_PACKAGE} is installed but offers no device: install the version that fits this "
            f"ONNX Runtime ({onnxruntime.__version__})"
        )
    backend = {"backend_path": onnxruntime_qnn.get_qnn_htp_path()}
    options.add_provider_for_qnn_devices(devices[:1], backend)
    return open_model(model, options, providers=())


def _qnn_devices(onnxruntime) -> list:
    return [device for device in onnxruntime.get_ep_devices() if device.ep_name == QNN]
