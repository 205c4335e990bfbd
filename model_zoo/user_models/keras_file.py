"""A Keras model from a file of a user, without running code that stands in it.

Its weights are HDF5, of which nothing may stand outside or be absurd: HDF5 can link to other files,
keep a dataset in any file of the system, compose it of those, and declare far more than it stores
(https://support.hdfgroup.org/documentation/hdf5/latest/_h5_d__u_g.html, external storage, virtual
datasets).
"""

from __future__ import annotations

import contextlib
import inspect
import io
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from int8gate.engine import memory
from int8gate.model_zoo.importers.tf1.trained_ranges import WHAT_TO_DO
from int8gate.model_zoo.user_models import keras2_file
from int8gate.runtimes import archive
from int8gate.runtimes.artifact import in_order

CODE = ("Lambda", "lambda", "safe_mode", "deserialization")  # in what Keras says of refused code
MOST_SAID = 160  # characters of what Keras says, which may be pages
WEIGHTS = "model.weights.h5"  # in a .keras archive
MOST_TEXT = 10**8  # bytes of the archive's JSON
TRAINED = re.compile("Quantize(Layer|Wrapper(V2)?|Annotate)")  # tfmot's, of its training
SLACK = 2**24  # bytes of variables that are not stored: seeds, counters


def stored_bytes(path: Path, content: BinaryIO | None = None) -> int:
    """Bytes of all datasets of a file, or of `content` where it is a member of the archive `path`.

    Raises ValueError naming the file and the dataset that stands elsewhere or is absurdly large,
    OSError for a file that is no HDF5.
    """
    import h5py

    with h5py.File(content or path, "r") as file:
        packed, total = path.stat().st_size, 0
        for name in _linked(file):
            raise ValueError(
                f"{path}: {name[:100]!r} in it is a link to another file, which is not read: save "
                "the model again"
            )
        for name, dataset in _datasets(file):
            if dataset.external or dataset.is_virtual:
                raise ValueError(
                    f"{path}: its dataset {name[:100]!r} is kept in another file, which is not "
                    "read: save the model again"
                )
            total += math.prod(dataset.shape or ()) * max(1, dataset.dtype.itemsize)
            archive.check_unpacked(path, total, packed)
        return total


def _linked(file) -> list[str]:
    """The names that stand for something in another file."""
    import h5py

    found: list[str] = []

    def note(name: str, link) -> None:  # what it returned but None would end the visit
        if isinstance(link, h5py.ExternalLink):
            found.append(name)

    file.visititems_links(note)
    return found


def _datasets(file) -> list[tuple]:
    """Name and `h5py.Dataset` of each, once."""
    import h5py

    found: list[tuple] = []

    def note(name: str, item) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((name, item))

    file.visititems(note)
    return found


def load(file: Path, trust: bool = False):
    """The `keras.Model` of a `.keras` or `.h5` file, for inference; of one that Keras 2 wrote, the
    `tf_keras.Model`.

    Raises ValueError naming the file: for a damaged one, for layers that would run code of the file
    (Lambda; not with `trust`) or that Keras does not know, for weights that stand in another file
    or that take more memory than the file holds, and for weights without a network.
    """
    import keras

    try:
        held = _checked(file)
        is_old = keras2_file.is_of_keras_2(file)
        if is_old:
            import tf_keras as keras
        layer = keras.layers.Layer
        with contextlib.nullcontext() if trust else _weights_within(file, layer, held + SLACK):
            if is_old:
                model = keras2_file.load(file, trust)
            else:
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


def ends(model) -> tuple[list[tuple], list[tuple]]:
    """Name, shape (None where a side is free) and dtype of a model's inputs, and of its outputs.

    An output is called as its key where the model gives a dictionary, else as its layer.
    """
    structure = getattr(model, "_outputs_struct", getattr(model, "_nested_outputs", None))
    given = {} if not isinstance(structure, dict) else structure
    if given and all(hasattr(tensor, "_keras_history") for tensor in given.values()):
        outputs = _described(in_order(given), [given[key] for key in in_order(given)])
    else:
        outputs = _described(_layers_of(model.outputs), model.outputs)
    return _described(_layers_of(model.inputs), model.inputs), outputs


def _layers_of(tensors) -> list[str]:
    """The names of the layers that made them, each once."""
    histories = (tensor._keras_history for tensor in tensors)
    layers = (getattr(h, "operation", None) or h.layer for h in histories)  # of either Keras
    names = [str(layer.name) for layer in layers]
    before = [names[:place].count(name) for place, name in enumerate(names)]  # one called twice
    return [f"{name}_{n}" if n else name for name, n in zip(names, before, strict=True)]


def _described(names, tensors) -> list[tuple]:
    dtypes = (getattr(tensor.dtype, "name", tensor.dtype) for tensor in tensors)
    return [
        (str(name), tuple(tensor.shape), dtype)
        for name, tensor, dtype in zip(names, tensors, dtypes, strict=True)
    ]


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
def _weights_within(file: Path, layer_class: type, most: int) -> Iterator[None]:
    """Refuses variables beyond what the file can fill, before they are allocated.

    Keras builds a network before it reads the weights, and has no hook before an allocation; this
    is the one place that all layers make their variables in.
    """
    make, total = layer_class.add_weight, 0
    takes = inspect.signature(make)

    def add_weight(layer, *args, **kwargs):
        nonlocal total
        bound = takes.bind_partial(layer, *args, **kwargs).arguments
        shape = bound.get("shape", next(iter(bound.get("args", ())), ()))
        total += memory.size_of(_sides(shape), 1)  # of a byte each at least
        if total > most:
            raise ValueError(
                f"{file}: layer {layer.name[:80]!r} declares weights of {memory.gib(total)} or "
                f"more, and the file holds {most - SLACK:,} bytes of weights: the file is damaged"
            )
        return make(layer, *args, **kwargs)

    layer_class.add_weight = add_weight
    try:
        yield
    finally:
        layer_class.add_weight = make


def _sides(shape) -> tuple:
    """Of a variable: a number, a list or TensorFlow's own class."""
    return (shape,) if isinstance(shape, int) else tuple(shape or ())


def _cause(error: Exception) -> str:
    said = " ".join(str(error).split()) or repr(error)
    reason = said.split(". ")[0].split(": ")[0][:MOST_SAID]
    if isinstance(error, keras2_file.HoldsCode) or any(word in said for word in CODE):
        which = said if isinstance(error, keras2_file.HoldsCode) else "a Lambda layer"
        return (
            f"it holds code ({which}), which is not run from a file: replace the layer by "
            "one of Keras, export the model as a SavedModel or, if you trust the file, pass --trust"
        )
    if "No model config found" in said:
        return "it holds weights without a network: save the whole model (model.save)"
    if trained := TRAINED.search(said):
        return (
            "it was trained quantization-aware by tensorflow-model-optimization (a layer "
            f"{trained[0]}), and calibration would replace its ranges: {WHAT_TO_DO}"
        )
    if "Could not locate class" in said or "Unknown layer" in said:
        return f"it has a layer that Keras does not know ({reason}): export it as a SavedModel"
    return f"it is truncated, damaged or no Keras model ({reason}): save it again"
