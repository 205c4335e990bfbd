"""From a declaration to the network that is quantized: a SavedModel of fixed shape, batch 1.

A Keras model is its own network. A TF1 frozen graph is cut: the network goes on, what stands around
it stays with the host (`model_zoo/importers`).

These functions run in the worker process (`worker.py`): TensorFlow can segfault. The canonical form
is a fixed-shape function over plain variables, saved as a `tf.Module` with a signature: it converts
in every mode, for dynamic input shapes and for Keras 3 models, which direct routes do not (README,
"Why the export looks the way it does").
"""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from int8gate.engine.plugins import resolve
from int8gate.model_zoo import weights as zoo_weights
from int8gate.model_zoo.networks import build, settle_normalization
from int8gate.model_zoo.spec import ModelSpec, Network
from int8gate.model_zoo.user_models import keras2_file
from int8gate.runtimes.artifact import SAVED_MODEL, TFLITE, in_order

SOURCE_GRAPH = "source.pb"
SHAPED_BY = 2  # samples that an import runs to learn shapes and to check itself


def export_keras(
    spec: ModelSpec, profile: str, weights: zoo_weights.Weights, seed: int, directory: Path
) -> dict:
    """Writes `directory`/saved_model: the network at its declared size; returns its "repairs".

    Its weights stay variables: constants would be copied some twenty times on their way (VGG16's
    550 MB to 11.9 GB of memory), and the converter freezes them in any case.
    """
    import tensorflow as tf

    network = _network(spec, profile, weights, seed)
    variables = [  # of Keras 3 within its own class, of Keras 2 as they are
        variable if isinstance(variable, tf.Variable) else variable.value
        for variable in network.variables
    ]
    serve = functools.partial(_called, network)
    _save(serve, variables, spec.network(profile), directory)
    is_old = spec.own and keras2_file.is_of_keras_2(weights.path)
    return {"repairs": [keras2_file.REMARK] if is_old else []}


def _save(serve, tracked, declared: Network, directory: Path) -> None:
    """Writes a SavedModel of `serve`, a function of the image or of the declared inputs, in order;
    `tracked` holds its variables.
    """
    import tensorflow as tf

    module: Any = tf.Module()
    module.tracked = tracked
    if declared.inputs:
        taken = [
            tf.TensorSpec((1, *each.shape), each.dtype, name=f"input_{number}")
            for number, each in enumerate(declared.inputs)
        ]
        module.serve = tf.function(lambda *given: _named(serve(*given)), input_signature=taken)
    else:
        size = (1, *declared.size, declared.input_shape[-1])
        module.serve = tf.function(
            lambda image: _named(serve(image)),
            input_signature=[tf.TensorSpec(size, tf.float32, name="image")],
        )
    tf.saved_model.save(
        module,
        str(directory / SAVED_MODEL),
        signatures={"serving_default": module.serve},
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),  # swish has one
    )


def export_saved_model(
    spec: ModelSpec, profile: str, weights: zoo_weights.Weights, seed: int, directory: Path
) -> None:
    """Writes `directory`/saved_model: a user's SavedModel at its declared size, batch 1."""
    from int8gate.model_zoo.user_models.saved_model_file import signature

    assert weights.path is not None  # a user's model is a file
    serve = signature(weights.path, spec.own_model.signature)
    names = in_order(serve.structured_input_signature[1])
    _save(
        lambda *given: serve(**dict(zip(names, given, strict=True))),
        serve.loaded,
        spec.network(profile),
        directory,
    )


def take_tflite(
    spec: ModelSpec, profile: str, weights: zoo_weights.Weights, seed: int, directory: Path
) -> None:
    """Copies a user's float `.tflite` file to `directory`/model.tflite, ready for its quantizer."""
    from int8gate.quantizers.toolchains.tflite.from_torch import quantizable

    assert weights.path is not None  # a user's model is a file
    (directory / TFLITE).write_bytes(quantizable(weights.path.read_bytes()))


def keep_tflite(exported: Path, directory: Path) -> dict:
    """The float artifact of a user's `.tflite` file is that file; returns its description."""
    from int8gate.runtimes.litert import describe

    shutil.copyfile(exported / TFLITE, directory / TFLITE)
    return describe(directory / TFLITE)


def export_frozen_graph(
    spec: ModelSpec,
    profile: str,
    weights: zoo_weights.Weights,
    seed: int,
    samples: Path,
    directory: Path,
) -> dict:
    """Writes what the importer makes, and `directory`/source.pb, the graph as its users have it.

    `samples` (.npy, (n, h, w, c)) are inputs of the whole graph. Returns the importer's
    report. A `.pb` among the weights is taken as it is.
    """
    from int8gate.model_zoo.importers.tf1.importer import import_frozen_graph

    source = directory / SOURCE_GRAPH
    if weights.path and weights.path.suffix == ".pb":
        source = weights.path
    else:
        network = _network(spec, profile, weights, seed)
        graph = resolve(spec.graph)(network, spec.network(profile))
        source.write_bytes(graph.SerializeToString(deterministic=True))
    drawn = np.load(samples, mmap_mode="r", allow_pickle=False)[:SHAPED_BY]
    declared = spec.network(profile)
    chosen = (*declared.ends, declared.cut)
    report = import_frozen_graph(source, directory, np.asarray(drawn), *chosen)
    if source == weights.path:
        shutil.copyfile(source, directory / SOURCE_GRAPH)
    return report


def _called(network, *given):
    """A Keras network on its inputs, in the order of `network.inputs`."""
    structure = getattr(network, "_inputs_struct", getattr(network, "_nested_inputs", None))
    if isinstance(structure, dict) and len(given) > 1:
        given = (dict(zip(sorted(structure), given, strict=True)),)
    elif len(given) > 1:
        given = (list(given),)
    return network(*given, training=False)


def _named(outputs) -> dict:
    """One output, or several in the order that their names keep."""
    if isinstance(outputs, dict):
        return outputs
    if isinstance(outputs, (list, tuple)):
        return {f"output_{number}": output for number, output in enumerate(outputs)}
    return {"output": outputs}


def _network(spec: ModelSpec, profile: str, weights: zoo_weights.Weights, seed: int):
    import keras

    if spec.own:
        from int8gate.model_zoo.user_models.keras_file import load

        return load(weights.path, weights.trusted)
    keras.utils.clear_session()  # automatic layer names count from 0, whatever was built before
    keras.utils.set_random_seed(seed)
    network = build(spec, profile, official=weights.kind == "official")
    if weights.path:
        zoo_weights.load(network, weights.path)
    if weights.kind == "random":
        settle_normalization(network, spec.preprocessing.range, seed)
    return network
