"""LiteRT (TensorFlow Lite) on the host CPU, with XNNPACK: measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from int8gate.engine.file_digest import sha256_of
from int8gate.runtimes.artifact import TensorSpec, in_order
from int8gate.runtimes.session import Session


class LiteRTSession(Session):
    """A loaded `.tflite` file. Raises ValueError naming the file when it cannot be loaded."""

    def __init__(self, path: Path, threads: int = 1):
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter = Interpreter(str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"LiteRT cannot load {path}: {_plainly(path, error)} (a truncated file, or an "
                "operator without a kernel for these types)"
            ) from error
        inputs, outputs = _in_order_of_signature(self._interpreter)
        super().__init__(path, map(spec_of, inputs), map(spec_of, outputs))
        self._indices = [[details["index"] for details in ends] for ends in (inputs, outputs)]

    def set_input(self, position: int, value: np.ndarray) -> None:
        self._interpreter.set_tensor(self._indices[0][position], value)

    def invoke(self) -> None:
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"LiteRT cannot run {self.path}: {reason}") from error

    def get_outputs(self) -> list[np.ndarray]:
        return [self._interpreter.get_tensor(index) for index in self._indices[1]]


def describe(path: Path) -> dict:
    """The sha256, inputs and outputs of a `.tflite` file as plain values.

    It loads the file, which a broken one may crash: call it in a worker process.
    """
    return LiteRTSession(path).description(sha256_of(path))


def tensor_steps(path: Path) -> dict[str, float]:
    """The width of one level, the scale, of each tensor that has one for all its values.

    It loads the file: call it in a worker process.
    """
    from ai_edge_litert.interpreter import Interpreter

    found = Interpreter(str(path)).get_tensor_details()
    scales = {each["name"]: each["quantization_parameters"]["scales"] for each in found}
    return {name: float(values[0]) for name, values in scales.items() if len(values) == 1}


def _plainly(path: Path, error: Exception) -> Exception:
    """What the operator's own kernel says, where a delegate that took it over says nothing."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        Interpreter(str(path), experimental_op_resolver_type=plain).allocate_tensors()
    except (ValueError, RuntimeError) as said:
        return said
    return error


def _in_order_of_signature(interpreter) -> tuple[list[dict], list[dict]]:
    """Details of inputs and outputs; a file without one signature keeps its own order."""
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        return inputs, outputs
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    ordered = []
    for details, named in (
        (inputs, runner.get_input_details()),
        (outputs, runner.get_output_details()),
    ):
        by_index = {entry["index"]: entry for entry in details}
        found = [by_index.get(named[name]["index"]) for name in in_order(named)]
        ordered.append(found if None not in found and len(found) == len(details) else details)
    return ordered[0], ordered[1]


def spec_of(details: dict) -> TensorSpec:
    """An input or output of an interpreter, of its details."""
    scales = details["quantization_parameters"]["scales"]
    zero_points = details["quantization_parameters"]["zero_points"]
    return TensorSpec(
        name=details["name"],
        shape=tuple(int(side) for side in details["shape"]),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scales[0]) if len(scales) else None,
        zero_point=int(zero_points[0]) if len(zero_points) else None,
    )
