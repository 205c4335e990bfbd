"""A checkpoint of the Hugging Face Hub on disk: its configuration, and tensors read in ranges.

    config.json, model.safetensors
    config.json, model.safetensors.index.json, model-00001-of-00002.safetensors, ...

Checkpoints are untrusted input. Pickled files (`*.bin`, `*.pt`) are never opened, nothing outside
of the directory is read, and the library `safetensors` judges every header before it is used
(https://huggingface.co/docs/safetensors: 8 bytes of length, a JSON header, the tensors).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from int8gate.engine.errors import on_a_line

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
FLOATS = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}  # in numpy's words
EXPONENTS = {"BF16": 0x7F80, "F16": 0x7C00, "F32": 0x7F800000}  # all bits set: NaN or infinity
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
LARGEST_JSON = 100_000_000  # bytes; what safetensors admits for a header
TIED, TIED_TO = "lm_head.weight", "model.embed_tokens.weight"  # one matrix, in many models
SHIFT = 16  # bfloat16 is the upper half of float32


@dataclass(frozen=True)
class Tensor:
    """One tensor of a shard: `dtype` is a key of `FLOATS` or another of safetensors' names,
    `start` the place of its first byte in `file`.
    """

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int

    @property
    def rows(self) -> int:
        """The length of the first dimension; 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    def raw_rows(self, first: int, last: int) -> np.ndarray:
        """Rows `first` to `last` as they are stored, uint16 or uint32, (rows, values of a row).

        Raises ValueError where the file has become shorter since it was opened.
        """
        row_bytes = self.nbytes // max(self.rows, 1)
        buffer = bytearray((last - first) * row_bytes)
        with open(self.file, "rb", buffering=0) as file:
            file.seek(self.start + first * row_bytes)
            view, done = memoryview(buffer), 0
            while done < len(buffer):
                count = file.readinto(view[done:])
                if not count:
                    raise ValueError(
                        f"{self.file} ends inside of tensor {self.name}: it was changed while it "
                        "was read; download it again"
                    )
                done += count
        width = np.uint32 if self.dtype == "F32" else np.uint16
        return np.frombuffer(buffer, width).reshape(last - first, row_bytes // width().itemsize)

    def float_rows(self, first: int, last: int) -> np.ndarray:
        """Rows `first` to `last` as float32, (rows, values of a row); widening loses nothing.

        Raises ValueError for a value that is not finite.
        """
        raw = self.finite_rows(first, last)
        if self.dtype == "BF16":
            values = raw.astype(np.uint32)
            values <<= SHIFT
            return values.view(np.float32)
        return raw.view(FLOATS[self.dtype]).astype(np.float32, copy=False)

    def finite_rows(self, first: int, last: int) -> np.ndarray:
        """As `raw_rows`; raises ValueError for a value that is not finite."""
        raw = self.raw_rows(first, last)
        exponent = raw.dtype.type(EXPONENTS[self.dtype])
        if ((raw & exponent) == exponent).any():
            row = first + int(np.flatnonzero(((raw & exponent) == exponent).any(axis=1))[0])
            raise ValueError(
                f"{self.file}: tensor {self.name} holds NaN or infinity in row {row}, and weights "
                "must be finite: the checkpoint is damaged or was saved from a diverged training"
            )
        return raw


@dataclass(frozen=True)
class Checkpoint:
    """The configuration as it stands in config.json, and the tensors by name."""

    directory: Path
    config: dict
    tensors: dict[str, Tensor]
    identity: str  # of the configuration, the headers, the sizes and times of the shards

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


def open_checkpoint(directory: Path) -> Checkpoint:
    """Reads config.json and the headers of all shards; no weights.

    Raises ValueError, in one sentence, for what is missing, truncated, damaged, of another dtype
    than bfloat16, float16 and float32, or outside of the directory.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ValueError(
            f"{directory} is no directory: name the one that holds {CONFIG} and *.safetensors"
        )
    config = _read_json(_inside(directory, CONFIG))
    if "quantization_config" in config:
        raise ValueError(
            f"{directory / CONFIG} has a quantization_config: the checkpoint is quantized already; "
            "start from the one of bfloat16, float16 or float32"
        )
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    tensors: dict[str, Tensor] = {}
    located = _located(directory)
    for name in sorted(set(located.values())) if located else [SINGLE]:
        file = _inside(directory, name)
        header, shard = _read_shard(file)
        stat = file.stat()
        digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns} ".encode() + header)
        _check_index(directory / INDEX, located, name, shard)
        tensors |= {each.name: each for each in shard}
    return Checkpoint(directory, config, tensors, digest.hexdigest())


def _located(directory: Path) -> dict[str, str]:
    """By tensor the file that the index names; empty for a checkpoint of a single file.

    Raises ValueError where there is neither.
    """
    if not (directory / INDEX).exists():
        if (directory / SINGLE).exists():
            return {}
        pickled = [file.name for kind in PICKLES for file in sorted(directory.glob(kind))]
        reason = (
            f"{pickled[0]} is pickled Python, which is never opened: convert it to safetensors"
            if pickled
            else "download the checkpoint's *.safetensors"
        )
        raise ValueError(f"{directory} holds neither {SINGLE} nor {INDEX}: {reason}")
    index = _read_json(_inside(directory, INDEX))
    located = index.get("weight_map")
    if not isinstance(located, dict) or not located or not _all_text(located.values()):
        raise ValueError(
            f"{directory / INDEX}: expected `weight_map`, the file of each tensor; download it "
            "again"
        )
    return located


def _all_text(values: Iterable) -> bool:
    return all(isinstance(value, str) for value in values)


def _inside(directory: Path, name: str) -> Path:
    """The file of that name; raises ValueError where it is missing, or not in the directory.

    The Hub's cache is a directory of links to the `blobs` of the same repository, which may be
    read.
    """
    file = directory / name
    if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
        raise ValueError(
            f"{directory / INDEX} names the file {on_a_line(name)!r}, which is a path, and only "
            "files of the checkpoint's own directory are read: do not use this checkpoint"
        )
    home = Path(os.path.realpath(directory))
    allowed = [home]
    if home.parent.name == "snapshots":
        allowed.append(home.parent.parent / "blobs")
    real = Path(os.path.realpath(file))
    if not any(real.is_relative_to(place) for place in allowed):
        raise ValueError(
            f"{file} is a link to {str(real)!r}, outside of {directory}: copy the file there, if "
            "you trust it"
        )
    if not real.is_file():
        raise ValueError(f"{file} is missing: download the checkpoint again, all of its files")
    return file


def _read_json(file: Path) -> dict:
    """Raises ValueError for what is not one JSON object, or far too large for one."""
    if file.stat().st_size > LARGEST_JSON:
        raise ValueError(f"{file} is larger than {LARGEST_JSON // 10**6} MB: it is no such file")
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON ({error}): download it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: expected a JSON object, and it is a {type(content).__name__}")
    return content


def _read_shard(file: Path) -> tuple[bytes, list[Tensor]]:
    """The header, and the tensors in the order in which they lie.

    Raises ValueError for a truncated or damaged file, and for a tensor that is not of floats.
    """
    size = file.stat().st_size
    with open(file, "rb") as opened:
        start = opened.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(LARGEST_JSON, size - 8):
            raise ValueError(
                f"{file} of {size:,} bytes does not begin with the header of a safetensors file: "
                "it is truncated or damaged; download it again"
            )
        header = opened.read(length)
    tensors = list(_tensors(file, header))
    expected = 8 + length + sum(tensor.nbytes for tensor in tensors)
    if size < expected:
        raise ValueError(
            f"{file} is truncated: expected {expected:,} bytes by its header, found {size:,}; "
            "download it again"
        )
    _check_by_library(file)
    for tensor in tensors:
        if tensor.dtype not in FLOATS:
            raise ValueError(
                f"{file}: tensor {on_a_line(tensor.name)} is {on_a_line(tensor.dtype)}, expected "
                f"one of {', '.join(FLOATS)}: start from a checkpoint that is not quantized"
            )
        if tensor.nbytes != math.prod(tensor.shape) * (4 if tensor.dtype == "F32" else 2):
            raise ValueError(f"{file}: tensor {on_a_line(tensor.name)} has another size than shape")
    return header, sorted(tensors, key=lambda tensor: tensor.start)


def _tensors(file: Path, header: bytes) -> Iterator[Tensor]:
    try:
        entries = json.loads(header)
        for name, entry in entries.items():
            if name == "__metadata__":
                continue
            begin, end = map(int, entry["data_offsets"])
            shape = tuple(map(int, entry["shape"]))
            yield Tensor(
                name, file, str(entry["dtype"]), shape, 8 + len(header) + begin, end - begin
            )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{file} has a damaged header ({type(error).__name__}: {error}); download it again"
        ) from error


def _check_by_library(file: Path) -> None:
    """What the header says of places must fit together: no holes, no overlaps, nothing behind."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np"):
            pass
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}): download it again") from error


def _check_index(index: Path, located: dict[str, str], name: str, shard: list[Tensor]) -> None:
    """Raises ValueError where the index and the shard differ in what the shard holds."""
    if not located:
        return
    listed = {tensor for tensor, file in located.items() if file == name}
    present = {tensor.name for tensor in shard}
    for names, sentence in (
        (listed - present, "was expected in {0} by {1}, and is not there"),
        (present - listed, "is in {0}, and {1} does not list it there"),
    ):
        if names:
            tensor = on_a_line(min(names))
            raise ValueError(
                f"tensor {tensor} ({len(names)} such) {sentence.format(name, index)}: index and "
                "shards are of different versions; download all of them again"
            )
