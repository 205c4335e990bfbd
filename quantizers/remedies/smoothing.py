"""SmoothQuant: channels of a normalized token stream get like ranges, the weights behind take over.

Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language
Models", ICML 2023. A few channels of what a normalization gives are far larger than the others, and
one scale for all leaves these few levels. Each channel j is divided by

    s_j = max|X_j| ** a / max|W_j| ** (1 - a)

in the constant vectors that end the normalization, and the weights that read it are multiplied by
that: the network computes the same. X_j is the channel on calibration samples, W_j are the weights
of all matrix products that read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from int8gate.quantizers.remedies import float_network as kinds
from int8gate.quantizers.remedies.equalization import times_inputs
from int8gate.quantizers.remedies.float_network import Network, Operator, WeightedLayer
from int8gate.quantizers.remedies.notes import left_alone

STRENGTH = 0.5  # a of the paper: how much of the range goes into the weights
SAMPLES = 64  # of those of calibration, on which channels are looked at
LEAST = 1e-5  # of the largest: a smaller channel or weight counts as that large, as in the paper
_VECTORS = {  # by the kind of an operator: the places of its constant vectors
    kinds.LAYER_NORM: (1, 2),
    "RMSNormalization": (1,),
    "SimplifiedLayerNormalization": (1,),
}


@dataclass(frozen=True, eq=False)
class Norm:
    """A normalization's result that matrix products read.

    `vectors` are the constants that end the normalization: operators, each with the place of a
    constant (channels,) among its inputs. `reason` says why it cannot be scaled, None if it can.
    """

    output: str
    layers: tuple[WeightedLayer, ...]
    vectors: tuple[tuple[Operator, int], ...] = ()
    reason: str | None = None


def smooth(network: Network, samples: Path, strength: float = STRENGTH) -> list[str]:
    """Smooths what normalizations give, in place; returns a sentence on what was done.

    `samples` are those of calibration (`SampleFile`). Outputs stay equal, but for the rounding of
    float32.
    """
    found = norms(network)
    chosen = [norm for norm in found if norm.reason is None]
    largest = _largest(network, samples, [norm.output for norm in chosen])
    for norm in chosen:
        _smooth(network, norm, largest[norm.output], strength)
    return [_note(found)]


def norms(network: Network) -> list[Norm]:
    """What matrix products read that normalizations give, in the order of the file."""
    by_source: dict[str, list[WeightedLayer]] = {}
    for layer in network.layers:
        if layer.kind == kinds.DENSE:
            by_source.setdefault(_source(network, layer.input), []).append(layer)
    found = []
    for source, layers in by_source.items():
        maker = network.producer(source)
        if maker is None:
            continue
        vectors = _vectors(network, maker)
        if not vectors and not _is_normalized(network, maker):
            continue
        reason = None
        if not vectors:
            reason = "its normalization ends in no constant vectors"
        elif source in network.outputs or not _all_read(network, source, layers):
            reason = "other than matrix products with constant weights read it too"
        elif any(network.sharing(layer) for layer in layers):
            reason = "its weights are another layer's too"
        found.append(Norm(source, tuple(layers), tuple(vectors), reason))
    return found


def _keeps_last_axis(network: Network, operator: Operator) -> bool:
    if operator.kind not in (kinds.RESHAPE, kinds.IDENTITY) or operator.activation:
        return False
    before, after = network.shape(operator.inputs[0]), network.shape(operator.output)
    return len(before) > 1 and len(after) > 1 and 0 < before[-1] == after[-1]


def _source(network: Network, tensor: str) -> str:
    """Where the rows of a tensor come from, before they were laid out otherwise."""
    while (maker := network.producer(tensor)) and _keeps_last_axis(network, maker):
        tensor = maker.inputs[0]
    return tensor


def _all_read(network: Network, tensor: str, layers: list[WeightedLayer]) -> bool:
    """Whether these layers alone read a tensor, as it is or laid out otherwise."""
    for reader in network.readers(tensor):
        if _keeps_last_axis(network, reader):
            if reader.output in network.outputs or not _all_read(network, reader.output, layers):
                return False
        elif not any(reader is layer.product and layer.input == tensor for layer in layers):
            return False
    return True


def _vectors(network: Network, maker: Operator) -> list[tuple[Operator, int]]:
    """The constants (channels,) that an operator multiplies its result by and adds to it."""
    channels = network.shape(maker.output)[-1:]
    if maker.activation or not channels:
        return []
    if maker.kind in _VECTORS:
        axis = maker.settings.get("axis", -1)
        is_last = axis in (-1, len(network.shape(maker.output)) - 1)
        places = [p for p in _VECTORS[maker.kind] if p < len(maker.inputs) and maker.inputs[p]]
        known = all(_is_vector(network, maker.inputs[place], channels[0]) for place in places)
        return [(maker, place) for place in places] if is_last and known else []
    place = _vector_of(network, maker, channels[0])
    if place is None:
        return []
    if maker.kind == kinds.MUL:
        return [(maker, place)]
    before = network.producer(maker.inputs[1 - place])
    if maker.kind != kinds.ADD or before is None or before.kind != kinds.MUL or before.activation:
        return []
    alone = len(network.readers(before.output)) == 1 and before.output not in network.outputs
    inner = _vector_of(network, before, channels[0])
    return [(maker, place), (before, inner)] if alone and inner is not None else []


def _vector_of(network: Network, operator: Operator, channels: int) -> int | None:
    """The place of an operator's constant vector among its two inputs; None where it has none."""
    if operator.kind not in (kinds.ADD, kinds.MUL) or len(operator.inputs) != 2:
        return None
    places = [p for p in (0, 1) if _is_vector(network, operator.inputs[p], channels)]
    return places[0] if len(places) == 1 else None


def _is_vector(network: Network, tensor: str, channels: int) -> bool:
    values = network.constant(tensor)
    return (
        values is not None
        and values.dtype == np.float32
        and (values.shape[-1:] == (channels,) and values.size == channels)
    )


def _is_normalized(network: Network, maker: Operator) -> bool:
    """Whether an operator is a normalization, or the last sum or product of one written out."""
    if maker.kind in _VECTORS:
        return True
    seen, tensors = 0, [maker.output]
    while tensors and seen < 8:  # operators: a normalization is no longer
        operator = network.producer(tensors.pop(0))
        if operator is None:
            continue
        if operator.kind.upper() in ("RSQRT", "SQRT"):
            return True
        if operator.kind in (kinds.ADD, kinds.SUB, kinds.MUL, kinds.RESHAPE, "Div", "Reciprocal"):
            seen += 1
            tensors += operator.inputs
    return False


def _largest(network: Network, samples: Path, tensors: list[str]) -> dict[str, np.ndarray]:
    """The largest |x| of each channel, the last axis, of these tensors over samples."""
    found: dict[str, np.ndarray] = {}
    for row in network.run(samples, tensors, SAMPLES) if tensors else ():
        for name, values in row.items():
            most = np.abs(values.reshape(-1, values.shape[-1])).max(axis=0).astype(np.float64)
            found[name] = np.maximum(found[name], most) if name in found else most
    return found


def _smooth(network: Network, norm: Norm, activations: np.ndarray, strength: float) -> None:
    weights = np.max([np.abs(layer.weights).max(axis=0) for layer in norm.layers], axis=0)
    weights = weights.astype(np.float64)
    if not activations.any() or not weights.any():
        return
    activations = np.maximum(activations, LEAST * activations.max())
    weights = np.maximum(weights, LEAST * weights.max())
    factors = activations**strength / weights ** (1 - strength)
    for operator, place in norm.vectors:
        values = network.values(operator.inputs[place])
        network.set_constant(operator, place, values / factors.reshape(values.shape))
    for layer in norm.layers:
        current = network.layer(layer.name)
        network.set_weights(current, times_inputs(current, factors))


def _note(found: list[Norm]) -> str:
    """What was done, in a sentence."""
    left = [(norm.layers[0].name, norm.reason) for norm in found if norm.reason]
    done = len(found) - len(left)
    note = f"SmoothQuant: {done} of {len(found)} normalizations in front of matrix products"
    return note + left_alone(left)
