"""The statistics of all tensors: in a file, and as the rows that the report shows.

The file is an `.npz` without pickled objects. `format` is its version; `names` the tensors' names
as JSON (uint8, UTF-8); for each array of `TensorStatistics.to_arrays` there is one under its name
with those of all tensors end to end, and `<name>.lengths` (int64) tells how long each is. The same
statistics give the same bytes.
"""

from __future__ import annotations

import io
import json
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from int8gate.quantizers.calibration.expected_error import levels_used, saturation, sqnr
from int8gate.quantizers.calibration.statistics import TensorStatistics, outlier_ratio
from int8gate.quantizers.calibration.thresholds import Range

FORMAT = 1
Table = dict[str, TensorStatistics]


def write_table(path: Path, table: Mapping[str, TensorStatistics]) -> None:
    """Write the file; a reader sees the old one or all of the new one."""
    tensors = [stats.to_arrays() for stats in table.values()]
    names = json.dumps(list(table)).encode()
    arrays = {"format": np.array([FORMAT]), "names": np.frombuffer(names, np.uint8)}
    for part in TensorStatistics().to_arrays():
        pieces = [arrays_of_one[part] for arrays_of_one in tensors]
        arrays[part] = np.concatenate(pieces) if pieces else np.zeros(0)
        arrays[f"{part}.lengths"] = np.array([len(piece) for piece in pieces], np.int64)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_table(path: Path) -> Table:
    """Read what `write_table` wrote; raises ValueError when the file is damaged or another's."""
    try:
        # Each member is read whole before it is parsed: its checksum is looked at then, not before.
        with zipfile.ZipFile(path) as file:
            arrays = {
                name.removesuffix(".npy"): _parsed(file.read(name)) for name in file.namelist()
            }
        version = int(arrays["format"][0])
        if version == FORMAT:
            return _tensors(arrays)
    except (
        EOFError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        struct.error,
    ) as error:
        raise ValueError(
            f"{path} is not a readable table of calibration statistics ({error}): "
            "delete it and calibrate again"
        ) from error
    raise ValueError(
        f"{path} is a table of calibration statistics in format {version}, this version reads "
        f"format {FORMAT}: delete it and calibrate again"
    )


def merge_tables(*tables: Mapping[str, TensorStatistics]) -> Table:
    """The statistics of all the tables' samples together; the tables stay as they are.

    Raises ValueError when a tensor's numbers of channels differ, naming it.
    """
    merged: Table = {}
    for table in tables:
        for name, stats in table.items():
            try:
                merged.setdefault(name, TensorStatistics()).merge(stats)
            except ValueError as error:
                raise ValueError(f"tensor {name!r} {error}") from error
    return merged


def summary(
    table: Mapping[str, TensorStatistics], ranges: Mapping[str, Range] | None = None, bits: int = 8
) -> list[dict]:
    """A row for each tensor: the layer-wise statistics, JSON-ready.

    With `ranges` also what quantizing to those does: `low`, `high`, `saturation` (fraction of the
    elements clipped), `sqnr_db` (expected; None when there is no noise), and `levels_used`.
    """
    rows = []
    for name, stats in table.items():
        row = {"name": name, "count": stats.count, "masked": stats.masked}
        if stats.count:
            row |= _figures(stats)
        if stats.count and ranges and name in ranges:
            low, high = ranges[name]
            noise = sqnr(stats, low, high, bits)
            row |= {
                "low": low,
                "high": high,
                "saturation": saturation(stats, low, high, bits),
                "sqnr_db": noise if np.isfinite(noise) else None,
                "levels_used": levels_used(stats, low, high, bits),
            }
        rows.append(row)
    return rows


def _figures(stats: TensorStatistics) -> dict:
    return {
        "minimum": stats.minimum,
        "maximum": stats.maximum,
        "mean": stats.mean,
        "std": stats.variance**0.5,
        "zeros": stats.zeros / stats.count,
        "percentile_0.1": stats.histogram.quantile(0.001)[0],
        "percentile_99.9": stats.histogram.quantile(0.999)[1],
        "outlier_ratio": outlier_ratio(stats),
        "dead_channels": stats.dead_channels,
        "channels": None if stats.channel_low is None else len(stats.channel_low),
    }


def _parsed(member: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(member), allow_pickle=False)


def _tensors(arrays: Mapping[str, np.ndarray]) -> Table:
    names = json.loads(arrays["names"].tobytes())
    parts: dict[str, list[np.ndarray]] = {}
    for part in TensorStatistics().to_arrays():
        lengths = arrays[f"{part}.lengths"]
        if len(lengths) != len(names) or lengths.sum() != len(arrays[part]):
            raise ValueError(f"its array {part!r} does not fit its {len(names)} tensors")
        parts[part] = np.split(arrays[part], np.cumsum(lengths)[:-1])
    return {
        name: TensorStatistics.from_arrays({part: parts[part][i] for part in parts})
        for i, name in enumerate(names)
    }
