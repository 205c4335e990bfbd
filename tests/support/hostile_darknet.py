"""Hostile Darknet files; cut and flipped is the file of weights."""

from __future__ import annotations

from pathlib import Path

KIND, SUFFIX = "darknet", ".cfg"
CFG = """[net]
width={width}
height={height}
channels={channels}
[convolutional]
filters={filters}
size={size}
stride={stride}
pad=1
activation=linear
[upsample]
stride={up}
"""
ORDINARY = {"width": 16, "height": 16, "channels": 3, "filters": 4, "size": 3, "stride": 1, "up": 2}


HEADER = b"\0\0\0\0\x02\0\0\0\x05\0\0\0" + bytes(8)


def sound(path: Path) -> Path:
    from int8gate.model_zoo.importers.darknet.importer import DarknetNetwork, write_darknet

    return write_darknet(DarknetNetwork(CFG.format(**ORDINARY)), path.parent, path.stem)[1]


def load(file: Path, found) -> None:
    from int8gate.model_zoo.importers.darknet.importer import import_darknet

    import_darknet(file, file.with_suffix(".weights"))


def _with(**options):
    return _text(CFG.format(**ORDINARY | options))


def _text(text: str | bytes, weights: bytes | None = None):
    def write(path: Path) -> None:
        sound(path)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        if weights is not None:
            path.with_suffix(".weights").write_bytes(weights)

    return write


def _layers(count: int) -> str:
    head = "[net]\nwidth=16\nheight=16\nchannels=3\n"
    return head + "[convolutional]\nfilters=4096\nsize=3\npad=1\n" * count


SPECIAL = {
    "width": _with(width=10**9),
    "width-digits": _with(width="9" * 5000),
    "height-negative": _with(height=-1),
    "channels": _with(channels=2**31),
    "filters": _with(filters=10**9),
    "filters-many-digits": _with(filters=10**30),
    "size": _with(size=10**6 + 1),
    "everything": _with(size=10**9, filters=10**9, channels=10**9),
    "stride-zero": _with(stride=0),
    "upsampled": _with(up=10**7),
    "not-a-number": _with(filters="__import__('os').system('id')"),
    "many-layers": _text(_layers(200)),
    "sections": _text("[net]\n" * 100_000),
    "binary": _text(b"[net]\n\xff\xfe\0\x01"),
    "null": _text("[net]\0\nwidth=1\0\n"),
    "section-name": _text("[net]\nwidth=8\nheight=8\nchannels=3\n[$(id)\x1b[31m]\n"),
    "long-line": _text("[net]\nwidth=" + "1" * 3_000_000),
    "huge": _text("#" * 11_000_000),
    "from-nowhere": _text("[net]\nwidth=8\nheight=8\nchannels=3\n[route]\nlayers=99\n"),
    "weights-of-nan": _text(CFG.format(**ORDINARY), HEADER + b"\xff\xff\xff\x7f" * 112),
    "weights-header": _text(CFG.format(**ORDINARY), b"\xff" * 20),
}
