"""What the tests of the artifact cache build, and look for afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = {"model": "unet", "recipe": "tflite_int8", "samples": 100}


def build_two(directory: Path) -> dict:
    (directory / "model.tflite").write_bytes(bytes(range(256)) * 40)
    (directory / "ranges").mkdir()
    (directory / "ranges" / "0.bin").write_bytes(b"\0" * 100)
    return {"seconds": 1.5, "shape": (1, 2)}


def refuse(_: Path) -> None:
    raise AssertionError("must not be built")


def leftovers(root: Path) -> list[Path]:
    return list(root.glob(".building/*"))


def flip(path: Path, position: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def run_python(code: str, *args: object, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **options)
