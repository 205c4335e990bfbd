"""Hostile files that the framework itself writes and reads again: tables, records, weights."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

KIND, SUFFIX = "readable", ".toml"
DEEP_TOML = b"x = " + b"[" * 50_000 + b"]" * 50_000
DEEP_JSON = b'{"cases": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"


def sound(path: Path) -> Path:
    """A declaration, which is damaged."""
    (path.parent / "tiny.onnx").write_bytes(b"not opened yet")
    path.write_text('[models.tiny]\nfile = "tiny.onnx"\ntask = "classification"\n')
    return path


def read(file: Path) -> str:
    """By its name: a declaration, a baseline, a run, predictions, weights."""
    from int8gate.model_zoo.user_models.toml_file import read_zoo
    from int8gate.model_zoo.weights import read_safetensors
    from int8gate.validation.comparing import baseline_file, history
    from int8gate.validation.comparing import sample_scores as predictions

    if file.name == "baseline.toml":
        return str(baseline_file.read(file))[:100]
    if file.suffix == ".toml":
        return ", ".join(model.name for model in read_zoo(file))
    if file.suffix == ".json":
        return history.read_run(file).name
    if file.suffix == ".npz":
        return predictions.read(file).case
    return ", ".join(read_safetensors(file))


def _file(name: str, content):
    """A case: a file of this name beside the one that is asked for."""

    def write(path: Path) -> Path:
        sound(path)
        file = path.with_name(name)
        file.write_bytes(content() if callable(content) else content)
        return file

    return write


def _declared(text: str):
    return _file("models.toml", text.encode())


def _archived(**members: bytes):
    def content() -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, inside in members.items():
                archive.writestr(f"{name}.npy", inside)
        return file.getvalue()

    return _file("predictions.npz", content)


class _Command:
    def __reduce__(self) -> tuple:
        import os

        return os.system, ("touch /tmp/hostile-ran",)


def _objects() -> bytes:
    """An .npy file of pickled objects."""
    import numpy as np

    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|O", "fortran_order": False, "shape": (1,)}
    )
    return file.getvalue() + pickle.dumps([_Command()])


def _huge_array() -> bytes:
    import numpy as np

    file = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (2**40,)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def _tensors(header: object, size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + bytes(16)


def _tensor(shape: list, end: int = 16, dtype: str = "F32") -> bytes:
    return _tensors({"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}})


WEIGHTS = "tiny.safetensors"
RESULTS = "results.json"
BASELINE = "baseline.toml"
SPECIAL = {
    "models-nested": _file("models.toml", DEEP_TOML),
    "models-name-path": _declared('[models."../../outside/ran"]\nfile = "tiny.onnx"\n'),
    "models-name-shell": _declared('[models."$(id)"]\nfile = "tiny.onnx"\n'),
    "models-name-null": _declared('[models."a\\u0000b"]\nfile = "tiny.onnx"\n'),
    "models-name-lines": _declared('[models."a\\nb"]\nfile = "tiny.onnx"\n'),
    "models-name-empty": _declared('[models.""]\nfile = "tiny.onnx"\n'),
    "models-file-null": _declared('[models.a]\nfile = "a\\u0000.onnx"\n'),
    "models-file-list": _declared('[models.a]\nfile = ["tiny.onnx"]\n'),
    "models-size-huge": _declared('[models.a]\nfile = "tiny.onnx"\nsize = [1e400, 5]\n'),
    "models-hook": _declared(
        '[models.a]\nfile = "tiny.onnx"\ntask = "classification"\ndecode = "os;system:x y"\n'
    ),
    "models-long": _file("models.toml", b"x = 1\n" * 200_000),
    "models-date": _declared("models = 9999-99-99\n"),
    "baseline-nested": _file(BASELINE, DEEP_TOML),
    "baseline-text": _file(BASELINE, b"schema = 'x'\n"),
    "baseline-bytes": _file(BASELINE, b"\xff\xfe\0\0"),
    "baseline-half": _file(BASELINE, b"schema = 1\n[cases"),
    "baseline-tables": _file(BASELINE, b"schema = 1\ncases = 3\n"),
    "results-nested": _file(RESULTS, DEEP_JSON),
    "results-list": _file(RESULTS, b"[1, 2]"),
    "results-number": _file(RESULTS, b"1" * 5000),
    "results-bytes": _file(RESULTS, b"\xff\xfe\0\0"),
    "results-empty": _file(RESULTS, b""),
    "results-cases": _file(
        RESULTS, b'{"schema": 1, "cases": [{"id": "../../x"}], "environment": {}}'
    ),
    "results-benchmarks": _file(RESULTS, b'{"benchmarks": [{"extra_info": {"case": 5}}]}'),
    "predictions-objects": _archived(about=b"{}", statistics=_objects(), sources=_objects()),
    "predictions-bomb": _archived(about=bytes(200_000_000)),
    "predictions-huge": _archived(about=_huge_array(), statistics=b"", sources=b""),
    "predictions-pickle": _file("predictions.npz", lambda: pickle.dumps(_Command())),
    "predictions-text": _file("predictions.npz", b"PK\x03\x04 no archive"),
    "weights-header": _file(WEIGHTS, _tensors({}, 2**62)),
    "weights-nested": _file(WEIGHTS, _tensors(b'{"a":' * 5000)),
    "weights-huge": _file(WEIGHTS, _tensor([2**40])),
    "weights-wraps": _file(WEIGHTS, _tensor([2**62, 2**62])),
    "weights-beyond": _file(WEIGHTS, _tensor([4], 10**12)),
    "weights-dtype": _file(WEIGHTS, _tensor([4], 16, "EVIL")),
    "weights-unusual-dtype": _file(WEIGHTS, _tensor([16], 16, "F8_E5M2")),
    "weights-negative": _file(WEIGHTS, _tensor([-4])),
    "weights-pickle": _file(WEIGHTS, lambda: pickle.dumps(_Command())),
}
