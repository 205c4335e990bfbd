"""How far a quantized network is from the float one, operator by operator.

Both run on the same samples with every activation as an output; tensors are matched by name, which
TensorFlow's and ONNX Runtime's quantizers keep. What an operator adds is the fall of the signal to
noise ratio from its inputs to its output. Runs in a worker process.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from int8gate.quantizers.exposed import QUANTIZERS, behind_quantizers, exposed, plain
from int8gate.runtimes.tflite_graph import read_graph

CEILING_DB = 60.0  # a tensor this close to float counts as exact
MASKED = 1e4  # values beyond are those of an additive mask, not of a signal
INPUT = "input"  # stands for the operator of a graph's input, which rounding changes too
LEAST_MATCHED = 0.5  # of the operators, by the names of their outputs; fewer tell no story


@dataclass(frozen=True)
class Step:
    """An operator and what its output tensor holds, in the order of the graph.

    `sqnr_db` is the signal to quantization noise ratio of the output, centred, without masked
    values; of a concatenation that of its worst part. `before_db` is that of its worst input, and
    `inputs` are those inputs: of one that only one of the files has, what that was made from.
    `low` and `high` are the float values' extremes, `spread` their standard deviation without
    masked ones, `step` the width of one level, None of a tensor that stays float or whose width is
    not known. `name` is what rules call the operator: the node's in ONNX, in TFLite the tensor's.
    """

    operator: str
    tensor: str
    before_db: float
    sqnr_db: float
    low: float
    high: float
    spread: float
    step: float | None
    inputs: tuple[str, ...] = ()
    name: str = ""

    @property
    def rounding_db(self) -> float:
        """What rounding to this tensor's levels costs by itself: a uniform error of one step."""
        if not self.step or not self.spread:
            return CEILING_DB
        return 10 * math.log10(12 * (self.spread / self.step) ** 2)


@dataclass(frozen=True)
class Operator:
    """Kind, names of the activations that it reads, name of its output, that output's step, and
    what rules call it.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    step: float | None
    name: str


def trace(float_model: Path, quantized: Path, inputs: Sequence[np.ndarray]) -> list[Step]:
    """The steps of the operators whose output both files have, on real inputs (n, ...).

    Empty where the files share few names, hold loops, or are too large to be rewritten.
    """
    try:
        operators = list(_operators(quantized))
        with tempfile.TemporaryDirectory() as scratch:
            expected = exposed(float_model, Path(scratch) / f"float{float_model.suffix}")
            found = exposed(quantized, Path(scratch) / f"quantized{quantized.suffix}")
            return _measure(operators, expected, found, inputs)
    except ValueError:  # subgraphs, weights outside the file: there is nothing to compare
        return []


class _Noise:
    """Sums over a tensor's values, or over those of each part of it."""

    def __init__(self, parts: list[slice], axis: int):
        self._parts, self._axis = parts, axis
        self._sums = np.zeros((len(parts), 4))  # count, values, squares, squared errors
        self.low, self.high = math.inf, -math.inf

    def add(self, wanted: np.ndarray, given: np.ndarray) -> None:
        self.low = min(self.low, float(wanted.min()))
        self.high = max(self.high, float(wanted.max()))
        for row, part in enumerate(self._parts):
            where = (*[slice(None)] * self._axis, part)
            real = np.asarray(wanted[where], np.float64)
            plain = np.abs(real) < MASKED
            real, error = real[plain], (np.asarray(given[where], np.float64) - wanted[where])[plain]
            self._sums[row] += real.size, real.sum(), real @ real, error @ error

    @property
    def spread(self) -> float:
        count, total, squares, _ = self._sums.sum(axis=0)
        return math.sqrt(max(squares / count - (total / count) ** 2, 0.0)) if count else 0.0

    def sqnr_db(self) -> float:
        return min(map(self._of, self._sums))

    @staticmethod
    def _of(sums: np.ndarray) -> float:
        count, total, squares, errors = sums
        variance = squares - total**2 / count if count else 0.0
        if errors <= 0 or variance <= 0:
            return CEILING_DB
        return min(CEILING_DB, 10 * math.log10(variance / errors))


def _measure(operators, expected, found, inputs: Sequence[np.ndarray]) -> list[Step]:
    noise: dict[str, _Noise] = {}
    for sample in range(len(inputs[0])):
        one = [batch[sample : sample + 1] for batch in inputs]
        wanted, given = expected(one), found(one)
        for operator in operators:
            name = operator.output
            if name not in wanted or name not in given or wanted[name].shape != given[name].shape:
                continue
            if not wanted[name].size:
                continue
            if name not in noise:
                shapes = [wanted[each].shape for each in operator.inputs if each in wanted]
                noise[name] = _Noise(*_parts(operator.kind, shapes, wanted[name].shape))
            noise[name].add(wanted[name], given[name])
    if len(noise) < LEAST_MATCHED * len(operators):
        return []
    ratios = {name: each.sqnr_db() for name, each in noise.items()}
    steps, measured = [], {name: (name,) for name in noise}
    for operator in operators:
        before = [each for name in operator.inputs for each in measured.get(name, ())]
        reads = tuple(dict.fromkeys(before))
        measured.setdefault(operator.output, reads)
        if operator.output in noise:
            of = noise[operator.output]
            steps.append(
                Step(
                    operator.kind,
                    operator.output,
                    min((ratios[name] for name in reads), default=CEILING_DB),
                    ratios[operator.output],
                    of.low,
                    of.high,
                    of.spread,
                    operator.step,
                    reads,
                    operator.name,
                )
            )
    return steps


def _parts(kind: str, shapes: list[tuple], whole: tuple) -> tuple[list[slice], int]:
    """What each input of a concatenation became, else all of the output as one part."""
    if kind in ("CONCATENATION", "Concat") and len(shapes) > 1:
        for axis, side in enumerate(whole):
            sides = [shape[axis] for shape in shapes if len(shape) == len(whole)]
            if axis and len(sides) == len(shapes) and sum(sides) == side:
                ends = np.cumsum(sides)
                return [slice(end - n, end) for end, n in zip(ends, sides, strict=True)], axis
    return [slice(None)], 0


def _operators(model: Path) -> Iterator[Operator]:
    return _onnx_operators(model) if model.suffix == ".onnx" else _tflite_operators(model)


def _tflite_operators(model: Path) -> Iterator[Operator]:
    from int8gate.runtimes.litert import tensor_steps

    graph = read_graph(model)
    steps = tensor_steps(model)
    for tensor in graph.inputs:
        yield Operator(INPUT, (), tensor.name, steps.get(tensor.name), tensor.name)
    source: dict[str, str] = {}  # what a quantizer inside the graph passes on
    for operator in graph.operators:
        reads = [tensor.name for tensor in operator.inputs if not tensor.is_constant]
        reads = tuple(source.get(name, name) for name in reads)
        for tensor in operator.outputs:
            if operator.opcode in QUANTIZERS and reads:
                source[tensor.name] = reads[0]
            else:
                step = steps.get(tensor.name)
                yield Operator(operator.opcode, reads, tensor.name, step, tensor.name)


def _onnx_operators(model: Path) -> Iterator[Operator]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(model), load_external_data=False).graph
    constants = {each.name: each for each in graph.initializer}
    behind = behind_quantizers(graph)
    source = {rounded: name for name, rounded in behind.items()}
    widths = {
        node.input[0]: float(numpy_helper.to_array(constants[node.input[1]]).ravel()[0])
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[1] in constants
    }
    for given in graph.input:
        if given.name not in constants:
            yield Operator(INPUT, (), given.name, widths.get(given.name), given.name)
    for node in graph.node:
        if node.op_type in QUANTIZERS:
            continue
        reads = tuple(source.get(name, name) for name in node.input if name not in constants)
        for name in node.output:
            yield Operator(node.op_type, reads, plain(name), widths.get(name), node.name)
