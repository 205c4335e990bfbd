"""Broken and hostile files of every kind that is read, each made by a function with a name.

A corpus is a module with `KIND` (how `inspect` is told to read it), `SUFFIX`, `sound(path)`, which
writes a sound file, and `SPECIAL`, functions by name that write a hostile one. Here are the damages
that any file can have, and the task that makes and opens a case in the worker process.
"""

from __future__ import annotations

import importlib
import random
import shutil
import sys
import time
from pathlib import Path

MODULES = (
    *("hostile_onnx", "hostile_tflite", "hostile_darknet", "hostile_program"),
    *("hostile_keras", "hostile_h5", "hostile_keras2", "hostile_graph", "hostile_saved_model"),
    *("hostile_data", "hostile_readable"),
)
CUTS = (0.0, 0.5, 0.97, 0.01, 0.25, 0.75, 0.9)  # the first ones are tried by default
FLIPS = 10
QUICK_CUTS, QUICK_FLIPS = 3, 3
FOREIGN = {
    "text": b"This is not the file that you are looking for.\n" * 20,
    "zip": b"PK\x03\x04" + bytes(200),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(500),
    "pickle": b"\x80\x04\x95\x1e\0\0\0\0\0\0\0\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "length": b"\x0a\xff\xff\xff\xff\x0f" + bytes(64),  # a protobuf field of 4 GiB
    "negative-length": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + bytes(64),
    "nested": b"\x0a\x7e" * 60 + bytes(64),
}
QUICK_FOREIGN = ("text", "length", "pickle")


def cases(module: str) -> list[str]:
    """The names of a corpus's files; those behind "more-" are left to the heavy run."""
    special = list(importlib.import_module(module).SPECIAL)
    cuts = [f"{'more-' * (i >= QUICK_CUTS)}cut-{i}" for i in range(len(CUTS))]
    flips = [f"{'more-' * (i >= QUICK_FLIPS)}flip-{i}" for i in range(FLIPS)]
    foreign = [f"{'more-' * (name not in QUICK_FOREIGN)}foreign-{name}" for name in FOREIGN]
    return [*special, *cuts, *flips, *foreign]


def make(module: str, case: str, folder: Path) -> Path:
    """Writes a case into an empty folder; returns the path that a user would name."""
    corpus = importlib.import_module(module)
    folder.mkdir(parents=True)
    target = folder / f"model{corpus.SUFFIX}"
    if case in corpus.SPECIAL:
        return corpus.SPECIAL[case](target) or target
    damaged = corpus.sound(target) or target  # the file of several that is damaged
    content = damaged.read_bytes()
    what, _, which = case.removeprefix("more-").partition("-")
    if what == "cut":
        content = content[: int(len(content) * CUTS[int(which)])]
    elif what == "flip":
        content = flipped(content, int(which))
    else:
        content = FOREIGN[which]
    damaged.write_bytes(content)
    return target


def flipped(content: bytes, seed: int) -> bytes:
    """With one bit in some 500 bytes changed, one at least, the first kilobyte twice as often."""
    drawn = random.Random(seed)
    changed = bytearray(content)
    for _ in range(1 + len(content) // 500):
        end = len(content) if drawn.random() < 0.5 else min(1024, len(content))
        changed[drawn.randrange(end)] ^= 1 << drawn.randrange(8)
    return bytes(changed)


def opened(module: str, file: Path) -> dict:
    """What opening a file ends in: ``sound``, ``refused`` or ``leaked``, with what was said.

    `seconds` are of the processor. A file that inspection takes is loaded as conversion does next.
    """
    from int8gate.model_zoo.user_models.inspection import inspect

    corpus = importlib.import_module(module)
    begun = time.process_time()
    _watch()
    _SEEN.clear()
    try:
        if hasattr(corpus, "read"):  # no model
            end, said = "sound", corpus.read(file)
        else:
            found = inspect(file, corpus.KIND)
            if next_step := getattr(corpus, "load", None):
                next_step(file, found)
            end, said = "sound", "; ".join(map(str, (*found.inputs, *found.outputs)))
    except (ValueError, OSError) as error:
        end, said = "refused", str(error)
    except Exception as error:
        end, said = "leaked", f"{type(error).__name__}: {error}"
    spent = time.process_time() - begun
    return {"end": end, "said": said, "seconds": spent, "started": list(_SEEN)}


def prepared(module: str, folder: Path) -> None:
    """Opens a sound file, so that the libraries are loaded and their first work is done."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    corpus = importlib.import_module(module)
    target = folder / f"model{corpus.SUFFIX}"
    corpus.sound(target)
    found = opened(module, target)
    assert found["end"] == "sound", found["said"]


STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork", "socket.connect")
_SEEN: list[str] = []
_HOOKS: list = []


def _watch() -> None:
    """Notes every process and connection that Python starts; a hook cannot be taken back."""
    if not _HOOKS:
        _HOOKS.append(True)
        sys.addaudithook(lambda event, _: _SEEN.append(event) if event in STARTS else None)


def opened_with_trust(file: Path) -> None:
    """Reads a program as its user who trusts it does; what stands in it may fail."""
    import contextlib

    from int8gate.runtimes.torch_program import read

    with contextlib.suppress(ValueError):
        read(file, trust=True)


def converted(file: Path, folder: Path) -> None:
    """Brings an ONNX file to TFLite and to what its quantizer takes, as the pipeline does."""
    from int8gate.model_zoo.importers.onnx.importer import import_onnx
    from int8gate.quantizers.toolchains.onnx.prepare import prepare
    from int8gate.quantizers.toolchains.tflite.from_onnx import to_tflite

    (folder / "made").mkdir(parents=True)
    import_onnx(file, (1, 3, 16, 16), folder / "imported")
    to_tflite(folder / "imported", folder / "made")
    prepare(folder / "imported" / "model.onnx", folder / "made" / "prepared.onnx")


def write_lambda(file: Path) -> None:
    """A Keras model with a Lambda layer, which does nothing bad."""
    import keras

    picture = keras.Input((4, 4, 3))
    keras.Sequential([picture, keras.layers.Lambda(lambda x: x * 2, output_shape=(4, 4, 3))]).save(
        file
    )


def write_large(file: Path) -> None:
    """A Keras model of 24 MB."""
    import keras

    layers = [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(2000)]
    keras.Sequential(layers).save(file)
