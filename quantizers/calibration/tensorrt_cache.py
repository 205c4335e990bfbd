"""TensorRT's text calibration cache: the symmetric range of each tensor.

    TRT-8601-EntropyCalibration2
    input: 3c010a14

The first line is TensorRT's version and the calibrator; then a line a tensor with its scale, the
bits of a float32 in hexadecimal, most significant byte first. The scale is the largest magnitude
of the range by 127 (NVIDIA, sampleINT8, "Calibration file"). TensorRT reads a cache only when
version and calibrator are its own; from version 11 on it takes explicit Q/DQ instead.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path

from int8gate.quantizers.calibration.thresholds import Range

_HEADER = re.compile(r"TRT-\w+-\w+")
_SCALE = re.compile(r"[0-9a-fA-F]{1,8}")
_STEPS = 127
_LARGEST = float.fromhex("0x1.fffffep127")  # of float32


def write_cache(path: Path, ranges: Mapping[str, Range], version: str = "8601") -> None:
    """Write the ranges, each widened to be symmetric.

    `version` is TensorRT's, its numbers joined ("8601" is 8.6.1, "100900" 10.9.0). Raises
    ValueError for a name or range that the format cannot hold.
    """
    lines = [f"TRT-{version}-EntropyCalibration2"]
    if not _HEADER.fullmatch(lines[0]):
        raise ValueError(f"TensorRT version {version!r}: expected digits, such as 8601")
    for name, (low, high) in ranges.items():
        if not name.strip() or name != name.strip() or len(name.splitlines()) != 1:
            raise ValueError(f"tensor name {name!r} does not fit a line of a TensorRT cache")
        size = max(abs(low), abs(high))
        if not size <= _LARGEST:
            raise ValueError(f"tensor {name!r} has the range {low}..{high}: not of float32 numbers")
        lines.append(f"{name}: {struct.pack('>f', size / _STEPS).hex()}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_cache(path: Path) -> dict[str, float]:
    """The largest magnitude of each tensor's range: the scale times 127.

    Raises ValueError naming the line that is not of the format.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    if not _HEADER.fullmatch(lines[0].strip()):
        raise ValueError(
            f"{path}, line 1: expected TRT-<version>-<calibrator>, found {lines[0][:80]!r}"
        )
    found: dict[str, float] = {}
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        name, colon, scale = line.rpartition(":")  # names hold colons too
        if not (colon and name.strip() and _SCALE.fullmatch(scale.strip())):
            raise ValueError(
                f"{path}, line {number}: expected a tensor's name, a colon and its scale as up to "
                f"8 hexadecimal digits, found {line[:80]!r}"
            )
        if name.strip() in found:
            raise ValueError(f"{path}, line {number}: tensor {name.strip()!r} stands twice")
        (value,) = struct.unpack(">f", int(scale, 16).to_bytes(4, "big"))
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{path}, line {number}: the scale {scale.strip()} is {value}")
        found[name.strip()] = value * _STEPS
    return found
