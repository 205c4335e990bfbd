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
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from int8gate.runtimes import onnx_file, ort
from int8gate.runtimes.onnx_integer_forms import is_integer_kernel
from int8gate.runtimes.ort import CPU

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
BY_RECIPE = "int8gate.float_by_recipe"  # likewise: nodes that the rules of its recipe leave float
KEPT_AT_MOST = 0.01  # of all multiply-accumulates
_FUSED = "fused "  # what ONNX Runtime puts before the name of a node that took in its activation
_BLOCKED_LAYOUT = "NchwcTransformer"  # pads channels of float kernels: changes counts, not types
_DUPLICATED = "/duplicated"  # what ONNX Runtime puts behind a DequantizeLinear for another reader
_EVENT = "_kernel_time"


@dataclass(frozen=True)
class Operator:
    """A kernel that ran: its type, its name, the dtype of its first output.

    `role` is "product" (convolutions, matrix products), "conversion" (between float and integer)
    or "other". `is_integer`: a product multiplies integers; another operator reads and writes no
    float tensor. `macs` counts multiply-accumulates of convolutions and matrix products. `inside`
    names the If or Loop around it, and `has_kernel` says whether ONNX Runtime could compute another
    operator on integers where it stands. `is_kept`: the file says that its recipe leaves it float.
    """

    op: str
    name: str
    dtype: str
    role: str
    is_integer: bool
    macs: int
    provider: str
    inside: str = ""
    has_kernel: bool = False
    is_kept: bool = False


def read_operators(path: Path, provider: str = CPU) -> tuple[Operator, ...]:
    """The kernels that run for the model at `path`, in their order; it is run on zeros.

    Products of a branch that did not run are behind them. Raises ValueError naming the file when
    it cannot be loaded or run.
    """
    with tempfile.TemporaryDirectory() as scratch:
        try:
            events, graph = _run(Path(path), provider, Path(scratch))
        # ONNX Runtime raises classes of its own, each a direct child of Exception.
        except Exception as error:
            raise ValueError(f"ONNX Runtime cannot run {path}: {error}") from error
    known = _Known(graph, _load(path))
    ran = tuple(_operator(event, known) for event in events)
    seen = {found.name for found in ran}
    return ran + tuple(
        Operator(
            node.op_type, node.name, "float", "product", False, 0, provider, known.inside[name]
        )
        for name, node in known.nodes.items()
        if node.op_type in FLOAT_PRODUCTS and name in known.inside and name not in seen
    )


class _Known:
    """What the graph that ran, and the file, say of its nodes, those of subgraphs too."""

    def __init__(self, graph, model) -> None:
        in_file = {node.name for node in model.graph.node}
        kept = set(_listed(model, BY_RECIPE))
        written = {name for n in model.graph.node if n.name in kept for name in n.output}
        graphs = list(onnx_file.graphs_of(graph))
        self.nodes = {node.name: node for inner in graphs for node in inner.node}
        self.inside = {
            node.name: f"{holder.op_type} {holder.name}"
            for inner in graphs
            for holder in inner.node
            for subgraph in list(onnx_file.graphs_within(holder))
            for node in subgraph.node
        }
        self.constants = {tensor.name: tensor for inner in graphs for tensor in inner.initializer}
        self.weights = {name: tuple(tensor.dims) for name, tensor in self.constants.items()}
        self.weights |= {  # of kernels without an integer form they are made float as it runs
            node.output[0]: self.weights[node.input[0]]
            for node in self.nodes.values()
            if node.op_type == "DequantizeLinear" and node.input[0] in self.weights
        }
        moved = {  # around a transposition, for one: such a one is not in the file
            node.output[0]: node.input[0]
            for node in self.nodes.values()
            if node.op_type in ("QuantizeLinear", "DequantizeLinear")
            and node.name.removesuffix(_DUPLICATED) not in in_file
        }
        self.kept = {
            node.name for node in self.nodes.values() if _is_kept(node, kept, written, in_file)
        }
        self._joined = _joined(self.nodes.values(), self.constants, moved, self.kept)

    def has_kernel(self, name: str) -> bool:
        """Whether ONNX Runtime could compute the node on integers where it stands."""
        return name not in self.inside and self._joined[name]


def _is_kept(node, kept: set[str], written: set[str], in_file: set[str]) -> bool:
    """Whether a node that ran is one of `kept`: one that was fused may have a new name, and gives
    what the last of its parts gave (`written`).
    """
    name = node.name.removeprefix(_FUSED)
    return name in kept if name in in_file else not written.isdisjoint(node.output)


def _joined(nodes, constants, moved: dict[str, str], kept: set[str]) -> dict[str, bool]:
    """For each node whether it and all that float tensors join it to have an integer kernel.

    Behind a product that stayed float, which is told itself, others cannot but be float, and so
    they are beside a node that the recipe leaves float (`kept`). Readers of a tensor that ONNX
    Runtime put a conversion of its own behind (`moved`) stay joined.
    """

    def source_of(tensor: str) -> str:
        return source_of(moved[tensor]) if tensor in moved else tensor

    touching = defaultdict(list)
    others = [node for node in nodes if node.op_type not in CONVERSIONS | INTEGER_PRODUCTS]
    for node in others:
        for name in (*node.input, *node.output):
            if name and name not in constants:
                touching[source_of(name)].append(node.name)
    island = islands((node.name for node in nodes), touching.values())
    without = {
        island[node.name]
        for node in others
        if not node.op_type.startswith("QLinear")
        and (node.name in kept or not is_integer_kernel(node, constants))
    }
    return {name: island[name] not in without for name in island}


def islands(names: Iterable[str], joined: Iterable[Sequence[str]]) -> dict[str, str]:
    """For each name one of its island: names are of one island where a group of `joined` has both,
    directly or by others.
    """
    root = {name: name for name in names}

    def find(name: str) -> str:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    for first, *others in joined:
        for other in others:
            root[find(other)] = find(first)
    return {name: find(name) for name in root}


def _is_product(op: str) -> bool:
    return op in INTEGER_PRODUCTS or op in FLOAT_PRODUCTS


def what_ran_as_integer(path: Path) -> dict:
    """The record's `integer_ops`: share of integer multiply-accumulates, and what stayed float.

    `float_ops` are those that may not: every convolution and matrix product, but for the products
    that the file says it keeps float while they are few (`kept_float`); and every other operator
    that ONNX Runtime has for integers (`onnx_integer_forms`). One that it has not, and what float
    tensors join to such a one (a transformer's token stream, `toolchains/onnx/placement.py`), is
    float by necessity: `float_by_kernel`. Those that the file says its recipe leaves float are
    `float_by_recipe`; `int4_ops` are nodes with int4 weights, in the file.
    """
    operators = read_operators(path)
    by_recipe = [found for found in operators if found.is_kept and not found.is_integer]
    left = [found for found in float_operators(operators) if not found.is_kept]
    meant = _listed(_load(path), KEPT_FLOAT)
    kept = [found for found in left if found.name.removeprefix(_FUSED) in meant]
    if sum(found.macs for found in kept) > KEPT_AT_MOST * sum(found.macs for found in operators):
        kept = []
    others = [found for found in float_leftovers(operators) if not found.is_kept]
    failing = [found for found in left if found not in kept]
    failing += [found for found in others if found.has_kernel]
    told = {"int4_ops": _with_int4(_load(path).graph)}
    lists = {
        "float_ops": failing,
        "kept_float": kept,
        "float_by_kernel": [found for found in others if not found.has_kernel],
        "float_by_recipe": by_recipe,
    }
    told |= {name: list(dict.fromkeys(map(_told, those))) for name, those in lists.items()}
    optional = {name: those for name, those in told.items() if those or name == "float_ops"}
    return {"fraction": integer_fraction(operators)} | optional


def _with_int4(graph) -> list[str]:
    from onnx import TensorProto

    narrow = {each.name for each in graph.initializer if each.data_type == TensorProto.INT4}
    narrow |= {name for node in graph.node if narrow & set(node.input) for name in node.output}
    nodes = (n for n in graph.node if n.op_type != "DequantizeLinear" and narrow & set(n.input))
    return [f"{node.op_type} ({node.name})" for node in nodes]


def _load(path: Path):
    import onnx

    return onnx.load(str(path), load_external_data=False)


def _listed(model, key: str) -> list[str]:
    """The names of nodes that a property of the file holds."""
    properties = {entry.key: entry.value for entry in model.metadata_props}
    return json.loads(properties.get(key, "[]"))


def _told(found: Operator) -> str:
    inside = f", inside {found.inside}" if found.inside else ""
    return f"{found.op} ({found.name}{inside}, {found.dtype})"


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

    optimized = scratch / "optimized.onnx"
    outside = len(onnx_file.files_of(path)) > 1
    entry = "session.optimized_model_external_initializers_file_name"
    options = ort.options(
        entries={entry: "optimized.data"} if outside else {},
        optimized_model_filepath=str(optimized),
        enable_profiling=True,
        profile_file_prefix=str(scratch / "profile"),
    )
    session = ort.open_model(path, options, [provider], disabled_optimizers=[_BLOCKED_LAYOUT])
    session.run(
        None, {spec.name: ort.zeros_of(spec) for spec in map(ort.spec_of, session.get_inputs())}
    )
    events = json.loads(Path(session.end_profiling()).read_text())
    ran = [e for e in events if e.get("cat") == "Node" and e["name"].endswith(_EVENT)]
    return ran, onnx.load(str(optimized), load_external_data=False).graph


def _operator(event: dict, known: _Known) -> Operator:
    told = event["args"]
    op, name = told["op_name"], event["name"].removesuffix(_EVENT)
    inputs, outputs = _tensors(told["input_type_shape"]), _tensors(told["output_type_shape"])
    if op in CONVERSIONS:
        role, is_integer = "conversion", False
    elif _is_product(op):
        role, is_integer = "product", op in INTEGER_PRODUCTS
    else:
        # The first input of a QLinear operator may be a scale, and so are others behind it.
        touched = outputs if op.startswith("QLinear") else (*inputs[:1], *outputs)
        role, is_integer = "other", all(dtype not in _FLOATS for dtype, _ in touched)
    is_counted = role == "product"
    macs = macs_of(op, known.nodes[name], inputs, outputs, known.weights) if is_counted else 0
    return Operator(
        op,
        name,
        outputs[0][0] if outputs else "none",
        role,
        is_integer,
        macs,
        told["provider"],
        known.inside.get(name, ""),
        role == "other" and known.has_kernel(name),
        role != "conversion" and name in known.kept,
    )


def _tensors(told: list[dict]) -> list[tuple[str, tuple[int, ...]]]:
    return [(dtype, tuple(shape)) for entry in told for dtype, shape in entry.items()]


def macs_of(op: str, node, inputs: list, outputs: list, weights: dict) -> int:
    """Multiply-accumulates; of a transposed convolution with those that its padding cuts off.

    `inputs` and `outputs` are (dtype, shape) of each, `weights` shapes of the constants by name.
    """
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
