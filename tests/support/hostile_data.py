"""Hostile folders of pictures: tables, annotations, masks and pictures that lead elsewhere or lie.

What a decoder does with a picture's bytes is in test_pictures_untrusted.py; here a whole folder is
opened and drawn, as calibration does.
"""

from __future__ import annotations

import functools
import json
import struct
import zlib
from pathlib import Path

KIND, SUFFIX = "data", ""
COUNT = 6


def sound(path: Path) -> Path:
    """Writes classes by a table; returns the first picture, which is damaged."""
    return _table(path)[0]


def read(folder: Path) -> str:
    """Draws every picture of both splits, for the task that the folder's files are of."""
    from int8gate.calibration_data.fit import Fit
    from int8gate.calibration_data.folders import open_data

    task = next((task for file, task in TASKS.items() if (folder / file).exists()), "other")
    for split in ("calibration", "evaluation"):
        samples = open_data(folder, task, split, Fit((16, 16)))
        for number in range(len(samples)):
            samples.sample(number)
    return f"{len(samples)} pictures"


TASKS = {
    "labels.csv": "classification",
    "annotations.json": "detection",
    "masks": "segmentation",
    "low": "super_resolution",
}


def _pictures(folder: Path) -> list[Path]:
    from data_folders import write

    return [write(folder / f"{number}.png", number) for number in range(COUNT)]


def _table(folder: Path, *lines: str) -> list[Path]:
    found = _pictures(folder)
    rows = [f"{file.name},{number % 2}" for number, file in enumerate(found)]
    (folder / "labels.csv").write_text("\n".join([*rows, *lines]), encoding="utf-8")
    return found


def _lines(*lines: str):
    return lambda path: _table(path, *lines) and None


def _raw_table(content: bytes):
    def write(path: Path) -> None:
        _table(path)
        (path / "labels.csv").write_bytes(content)

    return write


def _coco(change):
    """A folder with annotations, changed in place or replaced by bytes."""

    def write(path: Path) -> None:
        found = _pictures(path)
        told = {
            "images": [{"id": i, "file_name": f.name} for i, f in enumerate(found)],
            "annotations": [
                {"id": i, "image_id": i, "category_id": 1, "bbox": [5, 5, 10, 10]}
                for i in range(COUNT)
            ],
            "categories": [{"id": 1, "name": "thing"}],
        }
        answer = change(told)
        content = answer if isinstance(answer, bytes) else json.dumps(told).encode()
        (path / "annotations.json").write_bytes(content)

    return write


def _image(**values):
    return _coco(lambda told: told["images"][0].update(values))


def _annotation(**values):
    return _coco(lambda told: told["annotations"][0].update(values))


def _picture(content: bytes):
    def write(path: Path) -> None:
        sound(path).write_bytes(content)

    return write


def _masks(change):
    def write(path: Path) -> None:
        import numpy as np
        from data_folders import write_masked

        write_masked(path, COUNT, np.zeros((40, 40), np.uint8))
        change(path)

    return write


def _secret(path: Path) -> Path:
    return path.parent / "outside" / "secret"


def _linked(path: Path) -> None:
    first = sound(path)
    first.unlink()
    first.symlink_to(_secret(path.parent))


def _linked_table(path: Path) -> None:
    _table(path)
    (path / "labels.csv").unlink()
    (path / "labels.csv").symlink_to(_secret(path.parent))


def _linked_mask(path: Path) -> None:
    (path / "masks" / "0.png").unlink()
    (path / "masks" / "0.png").symlink_to(_secret(path.parent))


def _pair(path: Path) -> None:
    from data_folders import write

    for number in range(COUNT):
        write(path / "low" / f"{number}.png", number)
        write(path / "high" / f"{number}.png", number)


def _turning(path: Path) -> None:
    sound(path)
    (path / "loop.png").symlink_to(path / "loop.png")
    (path / "again").symlink_to(path)


def _chunk(kind: bytes, content: bytes) -> bytes:
    sum_of = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + sum_of


def _png(width: int, height: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100))
    parts = (_chunk(b"IHDR", header), *chunks, _chunk(b"IDAT", body), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@functools.cache
def _bomb() -> bytes:
    """300 MB of zeros, compressed: made where a test asks for it, in half a second."""
    return zlib.compress(bytes(300_000_000), 1)


def _bomb_in(kind: bytes, before: bytes):
    """A picture with such a chunk."""
    return lambda path: _picture(_png(40, 40, _chunk(kind, before + _bomb())))(path)


DEEP = b"[" * 200_000 + b"]" * 200_000
SPECIAL = {
    "table-above": _lines("../outside/secret,1"),
    "table-far-above": _lines("../../../../../../etc/passwd,1"),
    "table-absolute": _lines("/etc/passwd,1"),
    "table-null": _lines("a\0.png,1"),
    "table-device": _lines("/dev/zero,1"),
    "table-shell": _lines("$(id).png,1"),
    "table-lines": _lines('"a\nb.png",1'),
    "table-long-name": _lines("x" * 100_000 + ".png,1"),
    "table-columns": _lines("," * 100_000),
    "table-quotes": _raw_table(b'"' + b"x" * 1_000_000),
    "table-of-bytes": _raw_table(bytes(range(256)) * 100),
    "table-utf16": _raw_table("file,class\n0.png,1".encode("utf-16")),
    "table-huge": _raw_table(b"0.png,1\n" * 3_000_000),
    "table-empty": _raw_table(b""),
    "table-linked": _linked_table,
    "coco-above": _image(file_name="../outside/secret"),
    "coco-absolute": _image(file_name="/etc/passwd"),
    "coco-null": _image(file_name="a\0.png"),
    "coco-name-number": _image(file_name=7),
    "coco-size": _image(width=10**12, height=10**12),
    "coco-size-negative": _image(width=-1, height=5),
    "coco-size-digits": _coco(
        lambda told: json.dumps(told).replace('"id": 0', f'"id": {"9" * 5000}', 1).encode()
    ),
    "coco-box-huge": _annotation(bbox=[0, 0, 1e300, 1e300]),
    "coco-box-nan": _annotation(bbox=[float("nan")] * 4),
    "coco-box-text": _annotation(bbox="$(id)"),
    "coco-nested": _coco(lambda told: DEEP),
    "coco-list": _coco(lambda told: b"[1, 2, 3]"),
    "coco-half": _coco(lambda told: json.dumps(told).encode()[:100]),
    "coco-of-bytes": _coco(lambda told: bytes(range(256))),
    "coco-images-huge": _coco(lambda told: told.update(images=[{}] * 200_000)),
    "picture-linked": _linked,
    "folder-turning": _turning,
    "picture-60000": _picture(_png(60_000, 60_000)),
    "picture-of-2-billion": _picture(_png(2**31 - 1, 2**31 - 1)),
    "picture-of-nothing": _picture(_png(0, 0)),
    "picture-text-bomb": _bomb_in(b"zTXt", b"Comment\0\0"),
    "picture-profile-bomb": _bomb_in(b"iCCP", b"icc\0\0"),
    "picture-postscript": _picture(b"%!PS-Adobe-3.0 EPSF-3.0\n(touch /tmp/ran) system\n"),
    "picture-svg": _picture(b"<svg xmlns:x='http://www.w3.org/1999/xlink'/>"),
    "picture-length": _picture(_png(40, 40)[:33] + b"\xff\xff\xff\xffIDAT" + bytes(10)),
    "mask-linked": _masks(_linked_mask),
    "mask-bomb": _masks(lambda path: (path / "masks" / "0.png").write_bytes(_png(60_000, 60_000))),
    "mask-text": _masks(lambda path: (path / "masks" / "0.png").write_text("no mask")),
    "pairs-alike": _pair,
}
