"""Whether a `.pt2` archive of `torch.export` can be loaded without running what stands in it.

`torch.export.load` unpickles sample inputs, some weights and custom objects, loads compiled
libraries (AOTInductor), evaluates expressions of shapes and calls operators by name: each of these
runs code of whoever wrote the file (https://docs.pytorch.org/docs/stable/export/pt2_archive.html,
and torch/export/pt2_archive/_package.py of PyTorch 2.13, which this follows). So the archive is
read first, with PyTorch's own reader, and only what is data may be in it: raw tensors, a graph of
known operators (`program_graph.py`), and sample inputs that PyTorch's restricted unpickler takes.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

from int8gate.engine import memory
from int8gate.runtimes import archive
from int8gate.runtimes.program_graph import check_graph

NEEDED = "archive_format"
GRAPHS, SAMPLES = "models/", "data/sample_inputs/"
TENSORS = {"data/weights/": r"weight_\d+", "data/constants/": r"tensor_\d+"}
CONFIG = re.compile(r"[\w.]+_(weights|constants)_config\.json")
PASSIVE = re.compile(r"archive_format|archive_version|byteorder|version|\.data/\w+|extra/.*")
MOST_TEXT = 10**8  # bytes of a graph
ITEMSIZE = 16  # of the widest dtype, complex128
TRUST = "export the model again from plain tensors or, if you trust the file, pass --trust"


def check(path: Path) -> None:
    """Raises ValueError naming the file, and the member that is code or may hold code."""
    import torch

    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: copy or export it again")
    try:
        reader = torch._C.PyTorchFileReader(str(path))
        names = reader.get_all_records()
        sizes = {name: reader.get_record_size(name) for name in names}
    except (RuntimeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is no whole PyTorch program ({_first(error)}): export it again"
        ) from error
    if NEEDED not in sizes or not any(name.startswith(GRAPHS) for name in names):
        raise ValueError(
            f"{path} holds no program of torch.export (a file of torch.save, of TorchScript or of "
            "an old PyTorch?): export it with torch.export.save of PyTorch 2.8 or later"
        )
    archive.check_unpacked(path, sum(sizes.values()), path.stat().st_size)
    for name in names:
        try:
            _check_record(path, name, reader, sizes)
        except (RuntimeError, UnicodeDecodeError, json.JSONDecodeError, KeyError) as error:
            raise ValueError(
                f"{path}: {name[:100]!r} in it is damaged ({_first(error)}): export it again"
            ) from error


def _check_record(path: Path, name: str, reader, sizes: dict[str, int]) -> None:
    where = f"{path}: {name[:100]!r} in it"
    folder = next((folder for folder in TENSORS if name.startswith(folder)), None)
    inside = name.removeprefix(folder) if folder else ""
    if name.startswith(GRAPHS):
        _check_text(where, sizes[name])
        check_graph(where, reader.get_record(name), TRUST)
    elif folder and CONFIG.fullmatch(inside):
        _check_text(where, sizes[name])
        _check_tensors(where, folder, _parsed(where, reader.get_record(name)), sizes)
    elif name.startswith(SAMPLES):
        _check_samples(path, where, reader.get_record(name))
    elif not (folder and re.fullmatch(TENSORS[folder], inside)) and not PASSIVE.fullmatch(name):
        kind = "is compiled code" if "aotinductor" in name else "may hold pickled objects"
        raise ValueError(f"{where} {kind}, which is not loaded: {TRUST}")


def _check_text(where: str, size: int) -> None:
    if size > MOST_TEXT:
        raise ValueError(f"{where} has {size:,} bytes, more than the {MOST_TEXT:,} that are read")


def _parsed(where: str, content: bytes):
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError(f"{where} is nested too deeply: export the model again") from error


def _check_tensors(where: str, folder: str, config: object, sizes: dict[str, int]) -> None:
    """Every tensor is raw bytes that are there, and not larger than they are."""
    entries = config.get("config") if isinstance(config, dict) else None
    if not isinstance(entries, dict):
        raise ValueError(f"{where} lists no tensors: export the model again")
    for tensor, entry in entries.items():
        record = entry.get("path_name") if isinstance(entry, dict) else None
        if not isinstance(record, str) or not re.fullmatch(TENSORS[folder], record):
            raise ValueError(f"{where} lists the object {tensor[:80]!r}: {TRUST}")
        if entry.get("use_pickle"):
            raise ValueError(f"{where} says that tensor {tensor[:80]!r} is pickled: {TRUST}")
        stored = sizes.get(f"{folder}{record}")
        shape = _sides(entry.get("tensor_meta"))
        if stored is None or shape is None:
            raise ValueError(f"{where} describes no whole tensor {tensor[:80]!r}: export it again")
        if memory.size_of(shape, 1) > stored:  # zeros are made of what has a shape and no bytes
            memory.check_tensor(where, tensor[:80], shape, ITEMSIZE)


def _sides(meta: object) -> tuple[int, ...] | None:
    """The static shape in a `TensorMeta`, None where it has none."""
    sides = meta.get("sizes") if isinstance(meta, dict) else None
    if not isinstance(sides, list) or not all(isinstance(side, dict) for side in sides):
        return None
    found = tuple(side.get("as_int") for side in sides)
    return found if all(type(side) is int and side >= 0 for side in found) else None


def _check_samples(path: Path, where: str, content: bytes) -> None:
    """PyTorch reads them with its restricted unpickler, and with the open one where that fails."""
    import torch

    if not content:
        return
    try:
        inner = torch._C.PyTorchFileReader(io.BytesIO(content))
        unpacked = sum(inner.get_record_size(name) for name in inner.get_all_records())
        archive.check_unpacked(path, unpacked, len(content))
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    # It raises UnpicklingError, RuntimeError and what the pickled bytes provoke.
    except Exception as error:
        raise ValueError(
            f"{where} holds pickled objects beside tensors, or is damaged: {TRUST}"
        ) from error


def _first(error: Exception) -> str:
    return " ".join(str(error).split()).split(". ")[0][:120]
