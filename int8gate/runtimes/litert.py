"""LiteRT (TensorFlow Lite) on the host CPU, with XNNPACK: measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from int8gate.runtimes.artifact import TensorSpec, in_order, sha256_of


class LiteRTSession:
    """A loaded `.tflite` file that runs one sample at a time (its batch dimension is 1).

    Raises ValueError naming the file when it cannot be loaded.
    """

    def __init__(self, path: Path, threads: int = 1):
        from ai_edge_litert.interpreter import Interpreter

        self.path = Path(path)
        try:
            self._interpreter = Interpreter(str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"LiteRT cannot load {path}: {_plainly(path, error)} (a truncated file, or an "
                "operator without a kernel for these types)"
            ) from error
        self._inputs, self._outputs = _in_order_of_signature(self._interpreter)
        self.inputs = tuple(_spec(details) for details in self._inputs)
        self.outputs = tuple(_spec(details) for details in self._outputs)

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One inference on arrays of exactly the declared shapes and dtypes; so are the outputs.

        Raises TypeError for another dtype, ValueError for another shape: nothing is cast silently.
        """
        self.feed(inputs)
        self.invoke()
        return [self._interpreter.get_tensor(output["index"]) for output in self._outputs]

    def feed(self, inputs: Sequence[np.ndarray]) -> None:
        """Checks and copies the inputs; see `run`."""
        self._check_count(inputs)
        for details, spec, value in zip(self._inputs, self.inputs, inputs, strict=True):
            _check(self.path.name, spec, value)
            self._interpreter.set_tensor(details["index"], value)

    def invoke(self) -> None:
        """Runs the network on what was fed: what a speed gate times.

        Raises ValueError naming a file that loads and cannot run.
        """
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            said = " ".join(str(error).split())
            raise ValueError(f"LiteRT cannot run {self.path}: {said}") from error

    def predict(
        self, *batches: np.ndarray, pixel_range: tuple[float, float] | None = None
    ) -> list[np.ndarray]:
        """Real inputs (n, ...) to real outputs (n, ...): quantized and dequantized around `run`.

        `pixel_range` is what pixels 0 and 255 have become in them; see `TensorSpec.quantize`.
        """
        self._check_count(batches)
        stored = [
            spec.quantize(batch, pixel_range)
            for spec, batch in zip(self.inputs, batches, strict=True)
        ]
        return self.dequantize(self.run_each(*stored))

    def run_each(self, *batches: np.ndarray) -> list[np.ndarray]:
        """Stored inputs (n, ...) each to stored outputs (n, ...), a sample at a time."""
        rows = [self.run([batch[i : i + 1] for batch in batches]) for i in range(len(batches[0]))]
        return [np.concatenate(column) for column in zip(*rows, strict=True)]

    def _check_count(self, inputs: Sequence[np.ndarray]) -> None:
        if len(inputs) != len(self.inputs):
            raise ValueError(f"{self.path.name} takes {len(self.inputs)} inputs, got {len(inputs)}")

    def dequantize(self, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Stored outputs to float32 reals."""
        return [spec.dequantize(output) for spec, output in zip(self.outputs, outputs, strict=True)]


def describe(path: Path) -> dict:
    """The sha256, inputs and outputs of a `.tflite` file as plain values.

    It loads the file, which a broken one may crash: call it in a worker process.
    """
    session = LiteRTSession(path)
    return {
        "sha256": sha256_of(path),
        "inputs": [asdict(spec) for spec in session.inputs],
        "outputs": [asdict(spec) for spec in session.outputs],
    }


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


def _spec(details: dict) -> TensorSpec:
    scales = details["quantization_parameters"]["scales"]
    zero_points = details["quantization_parameters"]["zero_points"]
    return TensorSpec(
        name=details["name"],
        shape=tuple(int(side) for side in details["shape"]),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scales[0]) if len(scales) else None,
        zero_point=int(zero_points[0]) if len(zero_points) else None,
    )


def _check(model: str, spec: TensorSpec, value: np.ndarray) -> None:
    if value.dtype.name != spec.dtype:
        how = (
            f" (scale {spec.scale:g}, zero point {spec.zero_point}): quantize it first, "
            "with TensorSpec.quantize or LiteRTSession.predict"
            if spec.is_quantized
            else ": convert it first"
        )
        raise TypeError(
            f"{model}: input {spec.name} takes {spec.dtype}, got {value.dtype.name}{how}"
        )
    if value.shape != spec.shape:
        raise ValueError(f"{model}: input {spec.name} takes shape {spec.shape}, got {value.shape}")
