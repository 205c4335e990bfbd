"""The session that executes a model file, by what the file is."""

from __future__ import annotations

from pathlib import Path

from int8gate.runtimes.session import Session


def open_session(path: Path, threads: int = 1, provider: str | None = None) -> Session:
    """A session on the host CPU: `.tflite`, `.onnx`, `.pt2`, or a SavedModel's directory.

    The latter two are what an export is compared with. Raises ValueError naming a file that cannot
    be loaded. `provider` is an execution provider of ONNX Runtime.
    """
    if path.is_dir():
        from int8gate.runtimes.tensorflow_graphs import SavedModelSession

        return SavedModelSession(path)
    if path.suffix == ".pt2":
        from int8gate.runtimes.torch_program import TorchProgramSession

        return TorchProgramSession(path, trust=True)  # an export of ours
    if path.suffix == ".onnx":
        from int8gate.runtimes.onnx_session import OnnxSession

        return OnnxSession(path, threads, **({"provider": provider} if provider else {}))
    from int8gate.runtimes.litert import LiteRTSession

    return LiteRTSession(path, threads)
