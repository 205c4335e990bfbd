"""Picture files that were made to break their reader: one sentence each, in little time and memory.

What merely is damaged, or of another kind, is in test_folder_pictures.py.
"""

from __future__ import annotations

import io
import struct
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from data_folders import pixels, refused, write
from PIL import Image

from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.folders import open_data
from int8gate.calibration_data.pictures import (
    FORMATS,
    MOST_PIXELS,
    open_picture,
    picture_size,
    shown,
)


def png(width: int, height: int, body: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of one IDAT chunk with a true header and true checksums."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = body or zlib.compress(bytes(100))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def claiming(kind: str, width: int, height: int) -> bytes:
    """The header of a small picture, changed to claim another size."""
    if kind == "PNG":
        return png(width, height)
    file = io.BytesIO()
    Image.fromarray(pixels(1, (8, 8, 3))).save(file, kind)
    content = bytearray(file.getvalue())
    if kind == "BMP":
        content[18:26] = struct.pack("<ii", width, height)
    elif kind == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", height, width)
    elif kind == "TIFF":
        entries = struct.unpack_from("<H", content, struct.unpack_from("<I", content, 4)[0])[0]
        first = struct.unpack_from("<I", content, 4)[0] + 2
        for entry in range(first, first + 12 * entries, 12):
            tag = struct.unpack_from("<H", content, entry)[0]
            if tag in (256, 257):
                struct.pack_into("<HII", content, entry + 2, 4, 1, (width, height)[tag - 256])
    return bytes(content)


def opened(folder: Path, content: bytes, name: str = "x.png"):
    """The frame and label of an evaluation set of this one file."""
    write(folder / "calibration" / "other.png", 4321)
    (folder / "evaluation").mkdir(exist_ok=True)
    (folder / "evaluation" / name).write_bytes(content)
    return open_data(folder, "classification", "evaluation", Fit((32, 32)), "none").sample(0)


def measured(call) -> tuple[float, int]:
    """Seconds of the processor, and the most bytes that Python and NumPy held."""
    tracemalloc.start()
    try:
        begun = time.process_time()
        call()
        return time.process_time() - begun, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG", "TIFF"])
@pytest.mark.parametrize("size", [(9000, 9000), (60_000, 60_000), (65_500, 1025)], ids=str)
def test_sizes_beyond_the_limit_are_refused_by_the_header(kind, size, tmp_path):
    assert size[0] * size[1] > MOST_PIXELS
    name = f"x.{kind.lower()}"
    seconds, most = measured(
        lambda: refused(lambda: opened(tmp_path, claiming(kind, *size), name), name, "limit")
    )
    assert seconds < 5
    assert most < 50_000_000, "memory was taken for pixels"


@pytest.mark.parametrize(
    "size", [(2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (1, 2**31 - 1), (0, 5), (5, 0)], ids=str
)
def test_absurd_dimensions(size, tmp_path):
    refused(lambda: opened(tmp_path, png(*size)), "x.png", "replace or remove")


def test_pillows_warning_is_not_left_to_be_read(tmp_path, recwarn):
    """Between Pillow's two limits it only warns; 9500 x 9500 lies there."""
    refused(lambda: opened(tmp_path, png(9500, 9500)), "limit", "replace or remove")
    assert not [w for w in recwarn if issubclass(w.category, Image.DecompressionBombWarning)]


def test_a_picture_within_the_limit_that_is_packed_a_thousandfold(tmp_path):
    """25 MP of zeros in 75 KB: it is small enough to be decoded, and is."""
    rows = zlib.compress(bytes((1 + 3 * 5000) * 5000), 9)
    image, _ = opened(tmp_path, png(5000, 5000, rows))
    assert (image == 0).all()


def test_a_chunk_of_text_that_unpacks_to_much(tmp_path):
    bomb = zlib.compress(bytes(200_000_000), 9)
    text = b"Comment\0\0" + bomb
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + text))
    rows = zlib.compress(bytes((1 + 3 * 40) * 40))
    content = png(40, 40, rows)
    seconds, most = measured(
        lambda: _read_or_refused(tmp_path, content[:33] + chunk + content[33:])
    )
    assert seconds < 5
    assert most < 100_000_000


def _read_or_refused(folder: Path, content: bytes) -> None:
    try:
        image, _ = opened(folder, content)
    except ValueError as error:
        assert "x.png" in str(error)  # noqa: PT017
    else:
        assert image.shape == (32, 32, 3)


def test_nearly_nothing_but_length(tmp_path):
    rows = zlib.compress(bytes((1 + 3 * 40_000) * 16), 9)
    opened(tmp_path, png(40, 40, zlib.compress(bytes((1 + 3 * 40) * 40))))
    (tmp_path / "evaluation" / "x.png").write_bytes(png(40_000, 16, rows))
    fit = Fit((32, 32), "crop", 0.875)
    asked = (tmp_path, "classification", "evaluation", fit, "none")
    refused(lambda: open_data(*asked), "40000x16", "next to nothing")


@pytest.mark.parametrize("kind", ["GIF", "PPM", "ICO", "EPS", "PDF", "TGA", "PCX", "SGI"])
def test_only_declared_formats_are_decoded(kind, tmp_path):
    """Pillow opens EPS with Ghostscript; most others have had a decoder that could be broken."""
    file = io.BytesIO()
    Image.fromarray(pixels(1, (40, 40, 3))).save(file, kind)
    assert kind not in FORMATS
    sentence = refused(lambda: opened(tmp_path, file.getvalue()), "x.png", "replace or remove")
    assert "not a picture in any known format" in sentence


def test_hostile_content(tmp_path):
    for number, content in enumerate(
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(id) system",
            b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
            b"\x80\x04\x95cos\nsystem\n(S'id'\ntR.",
            b"\xff\xd8\xff" * 1000,
            b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(40),
            b"II*\0\x08\0\0\0" + b"\xff" * 400,
            b"MM\0*\0\0\0\x08\xff\xff" + b"\0" * 400,
            b"BM" + b"\xff" * 60,
        )
    ):
        name = f"{number}.jpg"
        (tmp_path / name).write_bytes(content)
        refused(lambda name=name: open_picture(tmp_path / name, "RGB"), name, "replace or remove")
        refused(lambda name=name: picture_size(tmp_path / name), name, "replace or remove")


def test_a_file_that_may_not_be_read(tmp_path):
    file = write(tmp_path / "x.png", 1)
    refused(lambda: open_picture(file.with_name("absent.png"), "L"), "absent.png", "No such file")
    refused(lambda: open_picture(tmp_path, "L"), str(tmp_path), "directory")


def test_header_sizes_are_the_upright_pictures(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = write(tmp_path / "x.jpg", pixels(1, (20, 50, 3)), exif=exif)
    assert picture_size(file) == open_picture(file, "RGB").size == (20, 50)
    assert picture_size(write(tmp_path / "y.png", pixels(1, (20, 50, 3)))) == (50, 20)


def test_shown_names():
    assert shown("plain/é name.png") == "plain/é name.png"
    assert shown("a\nb\x1b[0m\udcff") == "a\\nb\\x1b[0m\\udcff"
    long = shown("x" * 10_000 + "end")
    assert len(long) < 300
    assert long.endswith("end")


def test_no_other_program_is_started(tmp_path, monkeypatch):
    """The audit hook sees every process that Python starts."""
    started = []
    sys.addaudithook(lambda event, _: started.append(event) if event in STARTS else None)
    file = io.BytesIO()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(file, "EPS")
    refused(lambda: opened(tmp_path, file.getvalue(), "x.jpg"), "x.jpg")
    assert not started


STARTS = {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork"}
