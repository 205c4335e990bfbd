"""An ONNX file to a float TFLite file, by onnx2tf, checked against ONNX Runtime.

onnx2tf writes channels last: its input is (1, h, w, c), and so are outputs that are maps. These are
turned back, so that outputs keep the ONNX file's order and layout.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from int8gate.model_zoo.importers.onnx.structure import Names
from int8gate.quantizers.toolchains.onnx.prepare import fold
from int8gate.quantizers.toolchains.tflite.onnx2tf_runner import converted
from int8gate.quantizers.toolchains.tflite.onnx_forms import rewrite_for_tflite
from int8gate.runtimes import onnx_file, ort
from int8gate.runtimes.artifact import ONNX, TFLITE, in_order
from int8gate.runtimes.tflite_graph import opened, written

# How far an output may be off, as a part of its largest value: float32's rounding. Deep networks
# amplify it, so ONNX Runtime is asked what another order of summation and inputs of one last digit
# more change, and so many times that is allowed; beyond the last nobody can tell it from a mistake.
TOLERANCE, TIMES_ROUNDING, MOST_TOLERATED = 1e-4, 10, 1e-2
_PLAIN = re.compile(r"[A-Za-z0-9_.:]+")  # a name of an input or output that onnx2tf takes
CHANNELS_LAST, CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def to_tflite(source: Path, directory: Path) -> dict:
    """Writes `directory`/model.tflite of an ONNX file; returns its description (`describe`).

    `source` is the file, or the directory that holds it as model.onnx; its shapes are static.
    Inputs of rank 4 become channels last. Raises ValueError in a sentence where onnx2tf refuses,
    and where the TFLite file does not compute what the ONNX file does.
    """
    from int8gate.runtimes.litert import describe

    source = source / ONNX if source.is_dir() else source
    target = directory / TFLITE
    reference, are_arrays = _reference(source), onnx_file.are_arrays(source)
    with tempfile.TemporaryDirectory() as folder:
        folded = _folded(source, Path(folder))
        if wrong := _compared(reference, folded, target, are_arrays):
            first = _first_wrong(folded, are_arrays)
            raise ValueError(
                f"{source.name}: {wrong}: onnx2tf converts {first} wrongly; write "
                "that operator as others in the ONNX file, take the onnx recipes, or export the "
                "network to TFLite from its source"
            )
    target.write_bytes(_with_names_of(source, target.read_bytes()))
    return describe(target)


def _compared(reference: tuple, folded: Path, target: Path, are_arrays: bool) -> str:
    """Writes `target` of `folded`; says how it differs from the reference, "" if it does not.

    `are_arrays`: its inputs are arrays and no picture, and keep their layout.
    """
    inputs, expected, allowed = reference
    kept = _inputs_of(folded) if are_arrays else []
    shutil.copyfile(converted(folded, kept), target)
    found = _outputs(target, inputs, folded.name, not are_arrays)
    if len(found) != len(expected):
        raise ValueError(
            f"{folded.name} has {len(expected)} outputs, the TFLite file that onnx2tf wrote has "
            f"{len(found)}: give every output an operator of its own"
        )
    compared = list(zip(expected, found, allowed, strict=True))
    turned = [
        number
        for number, (wanted, found, most) in enumerate(compared)
        if not _same(wanted, found, most) and _same(wanted, _turned(found), most)
    ]
    if turned:
        target.write_bytes(_with_turned_outputs(target.read_bytes(), turned))
        found = _outputs(target, inputs, folded.name, not are_arrays)
        compared = list(zip(expected, found, allowed, strict=True))
    for number, (wanted, found, most) in enumerate(compared):
        if not _same(wanted, found, most):
            return (
                f"output {number} of the TFLite file does not compute what the ONNX file does "
                f"({_difference(wanted, found)})"
            )
    return ""


def _inputs_of(model: Path) -> list[str]:
    import onnx

    return [info.name for info in onnx.load(str(model), load_external_data=False).graph.input]


def _folded(source: Path, folder: Path) -> Path:
    """A copy of the ONNX file in `folder`, of constants as far as they follow, all shapes known.

    onnx2tf reads shapes and pads that are computed (Shape, Gather, Concat, Reshape) wrongly or not
    at all, stops at names of inputs and outputs that are no plain words, and saves over what it is
    given.
    """
    folded = folder / source.name

    def rewritten(graph) -> None:
        rewrite_for_tflite(graph)
        _name_ends_plainly(graph)

    fold(source, folded, rewritten)
    return folded


def _name_ends_plainly(graph) -> None:
    names = Names(graph)
    ends = [*graph.input, *graph.output]
    several = len(graph.input) if len(graph.input) > 1 else 0  # sessions sort them by name
    plain = {
        info.name: names.new(f"end_{number}")
        for number, info in enumerate(ends)
        if not _PLAIN.fullmatch(info.name) or number < several
    }
    for info in ends:
        info.name = plain.get(info.name, info.name)
    for inner in onnx_file.graphs_of(graph):
        for node in inner.node:
            for names_of in (node.input, node.output):
                for place, name in enumerate(names_of):
                    names_of[place] = plain.get(name, name)


def _first_wrong(folded: Path, are_arrays: bool) -> str:
    """The operator and node at which the TFLite file begins to differ, found by halving.

    The network up to a node is converted and compared, some ten times for a thousand nodes.
    """
    import onnx

    model = onnx.load(str(folded))
    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    right, wrong = -1, len(nodes) - 1
    while wrong - right > 1:
        middle = (right + wrong) // 2
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / folded.name
            try:
                onnx.save(_up_to(model, nodes[middle]), str(part))
                written_to = part.with_suffix(".tflite")
                is_wrong = bool(_compared(_reference(part), part, written_to, are_arrays))
            # Whatever stops a part stops the whole: the first such node is looked for.
            except Exception:
                is_wrong = True
        right, wrong = (right, middle) if is_wrong else (middle, wrong)
    return f"{nodes[wrong].op_type} ({nodes[wrong].name})"


def _up_to(model, node):
    """The network that ends at a node, its output under a plain name."""
    from onnx import helper
    from onnx.utils import Extractor

    given = [info.name for info in model.graph.input]
    part = Extractor(model).extract_model(given, [node.output[0]])
    last = Names(part.graph).new("part")
    part.graph.node.append(helper.make_node("Identity", [node.output[0]], [last], last))
    part.graph.output[0].name = last
    return part


def _reference(source: Path) -> tuple[list[np.ndarray], list[np.ndarray], list[float]]:
    """Random inputs of the ONNX file, what it computes of them, and how far each may be off."""
    session = _session(source, "ALL")
    declared = session.get_inputs()
    for given in declared:
        if not all(isinstance(side, int) and side > 0 for side in given.shape):
            raise ValueError(
                f"{source.name}: input {given.name} has shape {given.shape}, expected static sides"
            )
    rng = np.random.default_rng(0)
    inputs = [_random(rng, given) for given in declared]
    names = [given.name for given in declared]
    outputs = ort.run(session, dict(zip(names, inputs, strict=True)))
    nearly = [
        np.nextafter(value, np.float32(np.inf)) if value.dtype == np.float32 else value
        for value in inputs
    ]
    plain = _session(source, "DISABLE_ALL")
    otherwise = ort.run(plain, dict(zip(names, nearly, strict=True)))
    allowed = [_allowed(*pair) for pair in zip(outputs, otherwise, strict=True)]
    return inputs, outputs, allowed


def _random(rng: np.random.Generator, given) -> np.ndarray:
    """Values of an input; of whole numbers 0 and 1, which stand in any vocabulary."""
    dtype = ort.spec_of(given).dtype
    if dtype == "float32":
        return rng.uniform(-1, 1, given.shape).astype(dtype)
    return rng.integers(0, 2, given.shape).astype(dtype)


def _session(source: Path, level: str):
    try:
        return ort.open_model(source, ort.options(level, threads=0))
    except Exception as error:  # its errors have no common type
        reason = " ".join(str(error).split())
        raise ValueError(f"{source.name} cannot be run by ONNX Runtime: {reason}") from error


def _allowed(output: np.ndarray, otherwise: np.ndarray) -> float:
    """By how much an output may be off, from one that differs by rounding alone."""
    largest = max(float(np.abs(output).max()), 1e-6)
    rounding = float(np.abs(output - otherwise).max())
    return min(max(TOLERANCE * largest, TIMES_ROUNDING * rounding), MOST_TOLERATED * largest)


def _outputs(
    model: Path, inputs: list[np.ndarray], name: str, are_pictures: bool
) -> list[np.ndarray]:
    """What the TFLite file computes of the ONNX file's inputs, as it lays it out."""
    from int8gate.runtimes.litert import LiteRTSession

    session = LiteRTSession(model)
    fed = [_turned(x, CHANNELS_LAST) if are_pictures else x for x in inputs]
    fed = [x.astype(spec.dtype) for x, spec in zip(fed, session.inputs, strict=False)]
    takes, given = [spec.shape for spec in session.inputs], [x.shape for x in fed]
    if takes != given:
        raise ValueError(f"{name}: the TFLite file takes {takes}, expected channels last: {given}")
    return session.run(fed)


def _turned(value: np.ndarray, axes: tuple[int, ...] = CHANNELS_FIRST) -> np.ndarray:
    return np.ascontiguousarray(value.transpose(axes)) if value.ndim == 4 else value


def _same(wanted: np.ndarray, found: np.ndarray, allowed: float) -> bool:
    return wanted.shape == found.shape and bool(np.abs(wanted - found).max() <= allowed)


def _difference(wanted: np.ndarray, found: np.ndarray) -> str:
    if wanted.shape != found.shape:
        return f"shape {found.shape}, expected {wanted.shape}"
    furthest = np.abs(wanted - found).max()
    return f"off by up to {furthest:.3g} where values go to {np.abs(wanted).max():.3g}"


def _with_names_of(source: Path, model: bytes) -> bytes:
    """The `.tflite` with the ONNX file's names of inputs and outputs, where they are free."""
    import onnx

    theirs = onnx.load(str(source), load_external_data=False).graph
    whole = opened(model)
    graph = whole.subgraphs[0]
    taken = {tensor.name for tensor in graph.tensors}
    signature = whole.signatureDefs[0] if len(whole.signatureDefs or []) == 1 else None
    given = {
        entry.name.decode(): entry.tensorIndex for entry in (signature.inputs if signature else ())
    }
    inputs = [given[name] for name in in_order(given)]
    inputs = inputs if sorted(inputs) == sorted(map(int, graph.inputs)) else graph.inputs
    for infos, indices in ((theirs.input, inputs), (theirs.output, graph.outputs)):
        for info, index in zip(infos, indices, strict=True):
            name = info.name.encode()
            if name not in taken:
                taken.add(name)
                graph.tensors[index].name = name
    return written(whole)


def _with_turned_outputs(model: bytes, numbers: list[int]) -> bytes:
    """The `.tflite` with these outputs, maps (1, h, w, c), transposed to (1, c, h, w)."""
    from ai_edge_litert import schema_py_generated as schema

    whole = opened(model)
    graph = whole.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.TRANSPOSE
    axes: Any = schema.BufferT()
    axes.data = np.array(CHANNELS_FIRST, np.int32).view(np.uint8)
    whole.operatorCodes.append(code)
    whole.buffers.append(axes)
    constant = _tensor(b"channels_first", [4], schema.TensorType.INT32, len(whole.buffers) - 1)
    graph.tensors.append(constant)
    constant_index = len(graph.tensors) - 1
    for number in numbers:
        last = int(graph.outputs[number])
        shape = [int(graph.tensors[last].shape[axis]) for axis in CHANNELS_FIRST]
        name = graph.tensors[last].name + b"/channels_first"
        graph.tensors.append(_tensor(name, shape, schema.TensorType.FLOAT32, 0))
        operator = schema.OperatorT()
        operator.opcodeIndex = len(whole.operatorCodes) - 1
        operator.inputs, operator.outputs = [last, constant_index], [len(graph.tensors) - 1]
        operator.builtinOptionsType = schema.BuiltinOptions.TransposeOptions
        operator.builtinOptions = schema.TransposeOptionsT()
        graph.operators.append(operator)
        graph.outputs[number] = len(graph.tensors) - 1
        for named in (entry for found in whole.signatureDefs or [] for entry in found.outputs):
            if named.tensorIndex == last:
                named.tensorIndex = len(graph.tensors) - 1
    return written(whole)


def _tensor(name: bytes, shape: list[int], kind: int, buffer: int):
    from ai_edge_litert import schema_py_generated as schema

    tensor: Any = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
    tensor.quantization = schema.QuantizationParametersT()
    return tensor
