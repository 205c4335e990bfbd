"""ONNX Runtime with an explicit execution provider: measured, on the host CPU by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from int8gate.runtimes import onnx_file, qnn
from int8gate.runtimes.artifact import TensorSpec

CPU = "CPUExecutionProvider"
UNKNOWN = -1  # an output dimension that only a run tells
_DTYPES = {"float": "float32", "double": "float64", "string": "str"}
_MEMORY = "cpu"


class OnnxSession:
    """A loaded `.onnx` file that runs one sample at a time (its batch dimension is 1).

    `provider` executes every node: where it is missing or leaves nodes to another one, that is an
    error, unless `allow_fallback`; `providers` says which are in use. Raises ValueError naming the
    file when it cannot be loaded or an input's shape is not fixed.
    """

    def __init__(
        self, path: Path, threads: int = 1, provider: str = CPU, allow_fallback: bool = False
    ):
        self.path = Path(path)
        self._session = _open(self.path, threads, provider, allow_fallback)
        self.providers = tuple(self._session.get_providers())
        self.inputs = tuple(_spec(found) for found in self._session.get_inputs())
        self.outputs = tuple(_spec(found) for found in self._session.get_outputs())
        _check_fixed(self.path, self.inputs)
        self._binding = self._session.io_binding()
        self._fed = [self._bound(spec) for spec in self.inputs]
        for spec in self.outputs:
            self._binding.bind_output(spec.name, _MEMORY)

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One inference on arrays of exactly the declared shapes and dtypes; so are the outputs.

        Raises TypeError for another dtype, ValueError for another shape: nothing is cast silently.
        """
        self.feed(inputs)
        self.invoke()
        return self._binding.copy_outputs_to_cpu()

    def feed(self, inputs: Sequence[np.ndarray]) -> None:
        """Checks and copies the inputs; see `run`."""
        self._check_count(inputs)
        for bound, spec, value in zip(self._fed, self.inputs, inputs, strict=True):
            _check(self.path.name, spec, value)
            bound.update_inplace(np.ascontiguousarray(value))

    def invoke(self) -> None:
        """Runs the network on what was fed, copying nothing: what a speed gate times."""
        self._session.run_with_iobinding(self._binding)

    def predict(
        self, *batches: np.ndarray, pixel_range: tuple[float, float] | None = None
    ) -> list[np.ndarray]:
        """Real inputs (n, ...) to real outputs (n, ...): quantized and dequantized around `run`.

        Pictures (n, h, w, c) are turned where the network takes (1, c, h, w). `pixel_range` is
        what pixels 0 and 255 have become in them; see `TensorSpec.quantize`.
        """
        self._check_count(batches)
        stored = [
            spec.quantize(in_layout(batch, spec.shape), pixel_range)
            for spec, batch in zip(self.inputs, batches, strict=True)
        ]
        return self.dequantize(self.run_each(*stored))

    def run_each(self, *batches: np.ndarray) -> list[np.ndarray]:
        """Stored inputs (n, ...) each to stored outputs (n, ...), a sample at a time."""
        rows = [self.run([batch[i : i + 1] for batch in batches]) for i in range(len(batches[0]))]
        return [np.concatenate(column) for column in zip(*rows, strict=True)]

    def dequantize(self, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Stored outputs to float32 reals."""
        return [spec.dequantize(output) for spec, output in zip(self.outputs, outputs, strict=True)]

    def _check_count(self, inputs: Sequence[np.ndarray]) -> None:
        if len(inputs) != len(self.inputs):
            raise ValueError(f"{self.path.name} takes {len(self.inputs)} inputs, got {len(inputs)}")

    def _bound(self, spec: TensorSpec):
        """Memory of ONNX Runtime's own for an input, which every run reads."""
        import onnxruntime

        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(spec.shape, spec.dtype))
        self._binding.bind_ortvalue_input(spec.name, value)
        return value


def in_layout(batch: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pictures (n, h, w, c) as the input of `shape` (1, c, h, w) takes them, else as they are.

    The artifact's own shape decides; pictures that fit it as they are stay so.
    """
    if batch.ndim != 4 or len(shape) != 4 or batch.shape[1:] == tuple(shape[1:]):
        return batch
    turned = batch.transpose(0, 3, 1, 2)
    return turned if turned.shape[1:] == tuple(shape[1:]) else batch


def describe(path: Path) -> dict:
    """The sha256, inputs and outputs of an `.onnx` file as plain values.

    It loads the file, which a broken one may crash: call it in a worker process.
    """
    session = OnnxSession(path)
    return {
        "sha256": onnx_file.digest(path),
        "inputs": [asdict(spec) for spec in session.inputs],
        "outputs": [asdict(spec) for spec in session.outputs],
    }


def _open(path: Path, threads: int, provider: str, allow_fallback: bool):
    import onnxruntime

    if provider == qnn.PROVIDER:  # a plug-in, which is registered when it is asked for
        return _open_on_htp(path, threads)
    available = onnxruntime.get_available_providers()
    if provider not in available and not allow_fallback:
        raise ValueError(
            f"execution provider {provider} is not in this ONNX Runtime (it has "
            f"{', '.join(available)}): install the package that brings it, or allow the fallback"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    if provider != CPU and not allow_fallback:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    wanted = [provider, *([CPU] if allow_fallback and provider != CPU else [])]
    chosen = [name for name in wanted if name in available]
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=chosen, enable_fallback=int(allow_fallback)
        )
    # ONNX Runtime raises classes of its own, each a direct child of Exception.
    except Exception as error:
        raise ValueError(f"ONNX Runtime cannot load {path} on {provider}: {error}") from error
    if not allow_fallback:
        session.disable_fallback()
        if session.get_providers()[0] != provider:
            raise ValueError(
                f"{path} was to run on {provider}, ONNX Runtime took {session.get_providers()[0]}: "
                "mend that provider's set-up, or allow the fallback"
            )
    return session


def _open_on_htp(path: Path, threads: int):
    """On the simulated HTP; what it does not take, float inputs and outputs above all, stays here.

    `targets.qnn_htp.compile_for_htp` says what that is.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    if reason := qnn.unavailable():
        raise ValueError(reason)
    return qnn.session_on_htp(path, options)


def _spec(found) -> TensorSpec:
    kind = found.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(side if isinstance(side, int) else UNKNOWN for side in found.shape)
    return TensorSpec(found.name, shape, _DTYPES.get(kind, kind))


def _check_fixed(path: Path, inputs: tuple[TensorSpec, ...]) -> None:
    for spec in inputs:
        if UNKNOWN in spec.shape:
            sides = ", ".join("?" if side == UNKNOWN else str(side) for side in spec.shape)
            raise ValueError(
                f"{path}: input {spec.name} has shape ({sides}), expected fixed sides: import the "
                "file with the shape of its pictures first"
            )


def _check(model: str, spec: TensorSpec, value: np.ndarray) -> None:
    if value.dtype.name != spec.dtype:
        raise TypeError(
            f"{model}: input {spec.name} takes {spec.dtype}, got {value.dtype.name}: "
            "convert it first"
        )
    if value.shape != spec.shape:
        raise ValueError(f"{model}: input {spec.name} takes shape {spec.shape}, got {value.shape}")
