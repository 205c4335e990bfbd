"""A Keras model from a file of a user, without running code that stands in it."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from model_zoo.own.hdf5_file import stored_bytes
from runtimes import archive, memory

CODE = ("Lambda", "lambda", "safe_mode", "deserialization")  # in what Keras says of refused code
MOST_SAID = 160  # characters of what Keras says, which may be pages
WEIGHTS = "model.weights.h5"  # in a .keras archive
MOST_TEXT = 10**8  # bytes of the archive's JSON
SLACK = 2**24  # bytes of variables that are not stored: seeds, counters


def load(file: Path, trust: bool = False):
    """The `keras.Model` of a `.keras` or `.h5` file, for inference.

    Raises ValueError naming the file: for a damaged one, for layers that would run code of the file
    (Lambda; not with `trust`) or that Keras does not know, for weights that stand in another file
    or that take more memory than the file holds, and for weights without a network.
    """
    import keras

    try:
        held = _checked(file)
        with contextlib.nullcontext() if trust else _weights_within(file, held + SLACK):
            model = keras.saving.load_model(str(file), compile=False, safe_mode=not trust)
    except Exception as error:  # of zipfile, h5py, json and Keras: there is no common one
        if isinstance(error, ValueError) and str(error).startswith(str(file)):
            raise
        raise ValueError(f"{file}: {_cause(error)}") from error
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            f"{file} holds no built Keras model: build it with its input and save again"
        )
    return model


def _checked(file: Path) -> int:
    """Bytes of the weights in a file in which nothing leads elsewhere."""
    if file.suffix != ".keras" or not zipfile.is_zipfile(file):  # a file may be both
        return stored_bytes(file)
    members = {member.filename: member for member in archive.check(file)}
    for name, member in members.items():
        if name.endswith(".json") and member.file_size > MOST_TEXT:
            raise ValueError(f"{file}: {name} in it has {member.file_size:,} bytes: save it again")
    if WEIGHTS not in members:
        return sum(member.file_size for member in members.values())
    with zipfile.ZipFile(file) as opened:
        return stored_bytes(file, io.BytesIO(opened.read(WEIGHTS)))


@contextlib.contextmanager
def _weights_within(file: Path, most: int) -> Iterator[None]:
    """Refuses variables beyond what the file can fill, before they are allocated.

    Keras builds a network before it reads the weights, and has no hook before an allocation; this
    is the one place that all layers make their variables in.
    """
    import keras

    make, total = keras.layers.Layer.add_weight, 0

    def add_weight(layer, shape=None, *args, **kwargs):
        nonlocal total
        total += memory.size_of(shape or (), 1)  # of a byte each at least
        if total > most:
            raise ValueError(
                f"{file}: layer {layer.name[:80]!r} declares weights of {memory.gib(total)} or "
                f"more, and the file holds {most - SLACK:,} bytes of weights: the file is damaged"
            )
        return make(layer, shape, *args, **kwargs)

    keras.layers.Layer.add_weight = add_weight
    try:
        yield
    finally:
        keras.layers.Layer.add_weight = make


def _cause(error: Exception) -> str:
    said = " ".join(str(error).split()) or repr(error)
    reason = said.split(". ")[0].split(": ")[0][:MOST_SAID]
    if any(word in said for word in CODE):
        return (
            "it holds code (a Lambda layer), which is not run from a file: replace the layer by "
            "one of Keras, export the model as a SavedModel or, if you trust the file, pass --trust"
        )
    if "No model config found" in said:
        return "it holds weights without a network: save the whole model (model.save)"
    if "Could not locate class" in said or "Unknown layer" in said:
        return f"it has a layer that Keras does not know ({reason}): export it as a SavedModel"
    return f"it is truncated, damaged or no Keras model ({reason}): save it again"
