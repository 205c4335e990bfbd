"""Which tensors of a float artifact are those that a network came with scales of.

Names, layouts and fused operators change where a toolchain converts the network. So a tensor is
recognized by its name, else by what it holds: the same network on the same random inputs gives the
same values, in whatever order they stand. Weights are recognized by their values, channel by
channel, up to a factor that a folded normalization leaves, which their scale takes on: the integers
stay.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from int8gate.model_zoo.importers.onnx.qdq.qdq_scales import QdqScales, WeightScales, read_scales
from int8gate.quantizers.file_scales import FILE_SCALES, FileScales, LayerScales
from int8gate.quantizers.remedies.float_network import Network, WeightedLayer
from int8gate.runtimes import onnx_file
from int8gate.runtimes.artifact import ONNX

SAMPLES = 3
SAME_VALUES = 1e-4  # of the largest: what another order of summation changes
SAME_STEPS = 1e-2  # of a step, that a weight may lie beside an integer
SAME_FACTOR = 1e-6  # beside 1: there is none


def carry_over(
    exported: Path,
    float_model: Path,
    read_exported: Callable[[Path], Network],
    read: Callable[[Path], Network],
    tensors: Callable[[Path], Iterable[str]],
) -> None:
    """Writes file_scales.json beside a float artifact, where `exported` has a network with scales.

    `exported` is the importer's directory; `read_exported` and `read` open its ONNX file and the
    artifact as a `Network`, `tensors` names those of the artifact's activations that can have a
    range.
    """
    scales = read_scales(exported)
    if scales is None:
        return
    source, target = read_exported(exported / ONNX), read(float_model)
    are_arrays = onnx_file.are_arrays(exported / ONNX)
    matched = _matched(scales, source, target, list(tensors(float_model)), are_arrays)
    weights = _weights(scales, source, target)
    taken = set(matched.values())
    found = FileScales(
        {name: scales.activations[of].limits for name, of in matched.items()},
        matched,
        weights,
        [name for name in scales.activations if name not in taken],
        len(target.layers),
        scales.notes,
    )
    float_model.with_name(FILE_SCALES).write_text(json.dumps(asdict(found)))


def _matched(
    scales: QdqScales, source: Network, target: Network, tensors: list[str], are_arrays: bool
) -> dict[str, str]:
    """For tensors of the artifact which of the file's they are, by name, else by their values."""
    matched = {name: name for name in tensors if name in scales.activations}
    rest = [name for name in tensors if name not in matched]
    if not rest or len(set(matched.values())) == len(scales.activations):
        return matched
    with tempfile.TemporaryDirectory() as scratch:
        samples = _random_samples(scales, source, Path(scratch), are_arrays)
        theirs = _fingerprints(source, samples, list(scales.activations))
        ours = _fingerprints(target, samples, rest)
    for name, of_ours in ours.items():
        distances = {of: _distance(of_ours, print_) for of, print_ in theirs.items()}
        nearest = min(distances, key=distances.__getitem__, default=None)
        if nearest is not None and distances[nearest] <= SAME_VALUES:
            matched[name] = nearest
    return {name: matched[name] for name in tensors if name in matched}


def _random_samples(scales: QdqScales, source: Network, folder: Path, are_arrays: bool) -> Path:
    """A file of a few samples: random values of the range that each input has, in its layout where
    they `are_arrays`, a picture with its channels last.
    """
    rng, arrays = np.random.default_rng(0), {}
    for name in source.inputs:
        shape = (SAMPLES, *source.shape(name)[1:])
        found = scales.activations.get(name)
        arrays[name] = rng.uniform(*(found.limits if found else (-1, 1)), shape).astype(np.float32)
    if len(arrays) > 1:
        np.savez(folder / "samples.npz", **arrays)
        return folder / "samples.npz"
    (values,) = arrays.values()
    if values.ndim == 4 and not are_arrays:  # a picture, as calibration has it
        values = np.ascontiguousarray(values.transpose(0, 2, 3, 1))
    np.save(folder / "samples.npy", values)
    return folder / "samples.npy"


def _fingerprints(network: Network, samples: Path, tensors: list[str]) -> dict[str, np.ndarray]:
    """Moments of what tensors hold, (samples, 7): the order of the values does not matter."""
    found: dict[str, list] = {name: [] for name in tensors}
    for values in network.run(samples, tensors):
        for name in tensors:
            found[name].append(_moments(values[name]))
    return {name: np.array(rows) for name, rows in found.items()}


def _moments(values: np.ndarray) -> list[float]:
    flat = values.ravel().astype(np.float64)
    if not flat.size:
        return [0.0] * 7
    cube = np.cbrt((flat**3).mean())
    ends = [flat.min(), flat.max()]
    return [flat.size, *ends, flat.mean(), flat.std(), np.abs(flat).mean(), cube]


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Of two fingerprints, as a part of the largest value; infinite of other sizes, or zeros."""
    largest = np.abs(one[:, 1:3]).max()
    if (one[:, 0] != other[:, 0]).any() or largest == 0:
        return np.inf
    return float(np.abs(one[:, 1:] - other[:, 1:]).max() / largest)


def _weights(scales: QdqScales, source: Network, target: Network) -> dict[str, LayerScales]:
    """The scales of each layer's weights that the file has some of."""
    candidates = {
        name: (of, source.values(name))
        for name, of in scales.weights.items()
        if source.constant(name) is not None
    }
    found = {}
    for layer in target.layers:
        rows = layer.weights.reshape(layer.outputs, -1)
        for of, values in candidates.values():
            scaled = _scaled(rows, of, values)
            if scaled is not None:
                found[_constant_of(target, layer)] = scaled
                break
    return found


def _constant_of(network: Network, layer: WeightedLayer) -> str:
    """The name of the constant that a layer's weights are."""
    for name in layer.product.inputs:
        values = network.constant(name) if name else None
        if values is not None and values.size == layer.weights.size:
            return name
    raise AssertionError(f"layer {layer.name} has no constant weights")


def _scaled(rows: np.ndarray, of: WeightScales, values: np.ndarray) -> LayerScales | None:
    """The scales of rows (outputs, k) that are those of a constant of the file, each times a
    factor; None where they are others.
    """
    axes = [of.axis] if of.axis is not None else range(values.ndim)
    for axis in axes:
        theirs = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        for start in range(0, len(theirs) - len(rows) + 1, len(rows)):
            part = slice(start, start + len(rows))
            if theirs.shape[1] != rows.shape[1] or not _same_rows(rows, theirs[part]):
                continue
            given = of.scales, of.signed_zero_points
            scales, points = (np.broadcast_to(each, len(theirs))[part] for each in given)
            if found := _times_factor(rows, theirs[part], scales, points, of.axis is None):
                return found
    return None


def _same_rows(rows: np.ndarray, others: np.ndarray) -> bool:
    """Whether rows hold the same sizes in any order, each as a part of its largest."""
    sizes = [np.sort(np.abs(each.astype(np.float64)), axis=1) for each in (rows, others)]
    one, other = (each / np.maximum(each[:, -1:], np.finfo(np.float32).tiny) for each in sizes)
    return bool(np.abs(one - other).max(initial=0) <= SAME_VALUES)


def _same_signs(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(outputs,): False where a row holds the negative of what the other holds."""
    one, other = (
        np.sort(each, axis=1) / np.maximum(np.abs(each).max(axis=1, keepdims=True), 1e-30)
        for each in (rows, others)
    )
    return np.abs(one - other).max(axis=1) <= np.abs(one + other[:, ::-1]).max(axis=1)


def _times_factor(
    rows: np.ndarray, others: np.ndarray, scales: np.ndarray, points: np.ndarray, is_one: bool
) -> LayerScales | None:
    """The scales that make `rows` the integers that `others` are of `scales`."""
    largest = [np.abs(each.astype(np.float64)).max(axis=1) for each in (rows, others)]
    factor = np.where(largest[1] > 0, largest[0] / np.maximum(largest[1], 1e-300), 1.0)
    factor = np.where(np.abs(factor - 1) < SAME_FACTOR, 1.0, factor)
    turned = ~_same_signs(rows, others)
    new = scales * np.where(factor > 0, factor, 1.0)
    steps = rows / new[:, None]
    if np.abs(steps - np.round(steps)).max(initial=0) > SAME_STEPS:
        return None
    # -(q - z) is (-1 - q) - (-1 - z): within int8, as -z need not be. Symmetric weights stay so.
    points = np.where(turned & (points != 0), -1 - points, points)
    is_one = is_one and len(set(new.tolist())) == 1
    return LayerScales(tuple(new.tolist()), tuple(map(int, points)), is_one)
