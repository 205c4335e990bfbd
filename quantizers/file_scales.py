"""Scales that a network came with (a file in QDQ form), as ranges and scales of a float artifact.

The importer leaves the float network and what its pairs said (`importers/onnx/qdq.py`); a toolchain
converts that network, and names, layouts and fused operators change on the way. So a tensor of the
float artifact is recognized by its name, else by what it holds: the same network on the same random
inputs gives the same values, in whatever order they stand. Weights are recognized by their values,
channel by channel, up to a factor that a folded normalization leaves, which their scale takes on:
the integers stay.

`file_scales.json` stands beside the float artifact. The quantizer takes its ranges in place of
calibration's, and its weight scales in place of those of the largest weight.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from int8gate.model_zoo.importers.onnx.qdq_scales import QdqScales, WeightScales, read_scales
from int8gate.quantizers.recipe_type import EIGHT_BITS, INT8, Recipe
from int8gate.quantizers.remedies.float_network import Network
from int8gate.runtimes.artifact import ONNX

FILE_SCALES = "file_scales.json"
SAMPLES = 3
SAME_VALUES = 1e-4  # of the largest: what another order of summation changes
SAME_STEPS = 1e-2  # of a step, that a weight may lie beside an integer
SAME_SCALE = 1e-6  # relative
SHOWN = 3  # names in a sentence


@dataclass(frozen=True)
class LayerScales:
    """Of a layer's weights: int8 scales and zero points (outputs,), of one value where the file has
    one scale for all."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    is_per_tensor: bool


@dataclass
class FileScales:
    """`ranges` by tensor of the float artifact, `weights` by the name of the constant.

    `names` says for each tensor which of the file it is, `unused` are those of the file that the
    artifact has no tensor for.
    """

    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    weights: dict[str, LayerScales] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    layers: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Shipped:
    """What an artifact has: scale and zero point (of int8) by tensor, scales by constant."""

    activations: Mapping[str, tuple[float, int]]
    weights: Mapping[str, np.ndarray]


def of_artifact(float_model: Path) -> FileScales | None:
    """What stands beside a float artifact; None of a network that came without scales."""
    file = float_model.with_name(FILE_SCALES)
    if not file.is_file():
        return None
    content = json.loads(file.read_text())
    content["ranges"] = {name: (low, high) for name, (low, high) in content["ranges"].items()}
    content["weights"] = {
        name: LayerScales(tuple(of["scales"]), tuple(of["zero_points"]), of["is_per_tensor"])
        for name, of in content["weights"].items()
    }
    return FileScales(**content)


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
    matched = _matched(scales, source, target, list(tensors(float_model)))
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


def check_recipe(name: str, recipe: Recipe) -> None:
    """Raises ValueError where a recipe would not ship the scales that a model came with."""
    why = ""
    if recipe.is_reference:
        return
    if recipe.is_trained:
        why = "trains scales of its own"
    elif recipe.remedies:
        why = f"changes the weights that they are of (+{recipe.remedies[0]})"
    elif recipe.activations not in EIGHT_BITS or recipe.weights != INT8:
        why = f"has {recipe.weights} weights and {recipe.activations} activations"
    elif recipe.scales != "affine":
        why = f"makes scales of activations {recipe.scales.replace('_', ' ')}"
    if why:
        raise ValueError(
            f"{name} came with scales (QDQ), and {recipe.name} {why}: choose onnx_int8, "
            "tflite_int8 or tflite_uint8, which ship those of the file, or give the float model"
        )


def check_weights(of_file: FileScales, recipe: Recipe) -> None:
    """Raises ValueError where weights with a scale for each channel would get one for all."""
    for name, of in of_file.weights.items():
        if not recipe.per_channel and not of.is_per_tensor:
            raise ValueError(
                f"{recipe.name} gives weights one scale, and the file has {len(of.scales)} for the "
                f"channels of {name}: choose the recipe per channel, which ships those"
            )


def notes(
    of_file: FileScales, ranges: Mapping[str, tuple[float, float]], shipped: Shipped
) -> list[str]:
    """Sentences for the record: how many scales of an artifact are the file's, and which are not.

    `ranges` are all that the quantizer was given.
    """
    ranged = [name for name in shipped.activations if name in ranges]
    differing = [
        name
        for name in ranged
        if name in of_file.ranges and not _ships(of_file.ranges[name], *shipped.activations[name])
    ]
    of_files = {shipped.activations[name] for name in ranged if name in of_file.ranges}
    calibrated = [  # what is moved alone has the scale of what it is moved from
        name
        for name in ranged
        if name not in of_file.ranges and shipped.activations[name] not in of_files
    ]
    count = len(calibrated)
    same = len(ranged) - len(differing) - count
    kept = [
        name
        for name, of in of_file.weights.items()
        if name in shipped.weights
        and np.allclose(shipped.weights[name], of.scales, rtol=SAME_SCALE, atol=0)
    ]
    told = [
        f"Scales of {same} of {len(ranged)} activations and of the weights of {len(kept)} of "
        f"{of_file.layers} layers are those that the file came with; "
        + (
            f"{count} {'was' if count == 1 else 'were'} calibrated ({_listed(calibrated)})"
            if calibrated
            else "none was calibrated"
        ),
        *of_file.notes,
        "It is compared with the network as it was trained, its fake quantization included",
    ]
    if differing:
        name = differing[0]
        low, high = of_file.ranges[name]
        told.append(
            f"{len(differing)} of the activations ({_listed(differing)}) with another scale than "
            f"the file's: {name} has {shipped.activations[name][0]:.6g} in place of "
            f"{(high - low) / 255:.6g}, which its operator fixes or shares with another tensor"
        )
    unread = [*of_file.unused]
    unread += [of for name, of in of_file.names.items() if name not in shipped.activations]
    unread = [of for of in dict.fromkeys(unread) if of not in _names_of(of_file, ranged)]
    if unread:
        told.append(
            f"{len(unread)} of the scales that it came with are of tensors that are not rounded "
            f"here ({_listed(unread)})"
        )
    other = [name for name in of_file.weights if name not in kept]
    if other:
        told.append(f"the weights {_listed(other)} have other scales than the file's")
    return told


def _names_of(of_file: FileScales, tensors: Iterable[str]) -> set[str]:
    return {of_file.names[name] for name in tensors if name in of_file.names}


def _ships(limits: tuple[float, float], scale: float, zero_point: int) -> bool:
    """Whether that scale and zero point of int8 are those of a range."""
    low, high = limits
    step = (high - low) / 255
    return abs(scale / step - 1) <= SAME_SCALE and round(-128 - low / step) == zero_point


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _matched(
    scales: QdqScales, source: Network, target: Network, tensors: list[str]
) -> dict[str, str]:
    """For tensors of the artifact which of the file's they are, by name, else by their values."""
    matched = {name: name for name in tensors if name in scales.activations}
    rest = [name for name in tensors if name not in matched]
    if not rest or len(set(matched.values())) == len(scales.activations):
        return matched
    with tempfile.TemporaryDirectory() as scratch:
        samples = _random_samples(scales, source, Path(scratch))
        theirs = _fingerprints(source, samples, list(scales.activations))
        ours = _fingerprints(target, samples, rest)
    for name, of_ours in ours.items():
        distances = {of: _distance(of_ours, print_) for of, print_ in theirs.items()}
        nearest = min(distances, key=distances.__getitem__, default=None)
        if nearest is not None and distances[nearest] <= SAME_VALUES:
            matched[name] = nearest
    return {name: matched[name] for name in tensors if name in matched}


def _random_samples(scales: QdqScales, source: Network, folder: Path) -> Path:
    """A file of a few samples: random values of the range that each input has."""
    rng, arrays = np.random.default_rng(0), {}
    for name in source.inputs:
        shape = (SAMPLES, *source.shape(name)[1:])
        found = scales.activations.get(name)
        arrays[name] = rng.uniform(*(found.limits if found else (-1, 1)), shape).astype(np.float32)
    if len(arrays) > 1:
        np.savez(folder / "samples.npz", **arrays)
        return folder / "samples.npz"
    (values,) = arrays.values()
    if values.ndim == 4:  # a picture, as calibration has it
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


def _constant_of(network: Network, layer) -> str:
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
    factor = np.where(np.abs(factor - 1) < SAME_SCALE, 1.0, factor)
    turned = ~_same_signs(rows, others)
    new = scales * np.where(factor > 0, factor, 1.0)
    steps = rows / new[:, None]
    if np.abs(steps - np.round(steps)).max(initial=0) > SAME_STEPS:
        return None
    points = np.where(turned, -points, points)
    is_one = is_one and len(set(new.tolist())) == 1
    return LayerScales(tuple(new.tolist()), tuple(map(int, points)), is_one)
