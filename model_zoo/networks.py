"""Building the network that a declaration names, with random or official weights (Keras)."""

from __future__ import annotations

import re
from collections import Counter

from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import ModelSpec
from int8gate.runtimes.artifact import in_order

AUTOMATIC_NAME = re.compile(r"(conv2d|batch_normalization|normalization|rescaling)(?:_\d+)?")


def build(spec: ModelSpec, profile: str, official: bool = False):
    """The `keras.Model` of a profile: initial weights are random, or the official ones.

    Official weights come by the library's own loader, which downloads them; a failure to do so
    raises RuntimeError saying what to do instead.
    """
    network = spec.network(profile)
    shape = {"input_shape": network.input_shape}
    if network.classes is not None:
        shape["classes"] = network.classes
    if network.builder.startswith("keras.applications:"):
        shape["weights"] = network.official if official else None
    try:
        model = resolve(network.builder)(**shape, **network.arguments)
    except Exception as error:
        if not official:
            raise
        raise RuntimeError(
            f"{spec.name}: the official weights ({network.official}) could not be fetched "
            f"({error}): connect this machine, or pass --weights-dir DIR with "
            f"{spec.name}.safetensors or {spec.name}.weights.h5, "
            "or --weights random for a structure-only run"
        ) from error
    if network.width < 1:
        model = narrow(model, network.width)
    return resolve(spec.wrapper)(model) if spec.wrapper else model


def narrow(model, width: float):
    """The same functional topology with every layer's filters and units times `width` (at least 8).

    For networks of `keras.applications` that have no width setting. The last layer keeps its
    units: the classes. Weights start afresh; dropout, meant for the full width, is off.
    """
    import keras

    names = _counted_within([layer.name for layer in model.layers])

    def narrower(layer):
        config = layer.get_config()
        config["name"] = names[layer.name]
        for size in {"filters", "units"} & config.keys():
            if layer is not model.layers[-1]:
                config[size] = max(8, round(config[size] * width))
        if isinstance(layer, keras.layers.Dropout):
            config["rate"] = 0.0
        if isinstance(layer, keras.layers.Reshape):  # of squeeze-and-excitation: (1, 1, filters)
            config["target_shape"] = (*config["target_shape"][:-1], -1)
        return layer.__class__.from_config(config)

    return keras.models.clone_model(model, clone_function=narrower)


def _counted_within(names: list[str]) -> dict[str, str]:
    """Names that Keras gave (`conv2d_94`), counted within the network instead of the process.

    Weights files go by names. The order of the numbers stays.
    """
    counted: Counter = Counter()
    renamed = {name: name for name in names}
    for name in in_order(names):
        if kind := AUTOMATIC_NAME.fullmatch(name):
            number = counted[kind[1]]
            counted[kind[1]] += 1
            renamed[name] = f"{kind[1]}_{number}" if number else kind[1]
    return renamed


def settle_normalization(model, value_range: tuple[float, float], seed: int) -> None:
    """Sets every batch normalization of a random-weight model from one batch of noise, in place.

    Untouched ones pass the growth of the random convolutions on, layer by layer, until quantized
    kernels refuse the scales; a trained network never looks like that.
    """
    import numpy as np

    shape = [side or 64 for side in model.input_shape[1:]]
    noise = np.random.default_rng(seed).uniform(*value_range, (8, *shape)).astype(np.float32)
    normalizations = [layer for layer in layers(model) if hasattr(layer, "moving_variance")]
    momenta = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    model(noise, training=True)
    for layer, momentum in zip(normalizations, momenta, strict=True):
        layer.momentum = momentum


def layers(model):
    """Every layer of a model, those of nested models too."""
    for layer in model.layers:
        yield from layers(layer) if hasattr(layer, "layers") else (layer,)
