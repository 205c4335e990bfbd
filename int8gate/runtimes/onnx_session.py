"""ONNX Runtime with an explicit execution provider: measured, on the host CPU by default."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from int8gate.runtimes import onnx_file, ort
from int8gate.runtimes.artifact import TensorSpec
from int8gate.runtimes.ort import CPU
from int8gate.runtimes.session import UNKNOWN, ChannelsFirstSession

_MEMORY = "cpu"


class OnnxSession(ChannelsFirstSession):
    """A loaded `.onnx` file.

    `provider` executes every node: where it is missing or leaves nodes to another one, that is an
    error, unless `allow_fallback`; `providers` says which are in use. `level` is that of
    `ort.options`: without optimizations a QDQ file computes on floats between its quantizers,
    exactly, where a host's own kernels of integers may saturate. Raises ValueError naming the
    file when it cannot be loaded or an input's shape is not fixed.
    """

    def __init__(
        self,
        path: Path,
        threads: int = 1,
        provider: str = CPU,
        allow_fallback: bool = False,
        level: str = "ALL",
    ):
        self._session = _open(Path(path), threads, provider, allow_fallback, level)
        self.providers = tuple(self._session.get_providers())
        ends = self._session.get_inputs(), self._session.get_outputs()
        super().__init__(path, *(map(ort.spec_of, tensors) for tensors in ends))
        _check_fixed(self.path, self.inputs)
        self._binding = self._session.io_binding()
        self._bound = [self._bind(spec) for spec in self.inputs]
        for spec in self.outputs:
            self._binding.bind_output(spec.name, _MEMORY)

    def set_input(self, position: int, value: np.ndarray) -> None:
        self._bound[position].update_inplace(np.ascontiguousarray(value))

    def invoke(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def get_outputs(self) -> list[np.ndarray]:
        return self._binding.copy_outputs_to_cpu()

    def _bind(self, spec: TensorSpec):
        """Memory that belongs to ONNX Runtime for an input, which every run reads."""
        import onnxruntime

        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(spec.shape, spec.dtype))
        self._binding.bind_ortvalue_input(spec.name, value)
        return value


def describe(path: Path) -> dict:
    """The sha256, inputs and outputs of an `.onnx` file as plain values.

    It loads the file, which a broken one may crash: call it in a worker process.
    """
    return OnnxSession(path).description(onnx_file.digest(path))


def _open(path: Path, threads: int, provider: str, allow_fallback: bool, level: str):
    import onnxruntime

    if provider == ort.QNN:  # a plug-in, which is registered when it is asked for
        return _open_on_htp(path, threads)
    available = onnxruntime.get_available_providers()
    if provider not in available and not allow_fallback:
        raise ValueError(
            f"execution provider {provider} is not in this ONNX Runtime (it has "
            f"{', '.join(available)}): install the package that brings it, or allow the fallback"
        )
    is_strict = provider != CPU and not allow_fallback
    entries = {"session.disable_cpu_ep_fallback": "1"} if is_strict else {}
    wanted = [provider, *([CPU] if allow_fallback and provider != CPU else [])]
    chosen = [name for name in wanted if name in available]
    try:
        session = ort.open_model(
            path,
            ort.options(level, threads, entries),
            chosen,
            enable_fallback=int(allow_fallback),
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
    if reason := ort.qnn_unavailable():
        raise ValueError(reason)
    return ort.session_on_htp(path, ort.options(threads=threads))


def _check_fixed(path: Path, inputs: tuple[TensorSpec, ...]) -> None:
    for spec in inputs:
        if UNKNOWN in spec.shape:
            sides = ", ".join("?" if side == UNKNOWN else str(side) for side in spec.shape)
            raise ValueError(
                f"{path}: input {spec.name} has shape ({sides}), expected fixed sides: import the "
                "file with the shape of its pictures first"
            )
