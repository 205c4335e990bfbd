"""What ONNX Runtime really computes with integers, whatever the file intends.

The file is loaded as for inference, with every optimization, and run once: the optimized graph
tells the weights of each kernel, the profile of the run its types and shapes. Q/DQ pairs that were
fused are gone there (QLinearConv, QGemm, MatMulIntegerToFloat, DynamicQuantizeMatMul); those that
were not show as the float kernel between them.
"""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtimes import onnx_file
from runtimes.onnx_session import CPU

INTEGER_PRODUCTS = frozenset(
    {
        *("QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat"),
        *("DynamicQuantizeMatMul", "QGemm", "QAttention", "DynamicQuantizeLSTM"),
    }
)
FLOAT_PRODUCTS = frozenset(
    {
        *("Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "MatMul", "FusedMatMul"),
        *("Gemm", "FusedGemm", "Attention", "MultiHeadAttention", "Einsum", "LSTM", "GRU", "RNN"),
    }
)
TOKEN_STREAM = frozenset(
    {
        *("LayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization"),
        *("SkipSimplifiedLayerNormalization", "RMSNormalization", "GroupNormalization", "Softmax"),
    }
)
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_CONVOLUTIONS = (
    *("Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger", "ConvTranspose"),
)
_NOT_ONE_PRODUCT = (
    *("MultiHeadAttention", "Attention", "QAttention"),
    *("Einsum", "LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"),
)
_FLOATS = ("float", "float16", "double", "bfloat16")
KEPT_FLOAT = "int8gate.kept_float"  # a file's property: JSON list of products meant to stay float
KEPT_AT_MOST = 0.01  # of all multiply-accumulates
_FUSED = "fused "  # what ONNX Runtime puts before the name of a node that took in its activation
_BLOCKED_LAYOUT = "NchwcTransformer"  # pads channels of float kernels: changes counts, not types
_EVENT = "_kernel_time"


@dataclass(frozen=True)
class Operator:
    """A kernel that ran: its type, its name, the dtype of its first output.

    `role` is "product" (convolutions, matrix products), "conversion" (between float and integer)
    or "other". `is_integer`: a product multiplies integers; another operator reads and writes no
    float tensor. `macs` counts multiply-accumulates of convolutions and matrix products.
    """

    op: str
    name: str
    dtype: str
    role: str
    is_integer: bool
    macs: int
    provider: str


def read_operators(path: Path, provider: str = CPU) -> tuple[Operator, ...]:
    """The kernels that run for the model at `path`, in their order; it is run on zeros.

    Raises ValueError naming the file when it cannot be loaded or run.
    """
    with tempfile.TemporaryDirectory() as scratch:
        try:
            events, graph = _run(Path(path), provider, Path(scratch))
        # ONNX Runtime raises classes of its own, each a direct child of Exception.
        except Exception as error:
            raise ValueError(f"ONNX Runtime cannot run {path}: {error}") from error
    nodes = {node.name: node for node in graph.node}
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    weights |= {  # those of kernels without an integer form are made float as the model runs
        node.output[0]: weights[node.input[0]]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in weights
    }
    return tuple(_operator(event, nodes, weights) for event in events)


def what_ran_as_integer(path: Path) -> dict:
    """The record's `integer_ops`: share of integer multiply-accumulates, and what stayed float.

    Of a network without normalizations between its layers everything counts; of a transformer the
    convolutions and matrix products: its token stream is float on purpose (`onnx_placement`). So
    are the products that the file says it keeps float, `kept_float`, while they are few.
    """
    operators = read_operators(path)
    left = float_operators(operators)
    meant = _meant_to_stay(path)
    kept = [found for found in left if found.name.removeprefix(_FUSED) in meant]
    if sum(found.macs for found in kept) > KEPT_AT_MOST * sum(found.macs for found in operators):
        kept = []
    left = [found for found in left if found not in kept]
    if not any(found.op in TOKEN_STREAM for found in operators):
        left += float_leftovers(operators)
    told = {"float_ops": left} | ({"kept_float": kept} if kept else {})
    fraction = {"fraction": integer_fraction(operators)}
    return fraction | {name: [_told(found) for found in those] for name, those in told.items()}


def _meant_to_stay(path: Path) -> list[str]:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    return json.loads(properties.get(KEPT_FLOAT, "[]"))


def _told(found: Operator) -> str:
    return f"{found.op} ({found.name}, {found.dtype})"


def integer_operators(operators: tuple[Operator, ...]) -> list[Operator]:
    """What computed on integers, conversions left out."""
    return [found for found in operators if found.is_integer and found.role != "conversion"]


def float_operators(operators: tuple[Operator, ...]) -> list[Operator]:
    """The convolutions and matrix products that computed on floats."""
    return [found for found in operators if found.role == "product" and not found.is_integer]


def float_leftovers(operators: tuple[Operator, ...]) -> list[Operator]:
    """The other operators that touched float tensors: normalizations, activations, sums, moves."""
    return [found for found in operators if found.role == "other" and not found.is_integer]


def integer_fraction(operators: tuple[Operator, ...]) -> float | None:
    """Share of the multiply-accumulates done on integers, 0 to 1; None where there are none."""
    total = sum(found.macs for found in operators)
    return sum(found.macs for found in operators if found.is_integer) / total if total else None


def _run(path: Path, provider: str, scratch: Path) -> tuple[list[dict], object]:
    """The events of one run, and the graph that ran."""
    import onnx
    import onnxruntime

    optimized = scratch / "optimized.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(optimized)
    options.enable_profiling = True
    options.profile_file_prefix = str(scratch / "profile")
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if len(onnx_file.files_of(path)) > 1:
        entry = "session.optimized_model_external_initializers_file_name"
        options.add_session_config_entry(entry, "optimized.data")
    session = onnxruntime.InferenceSession(
        str(path), options, providers=[provider], disabled_optimizers=[_BLOCKED_LAYOUT]
    )
    session.run(None, {found.name: _zeros(found) for found in session.get_inputs()})
    events = json.loads(Path(session.end_profiling()).read_text())
    ran = [e for e in events if e.get("cat") == "Node" and e["name"].endswith(_EVENT)]
    return ran, onnx.load(str(optimized), load_external_data=False).graph


def _zeros(found) -> np.ndarray:
    kind = found.type.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
    return np.zeros([side if isinstance(side, int) else 1 for side in found.shape], dtype)


def _operator(event: dict, nodes: dict, weights: dict) -> Operator:
    told = event["args"]
    op, name = told["op_name"], event["name"].removesuffix(_EVENT)
    inputs, outputs = _tensors(told["input_type_shape"]), _tensors(told["output_type_shape"])
    if op in CONVERSIONS:
        role, is_integer = "conversion", False
    elif op in INTEGER_PRODUCTS or op in FLOAT_PRODUCTS:
        role, is_integer = "product", op in INTEGER_PRODUCTS
    else:
        # The first input of a QLinear operator may be a scale, and so are others behind it.
        touched = outputs if op.startswith("QLinear") else (*inputs[:1], *outputs)
        role, is_integer = "other", all(dtype not in _FLOATS for dtype, _ in touched)
    macs = _macs(op, nodes[name], inputs, outputs, weights) if role == "product" else 0
    dtype = outputs[0][0] if outputs else "none"
    return Operator(op, name, dtype, role, is_integer, macs, told["provider"])


def _tensors(told: list[dict]) -> list[tuple[str, tuple[int, ...]]]:
    return [(dtype, tuple(shape)) for entry in told for dtype, shape in entry.items()]


def _macs(op: str, node, inputs: list, outputs: list, weights: dict) -> int:
    """Multiply-accumulates; of a transposed convolution with those that its padding cuts off."""
    if not outputs or not inputs:
        return 0
    (_, first), (_, result) = inputs[0], outputs[0]
    if op in _CONVOLUTIONS:
        constant = [weights[name] for name in node.input if name in weights]
        kernel = next(s for s in (*constant, *(s for _, s in inputs[1:])) if len(s) > 2)
        if op == "ConvTranspose":
            return math.prod(first) * math.prod(kernel[1:])
        return math.prod(result) * math.prod(kernel[1:])
    if op in _NOT_ONE_PRODUCT:
        return _attention(op, inputs)
    is_turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(result) * first[-2 if is_turned else -1]


def _attention(op: str, inputs: list) -> int:
    """Scores and weighted sums of a fused attention, (batch, tokens, width) each."""
    shapes = [shape for _, shape in inputs if len(shape) == 3]
    if op != "MultiHeadAttention" or len(shapes) < 2:
        return 0
    return 2 * math.prod(shapes[0]) * shapes[1][1]
