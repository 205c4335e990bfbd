"""Files that Keras 2 wrote (TensorFlow up to 2.15, Teachable Machine): loaded with tf-keras.

Keras 3 refuses many of them (`DepthwiseConv2D` with `groups`, an `InputLayer` with
`batch_input_shape`, a Sequential within another). tf-keras loads them, but its safe mode holds for
`.keras` archives alone: it unmarshals the code of a Lambda layer in an `.h5` file, imports whatever
module a configuration names, and a TFOpLambda calls any public function of TensorFlow
(tf_keras/src/saving/serialization_lib.py and legacy/, version 2.21). So the configuration is
searched before tf-keras sees it.
"""

from __future__ import annotations

import inspect
import json
import re
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

MODULE = re.compile(r"(tf_)?keras(\.\w+)*")
OLD = re.compile(r"[12]\.")
# Functions of TensorFlow that compute on tensors and do nothing else.
COMPUTING = re.compile(
    r"(compat\.v1\.)?((math|nn|linalg|bitwise|__operators__|keras\.activations)\.\w+"
    r"|image\.(resize\w*|crop\w*|pad\w*|flip\w*|per_image_standardization|rgb_to_\w+)"
    r"|abs|acos|add|argmax|argmin|broadcast_to|cast|clip_by_value|concat|convert_to_tensor"
    r"|divide|equal|exp|expand_dims|fill|gather|gather_nd|greater\w*|identity|less\w*|logical_\w+"
    r"|matmul|maximum|minimum|multiply|negative|not_equal|one_hot|ones_like|pad|pow|reduce_\w+|repeat"
    r"|reshape|reverse|roll|round|shape|sigmoid|sign|size|slice|split|sqrt|square|squeeze|stack"
    r"|stop_gradient|strided_slice|subtract|tanh|tensordot|tile|transpose|unstack|where|zeros_like)"
)
CODE = {"Lambda", "__lambda__", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod"}
INERT = {"Sequential", "Functional", "Model", "SlicingOpLambda", "InstanceProperty"} | {
    *("TFOpLambda", "Policy", "DTypePolicy", "TensorShape", "__tuple__", "__numpy__"),
    *("__tensor__", "Zeros", "Ones"),
}
LOOKUPS = {"StringLookup", "IntegerLookup", "TextVectorization"}  # whose vocabulary may be a path
UNUSED = {"compile_config", "training_config"}  # which loading without compiling leaves alone

REMARK = "Keras 2 wrote the file: it was loaded with tf-keras."


class HoldsCode(ValueError):
    """A configuration that would run code; its text says which layer does."""


def is_of_keras_2(file: Path) -> bool:
    """Whether Keras 1 or 2 wrote the file, by the version that it states, else by its inputs.

    A file that cannot be read is left to the loader of Keras 3, which says what is wrong with it.
    """
    try:
        version, config = _stated(file)
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile):
        return False
    return bool(OLD.match(version)) if version else '"batch_input_shape"' in config


def load(file: Path, trust: bool = False):
    """The `tf_keras.Model` of a `.h5` or `.keras` file.

    Raises ValueError naming what would run code of the file (not with `trust`), and what tf-keras
    does not know.
    """
    import tf_keras

    if not trust:
        check(json.loads(_stated(file)[1]))
    return tf_keras.models.load_model(str(file), compile=False, safe_mode=not trust)


def check(config: object) -> None:
    """Raises HoldsCode where a configuration of Keras 2 would run code, and ValueError where it
    names anything else than what Keras has.
    """
    for entry in _entries(config):
        name, module = entry.get("class_name"), entry.get("module")
        inner = entry.get("config")
        if not isinstance(name, str):
            raise ValueError(f"a layer without a name of its class ({name!r:.60})")
        if name in CODE:
            raise HoldsCode(f"a {name[:60]} layer")
        if name == "function":
            if not (_is_of_keras(module, "builtins") and inner in _activations()):
                raise ValueError(f"Unknown layer, function {inner!r:.60} of {module!r:.60}")
        elif not _is_of_keras(module) or name not in _classes():
            raise ValueError(f"Unknown layer {name[:60]!r} of {module!r:.60}")
        options = inner if isinstance(inner, dict) else {}
        called = options.get("function")
        if name == "TFOpLambda" and not (
            isinstance(called, str) and COMPUTING.fullmatch(called.removeprefix("tf."))
        ):
            raise HoldsCode(f"a layer that calls {called!r:.60}")
        if name in LOOKUPS and isinstance(options.get("vocabulary"), str):
            raise ValueError(f"Unknown layer {name} whose vocabulary stands in another file")


def _stated(file: Path) -> tuple[str, str]:
    """The version of Keras and the configuration (JSON) that a file states; "" for neither."""
    if file.suffix == ".keras" and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            stated = json.loads(archive.read("metadata.json"))
            return str(stated.get("keras_version", "")), archive.read("config.json").decode()
    import h5py

    with h5py.File(file, "r") as opened:
        version, config = (opened.attrs.get(key, "") for key in ("keras_version", "model_config"))
    texts = (v.decode() if isinstance(v, bytes) else v for v in (version, config))
    version, config = (text if isinstance(text, str) else "" for text in texts)
    return version, config


def _entries(value: object) -> Iterator[dict]:
    """Every serialized object of a configuration, nested ones too."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            waiting += [inner for key, inner in value.items() if key not in UNUSED]
        elif isinstance(value, list):
            waiting += value


def _is_of_keras(module: object, *others: str) -> bool:
    return module in (None, *others) or (isinstance(module, str) and bool(MODULE.fullmatch(module)))


@cache
def _classes() -> frozenset[str]:
    """The classes that a configuration may name, but for those that run code."""
    import tf_keras

    rooms = (tf_keras.layers, tf_keras.initializers, tf_keras.regularizers, tf_keras.constraints)
    known = {
        name
        for room in (*rooms, tf_keras.layers.experimental)
        for name, item in vars(room).items()
        if inspect.isclass(item)
    }
    return frozenset((known | INERT) - CODE)


@cache
def _activations() -> frozenset[str]:
    import tf_keras

    return frozenset(name for name in vars(tf_keras.activations) if name.islower())
