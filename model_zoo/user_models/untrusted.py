"""Reading a model file that anybody may have made: bounded memory, and one sentence when it fails.

What each format is searched for stands with its reader. This is the last net around all of them: a
library may still fail in its own words on a damaged file, or ask for memory that nobody counted.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from int8gate.engine import memory

LIBRARIES = {  # what a format is read with: imported first, so that it does not count
    "tflite": ("ai_edge_litert.interpreter", "ai_edge_litert.schema_py_generated"),
    "onnx": ("onnx",),
    "keras": ("keras", "h5py"),
    "saved_model": ("tensorflow",),
    "frozen_graph": ("tensorflow",),
    "pytorch": ("torch.export", "torch.export.pt2_archive._package"),
}
MOST_SAID = 400  # characters of a sentence


@contextlib.contextmanager
def reading(file: Path, format: str) -> Iterator[None]:
    """Around the reading of a file: what fails in it is a ValueError or OSError in one sentence.

    The process may take `memory.reading_takes` of its files meanwhile. The sentence stands on one
    line, whatever names the file holds.
    """
    for library in LIBRARIES.get(format, ()):
        importlib.import_module(library)
    try:
        with memory.at_most(memory.reading_takes(*_files(file, format))):
            yield
    except OSError as error:
        raise OSError(_plain(str(error))) from error
    # Of protobuf, flatbuffers, h5py, zipfile, SymPy and the rest there is no common exception.
    except Exception as error:
        raise ValueError(_sentence(file, format, error)) from error


def _files(file: Path, format: str) -> list[Path]:
    """The file and, of an ONNX model, those of its weights; a damaged one is refused later."""
    if format == "onnx":
        from int8gate.runtimes import onnx_file

        with contextlib.suppress(Exception):
            return onnx_file.files_of(file)
    return [file]


def check_ends(file: Path, ends) -> None:
    """Raises ValueError for an input or output that is empty or takes absurd memory."""
    for end in ends:
        if 0 in end.shape:
            raise ValueError(f"{file}: {end.name[:80]!r} has a side of 0: export the model again")
        try:
            itemsize = np.dtype(end.dtype).itemsize
        except TypeError:  # bfloat16 and others that NumPy does not have
            itemsize = 1
        memory.check_tensor(str(file), end.name[:80], end.shape, itemsize)


def _sentence(file: Path, format: str, error: Exception) -> str:
    said = _plain(str(error))
    if memory.was_refused(error) and not said.startswith(str(file)):
        return (
            f"{file} asks for {memory.TIMES} times its size and {memory.gib(memory.READING)} of "
            "memory, or more, to be read, which is refused: it is damaged, or made to fill memory"
        )
    if isinstance(error, ValueError) and said:
        return said if file.name in said else f"{file}: {said}"[:MOST_SAID]
    kind = format.replace("_", " ")
    reason = f"{type(error).__name__}: {said.split('. ')[0]}"[:160].rstrip(": ")
    return f"{file} is damaged or no {kind} model ({reason}): copy or export it again"


def _plain(text: str) -> str:
    """On one line, as one sentence, without control characters; what is long loses its middle."""
    line = re.sub(r"[.!?] (?=[A-Z])", "; ", " ".join(text.split()))
    if not line.isprintable():
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    if len(line) <= MOST_SAID:
        return line
    return f"{line[: MOST_SAID - 160]} [...] {line[-150:]}"
